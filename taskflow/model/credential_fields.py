"""The types of the fields of credentials. Values with ``is_secret`` are never shown."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from taskflow.model.request import MAX_HEADER_BYTES

MAX_HOSTS: Final = 50
MAX_PEM_CHARACTERS: Final = 64 * 2**10

HostPattern: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^(\\*\\.)?[^*\\s/@?#]{1,253}$(?!\n)",
        max_length=255,
        extra={
            "expected": "a host such as api.example.com, or *.example.com for all names below it"
        },
    ),
]
Token: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[!-~]+$(?!\n)",
        max_length=MAX_HEADER_BYTES,
        extra={"is_secret": True, "expected": f"1 to {MAX_HEADER_BYTES} visible ASCII characters"},
    ),
]
SecretText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f]+$(?!\n)",
        max_length=4096,
        extra={
            "is_secret": True,
            "expected": "1 to 4096 characters, none of them a control character",
        },
    ),
]
ShortText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f]+$(?!\n)",
        max_length=1024,
        extra={"expected": "1 to 1024 characters, none of them a control character"},
    ),
]
Username: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f:]*$(?!\n)",
        max_length=1024,
        extra={"expected": "up to 1024 characters without colons and control characters"},
    ),
]
SecretValue: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[!-~]([\t !-~]*[!-~])?$(?!\n)",
        max_length=MAX_HEADER_BYTES,
        extra={
            "is_secret": True,
            "expected": f"1 to {MAX_HEADER_BYTES} ASCII characters, none of them a control "
            "character, that begin and end with a visible one",
        },
    ),
]
Pem: TypeAlias = Annotated[
    str,
    Meta(
        pattern="-----BEGIN [A-Z0-9 ]+-----",
        max_length=MAX_PEM_CHARACTERS,
        extra={
            "is_secret": True,
            "is_long": True,
            "expected": "text in PEM, which begins with -----BEGIN",
        },
    ),
]
AwsName: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9-]{1,64}$(?!\n)",
        max_length=64,
        extra={"expected": "1 to 64 lowercase letters, digits and hyphens"},
    ),
]
