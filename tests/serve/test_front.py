"""The door: slow, half dead and hostile clients, chunks, and an end in good order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gemma_mtp.serve import front as front_module
from gemma_mtp.serve import request as request_module
from gemma_mtp.serve.front import CONNECTIONS, Front
from gemma_mtp.serve.request import BODY_BYTES, Request

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo(BaseHTTPRequestHandler):
    """The other side: says what it got. /slow begins an answer, and ends it when `let_go` is set."""

    let_go = threading.Event()
    gone = threading.Event()
    begun = threading.Event()
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b"%s %s" % (self.command.encode(), body))

    def do_GET(self) -> None:
        if self.path != "/slow":
            self.answer(str(self.headers).encode())
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"begun ")
        self.begun.set()
        while not self.let_go.wait(0.05):
            try:
                if not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise ConnectionResetError
            except BlockingIOError:
                continue
            except OSError:
                self.gone.set()
                return
        self.wfile.write(b"and ended")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Door:
    def __init__(self, front: Front, port: int):
        self.front, self.port = front, port

    def connected(self, content: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        client.sendall(content)
        return client

    def ask(self, content: bytes) -> bytes:
        with self.connected(content) as client:
            return read(client)


def read(client: socket.socket) -> bytes:
    said = b""
    while piece := client.recv(65536):
        said += piece
    return said


@contextmanager
def opened() -> Iterator[Door]:
    for event in (Echo.let_go, Echo.gone, Echo.begun):
        event.clear()
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))

    async def choose(_: Request) -> tuple[str, int]:
        return "127.0.0.1", behind.server_address[1]

    front = Front(listener, choose)
    front.open()
    try:
        yield Door(front, listener.getsockname()[1])
    finally:
        front.close()
        Echo.let_go.set()
        behind.shutdown()
        behind.server_close()


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as found:
        yield found


def test_half_sent_requests_lock_nobody_out(door: Door):
    with ExitStack() as held:
        for _ in range(2 * CONNECTIONS):
            held.enter_context(door.connected(GET[:-2]))
        assert door.ask(GET).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", GET[:-2], b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort"])
def test_a_request_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, sent: bytes):
    monkeypatch.setattr(request_module, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(request_module, "BODY_SECONDS", 0.2)
    with opened() as door:
        assert door.ask(sent).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431, id="long headers"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1), 413, id="long body"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n", 413, id="long chunk"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, id="two lengths"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400, id="another coding"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, id="no chunk"),
        pytest.param(b"\x16\x03\x01\x02\x00\r\n\r\n", 400, id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400, id="folded header"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\rB: c\r\n\r\n", 400, id="a return in a header"),
    ],
)
def test_what_is_no_good_request_is_refused(door: Door, sent: bytes, status: int):
    assert door.ask(sent).startswith(b"HTTP/1.1 %d " % status)


def test_a_body_in_chunks_arrives_whole(door: Door):
    sent = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    assert door.ask(sent).endswith(b"POST abcde")


def test_a_client_that_waits_for_leave_gets_it(door: Door):
    with door.connected(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n") as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert read(client).endswith(b"POST hello")


def test_headers_between_two_neighbours_are_not_passed_on(door: Door):
    told = door.ask(
        b"GET / HTTP/1.1\r\nAuthorization: Bearer k\r\nConnection: keep-alive\r\nUpgrade: h2c\r\n\r\n"
    ).lower()
    assert b"authorization: bearer k" in told
    assert b"connection: close" in told
    assert b"upgrade" not in told
    assert b"keep-alive" not in told


def test_a_client_that_goes_ends_the_work_for_it(door: Door):
    with door.connected(b"GET /slow HTTP/1.1\r\n\r\n"):
        assert Echo.begun.wait(300)
    assert Echo.gone.wait(300)


def test_what_is_under_way_is_finished_and_nothing_new_begins(door: Door):
    with door.connected(b"GET /slow HTTP/1.1\r\n\r\n") as client:
        assert Echo.begun.wait(300)
        assert door.front.under_way == 1
        threading.Timer(0.3, Echo.let_go.set).start()
        assert door.front.drain(20, lambda: False) == 0
        assert read(client).endswith(b"begun and ended")
        with pytest.raises(OSError):  # noqa: PT011 - refused, or reset
            door.ask(GET)


@pytest.mark.parametrize(("seconds", "hurried"), [(0.1, False), (1000, True)])
def test_what_takes_too_long_is_cut_off(door: Door, seconds: float, hurried: bool):
    with door.connected(b"GET /slow HTTP/1.1\r\n\r\n"):
        assert Echo.begun.wait(300)
        assert door.front.drain(seconds, lambda: hurried) == 1
        assert Echo.gone.wait(300)


def test_a_server_that_is_gone_is_said_to_be(door: Door):
    async def nobody(_: Request) -> tuple[str, int]:
        return "127.0.0.1", 1

    door.front._choose = nobody
    assert door.ask(GET).startswith(b"HTTP/1.1 502 ")


def test_a_client_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(front_module, "TAKING_SECONDS", 0.2)
    with opened() as door:
        body = b"x" * 30_000_000
        client = door.connected(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with client:
            for _ in range(6000):
                if not door.front.under_way:
                    break
                threading.Event().wait(0.05)
            assert door.front.under_way == 0
