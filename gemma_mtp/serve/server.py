"""A server in a child process, from its start to its end."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import Request, urlopen

from gemma_mtp.errors import LlamaError, UsageError
from gemma_mtp.mtp_runtime import cpp
from gemma_mtp.mtp_runtime.child import converse

CHILD = f"{__name__}:serve"
#: Seconds in which a server that works tells its counters.
PATIENCE = 2.0
#: Names of counters in /metrics (server-context.cpp) -> ours.
COUNTERS = {
    "llamacpp:tokens_predicted_total": "tokens",
    "llamacpp:tokens_predicted_seconds_total": "seconds",
    "llamacpp:spec_decode_num_draft_tokens_total": "drafted",
    "llamacpp:spec_decode_num_accepted_tokens_total": "accepted",
}


@dataclass(frozen=True)
class Counters:
    """What a server has done since its start."""

    tokens: float = 0
    seconds: float = 0
    drafted: float = 0
    accepted: float = 0


class RunningServer:
    """A server that answers. address: of its root, e.g. http://127.0.0.1:8080."""

    def __init__(self, child: Generator[str, None, None], address: str, api_keys: tuple[str, ...]):
        self._child, self.address, self._api_keys = child, address, api_keys

    def wait(self) -> None:
        """Until the child dies, which is an error: a server does not end by itself. Raises NativeCrash, LlamaError."""
        for _ in self._child:
            pass
        raise LlamaError("the server has ended by itself")

    def counters(self) -> Counters | None:
        """None if it does not answer."""
        headers = {"Authorization": f"Bearer {self._api_keys[0]}"} if self._api_keys else {}
        try:
            with urlopen(Request(f"{self.address}/metrics", headers=headers), timeout=PATIENCE) as answer:
                lines = answer.read().decode().splitlines()
        except (URLError, OSError):
            return None
        pairs = (line.split() for line in lines if not line.startswith("#"))
        return Counters(**{COUNTERS[pair[0]]: float(pair[1]) for pair in pairs if pair and pair[0] in COUNTERS})


@contextmanager
def running_server(loading: cpp.Loading, listening: cpp.Listening) -> Iterator[RunningServer]:
    """Start a server, and stop it when the block ends.

    Raises UsageError (the port is taken), MissingExtra, BadFileError (no pair), LlamaError, NativeCrash.
    """
    cpp.package_version()
    check_port(listening.host, listening.port)
    with closing(converse(CHILD, loading, listening, files=(loading.target, loading.assistant))) as child:
        yield RunningServer(child, next(child), listening.api_keys)


def check_port(host: str, port: int) -> None:
    """Raises UsageError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            if sys.platform != "win32":  # where this option would share a port that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UsageError(
            f"it cannot listen at {host}:{port}: {error.strerror or error}", hint="--port 0 takes a free one"
        ) from error


def serve(loading: cpp.Loading, listening: cpp.Listening) -> Generator[str, None, None]:
    """Runs in the child of a conversation: the address, then nothing until the other side hangs up.

    Only that ends it: a SIGTERM for the whole process group is the parent's to answer.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = cpp.start_server(loading, listening)
    try:
        yield server.listening_address
        sys.stdin.buffer.read()
    finally:
        del server
