"""Web pages of other hosts, which a browser on this machine would let use a server that asks for no key.

CORS alone hides the answers from such a page; its requests (a form's POST, an image's GET) are sent and carried out all
the same. And a name that its owner points to 127.0.0.1 (DNS rebinding) makes the page one of our own origin. So without
a key a request must name a host that is this machine, and come from no page of another one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from gemma_mtp.serve.request import Refused, Request

LOCAL = "localhost"


def guard(keys: tuple[str, ...], bound: str) -> Callable[[Request], None]:
    """What raises Refused for a request of another host's page. bound: the address that the server listens at."""

    def check(request: Request) -> None:
        host, origin = _host(request.header(b"host"), "//"), _host(request.header(b"origin"), "")
        foreign = origin is not None and not _is_here(origin) and origin != host
        rebound = _is_here(bound) and host is not None and not _is_here(host)
        if foreign or rebound:
            what = "a server without a key is not for pages and names of other hosts: start it with --api-key"
            raise Refused(HTTPStatus.FORBIDDEN, what)

    return (lambda _: None) if keys else check


def _host(value: bytes | None, before: str) -> str | None:
    """The host in a header, in small letters; None without the header, empty for what names none (`null`)."""
    if value is None:
        return None
    try:
        return urlsplit(before + value.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _is_here(host: str) -> bool:
    """Whether it is this machine by a name or an address that nobody else can give away."""
    if host == LOCAL or host.endswith(f".{LOCAL}"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
