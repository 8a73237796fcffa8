"""Every test of this room has a local Hub."""

from helpers.local_hub.fixtures import logged_in, loopback_only, stub

__all__ = ["logged_in", "loopback_only", "stub"]
