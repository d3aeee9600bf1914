"""Which bytes are shown as an image."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.api.dashboard.raster_images import MAX_BYTES, raster_type_of
from tests.browser.target import SVG, png

PNG = png(3, 2)
GIF = b"GIF89a" + struct.pack("<HH", 3, 2) + b"\x00\x00\x00;"
JPEG_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(9)
FRAME = b"\xff\xff\xc2\x00\x11\x08\x00\x02\x00\x03"
JPEG = JPEG_START + FRAME
WEBP_X = b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(8) + b"\x02\x00\x00\x01\x00\x00"
WEBP_L = b"RIFF\x00\x00\x00\x00WEBPVP8L" + bytes(4) + b"\x2f\x02\x40\x00\x00"
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(7) + b"\x9d\x01\x2a\x03\x00\x02\x00"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (GIF, "image/gif"),
        (JPEG, "image/jpeg"),
        (WEBP_X, "image/webp"),
        (WEBP_L, "image/webp"),
        (WEBP, "image/webp"),
    ],
)
def test_images(data, media_type):
    assert raster_type_of(data) == media_type


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SVG,
        b"<html><img src=x>",
        b"<!--\x89PNG\r\n\x1a\n-->",
        b"\x89PNG\r\n\x1a\n<script>",
        b"BM" + bytes(60),
        b"GIF89a",
        b"GIF89a" + struct.pack("<HH", 0, 9),
        PNG[:18],
        PNG[:16] + struct.pack(">II", 65_000, 65_000) + PNG[24:],
        b"GIF89a" + struct.pack("<HH", 65_000, 65_000),
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 5000 + FRAME,
        JPEG_START + b"\x00" + FRAME,
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        PNG + bytes(MAX_BYTES),
    ],
)
def test_no_images(data):
    """Other formats, images that declare too many pixels, and truncated or too large ones."""
    assert raster_type_of(data) is None


@given(st.sampled_from([PNG, GIF, JPEG, WEBP, WEBP_L, WEBP_X]), st.integers(0, 40), st.binary())
def test_no_bytes_break_it(image, at, noise):
    assert raster_type_of(image[:at] + noise) in (
        *(None, "image/png", "image/gif", "image/jpeg", "image/webp"),
    )
