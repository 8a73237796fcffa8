"""The address of the Hub, as the user's environment has it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from gemma_mtp.errors import UsageError

VARIABLE = "HF_ENDPOINT"


def require_address() -> None:
    """Raises UsageError if the variable is set to something that is no address. Its value may hold a password."""
    address = os.environ.get(VARIABLE, "")
    if address and not _is_address(address):
        raise UsageError(
            f"{VARIABLE} is set to something that is no address of a Hub",
            hint=f"write https://, a host and perhaps a port, or unset {VARIABLE}",
        )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        return False
