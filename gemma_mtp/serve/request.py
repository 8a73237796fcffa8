"""One HTTP request, read within limits: clients that are slow, half dead or hostile cost a little memory for a time."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio import StreamReader
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

Read = TypeVar("Read")

#: Of the lines before the body: their size in bytes, and the seconds in which they must have come.
HEAD_BYTES, HEAD_SECONDS = 64 * 1024, 20.0
#: Of the body: its size (cpp-httplib's own limit), seconds to begin with, and the bytes that buy one second more.
BODY_BYTES, BODY_SECONDS, SLOWEST = 100 * 1024 * 1024, 30.0, 10_000
#: Fields that ask for the probabilities of tokens: llama-server's own, and those of OpenAI.
PROBABILITIES = ("n_probs", "logprobs", "top_logprobs")
#: Headers that are between this client and us, or that we write anew.
OURS = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect"}
    | {"content-length", "transfer-encoding"}
)
_LINE = re.compile(rb"([A-Z]+) [!-~\x80-\xff]+ HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\n-\x1f\x7f]*?)[ \t]*")


class Refused(Exception):
    """This request gets an answer of ours. what: in a sentence for the client."""

    def __init__(self, status: HTTPStatus, what: str):
        self.status, self.what = status, what
        super().__init__(what)

    def answer(self) -> bytes:
        """The whole response, its body in the form of OpenAI's errors."""
        kind = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        error = {"code": int(self.status), "message": self.what, "type": kind}
        body = json.dumps({"error": error}).encode()
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode("ascii") + body


@dataclass(frozen=True)
class Request:
    """line: "POST /v1/completions HTTP/1.1". headers: name in small letters and value, in order."""

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def wants_logprobs(self) -> bool:
        """Whether it asks for the probabilities of the tokens that are generated."""
        return self.line.startswith(b"POST ") and asks_for_logprobs(self.body)

    def may_ask(self, keys: tuple[str, ...]) -> bool:
        """Whether it brings one of the keys, by llama-server's rules, or none is needed."""
        given = self.header(b"authorization") or self.header(b"x-api-key") or b""
        return not keys or given.removeprefix(b"Bearer ").decode("utf-8", errors="replace") in keys

    def encoded(self) -> bytes:
        """As it goes on to llama.cpp's server, which shall close the connection after its answer."""
        kept = [name + b": " + value for name, value in self.headers if name.decode("ascii") not in OURS]
        has_body = self.body or not self.line.startswith((b"GET ", b"HEAD ", b"OPTIONS "))
        length = [b"content-length: %d" % len(self.body)] if has_body else []
        return b"\r\n".join([self.line, *kept, *length, b"connection: close", b"", self.body])


def asks_for_logprobs(body: bytes) -> bool:
    """Whether a JSON body has one of PROBABILITIES with a value that is neither 0, false nor null.

    Of a body that Python cannot read (too deep, no JSON) the words decide: llama.cpp's parser may take it.
    """
    if b"prob" not in body and b"\\u" not in body:  # most bodies, however long
        return False
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        return b"prob" in body
    return isinstance(content, dict) and any(content.get(name) for name in PROBABILITIES)


async def read_request(reader: StreamReader, tell_to_go_on: Callable[[], Awaitable[None]]) -> Request | None:
    """The next request, None if there is none. Raises Refused.

    tell_to_go_on: called before the body is read, if the client waits for that.
    """
    request = await _in_time(_head(reader), HEAD_SECONDS)
    if request is None:
        return None
    lengths = {value for name, value in request.headers if name == b"content-length"}
    coding = (request.header(b"transfer-encoding") or b"").lower()
    if coding not in (b"", b"chunked") or len(lengths) > 1 or (coding and lengths):
        raise Refused(HTTPStatus.BAD_REQUEST, "it is unclear how long the body of this request is")
    if (request.header(b"expect") or b"").lower() == b"100-continue":
        await tell_to_go_on()
    if coding:
        body = await _in_time(_chunks(reader), BODY_SECONDS + BODY_BYTES / SLOWEST)
    else:
        length = _number(next(iter(lengths), b"0"), 10)
        body = await _in_time(_exactly(reader, length), BODY_SECONDS + length / SLOWEST)
    return Request(request.line, request.headers, body)


async def _in_time(reading: Awaitable[Read], seconds: float) -> Read:
    try:
        return await asyncio.wait_for(reading, seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the request did not arrive within {seconds:.0f} s") from None
    except asyncio.IncompleteReadError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the request ends too early") from None


async def _head(reader: StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        what = f"the headers are longer than {HEAD_BYTES:,} bytes"
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, what) from None
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            return None
        raise
    line, *lines = head.removesuffix(b"\r\n\r\n").lstrip(b"\r\n").split(b"\r\n")
    headers = [_HEADER.fullmatch(one) for one in lines]
    if not _LINE.fullmatch(line) or not all(headers):
        raise Refused(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    return Request(line, tuple((one[1].lower(), one[2]) for one in headers if one))


async def _exactly(reader: StreamReader, length: int) -> bytes:
    _check_size(length)
    return await reader.readexactly(length)


async def _chunks(reader: StreamReader) -> bytes:
    """A body in chunks (RFC 9112, 7.1), its trailer dropped."""
    body = bytearray()
    try:
        while size := _number((await reader.readuntil(b"\r\n")).split(b";")[0].strip(), 16):
            _check_size(len(body) + size)
            body += await reader.readexactly(size)
            await reader.readuntil(b"\r\n")
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
    except asyncio.LimitOverrunError:
        raise Refused(HTTPStatus.BAD_REQUEST, "a chunk of the body has no end") from None
    return bytes(body)


def _check_size(length: int) -> None:
    if length > BODY_BYTES:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {BODY_BYTES:,} bytes")


def _number(digits: bytes, base: int) -> int:
    if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", digits) or (base == 10 and not digits.isdigit()):
        raise Refused(HTTPStatus.BAD_REQUEST, "the length of the body is no number")
    return int(digits, base)
