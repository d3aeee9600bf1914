"""Opens this machine to fetches: by default they may not go there, and tests go nowhere else."""

from __future__ import annotations

from typing import Any, Final

NETWORKS: Final = ("127.0.0.0/8", "::1/128")

OPEN: Final[dict[str, Any]] = {"allow_networks": NETWORKS, "allow_ports": ("1-65535",)}
"""As fields of ``Settings``; servers of tests get any free port."""

OPEN_ENVIRON: Final = {
    "TASKFLOW_ALLOW_NETWORKS": ",".join(NETWORKS),
    "TASKFLOW_ALLOW_PORTS": "1-65535",
}

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret of callbacks: the one in the examples of the Standard Webhooks."""

ENCRYPTION_KEY: Final = "dGhlIGtleSB0aGF0IGVuY3J5cHRzIGluIHRlc3RzLi4="
