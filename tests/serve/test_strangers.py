"""Who may use a server that asks for no key: nobody whom a web page of another host sends."""

from __future__ import annotations

import pytest

from gemma_mtp.serve.request import Refused, Request
from gemma_mtp.serve.strangers import guard

HERE = "127.0.0.1"
#: The Host and the Origin that a request brings (None: it has no such header).
FRIENDS = [
    ("127.0.0.1:8080", None),
    ("localhost:8080", None),
    ("LocalHost", None),
    ("[::1]:8080", "http://[::1]:3000"),
    ("127.0.0.1:8080", "http://localhost:3000"),
    ("localhost", "https://app.localhost"),
    (None, None),
]
STRANGERS = [
    ("127.0.0.1:8080", "http://page.example"),
    ("localhost:8080", "https://localhost.page.example"),
    ("localhost:8080", "http://127.0.0.1.page.example"),
    ("localhost:8080", "http://localhost@page.example"),
    ("localhost:8080", "null"),
    ("localhost:8080", ""),
    ("localhost:8080", "http://[oops"),
    ("localhost:8080", "http://192.168.0.7"),
    ("page.example:8080", None),
    ("page.example:8080", "http://page.example:8080"),
    ("localhost.page.example", None),
    ("", None),
]


def request(host: str | None, origin: str | None) -> Request:
    headers = {b"host": host, b"origin": origin}
    given = tuple((name, value.encode()) for name, value in headers.items() if value is not None)
    return Request(b"POST /v1/completions HTTP/1.1", given)


@pytest.mark.parametrize(("host", "origin"), FRIENDS)
def test_this_machine_s_own(host: str | None, origin: str | None):
    guard((), HERE)(request(host, origin))


@pytest.mark.parametrize(("host", "origin"), STRANGERS)
def test_pages_of_others(host: str | None, origin: str | None):
    with pytest.raises(Refused, match="--api-key"):
        guard((), HERE)(request(host, origin))
    guard(("a key",), HERE)(request(host, origin))  # then it is the key that counts


def test_a_server_for_a_network():
    """Its names are not known, but a page of another host is one all the same."""
    check = guard((), "0.0.0.0")
    check(request("gpu.example:8080", None))
    check(request("gpu.example:8080", "http://gpu.example:8080"))  # its own page
    with pytest.raises(Refused):
        check(request("gpu.example:8080", "http://page.example"))
