"""A server from its start to its end: llama.cpp's in a child process, and a door in front of it.

Why there is a door: llama.cpp's server knows no probabilities of tokens that were drafted, and answers a logprob of 0.0
and no alternatives for them (server-context.cpp: "TODO: set result.probs"), and no request can switch drafting off.
Requests for logprobs therefore go to a copy of the server that does not draft, or are refused.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, fields, replace
from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import Request as UrlRequest

from gemma_mtp.cores import available_cores
from gemma_mtp.errors import GemmaMtpError, LlamaError, UsageError
from gemma_mtp.native import cpp
from gemma_mtp.native.child import converse
from gemma_mtp.native.settings import NO_DRAFTS
from gemma_mtp.serve.front import CONNECTIONS, Front
from gemma_mtp.serve.program import Program, fetched
from gemma_mtp.serve.request import Refused, Request
from gemma_mtp.serve.strangers import guard
from gemma_mtp.sources.drafting import of_file
from gemma_mtp.sources.pairing import check_runnable

CHILD, PROGRAM_CHILD = f"{__name__}:serve", "gemma_mtp.serve.program:serve"
#: Where llama.cpp's own door is: for the one in front of it only.
LOCAL = "127.0.0.1"
#: Seconds in which a server that works tells its counters.
PATIENCE = 2.0
#: Names of counters in /metrics (server-context.cpp) -> ours.
COUNTERS = {
    "llamacpp:tokens_predicted_total": "tokens",
    "llamacpp:tokens_predicted_seconds_total": "seconds",
    "llamacpp:spec_decode_num_draft_tokens_total": "drafted",
    "llamacpp:spec_decode_num_accepted_tokens_total": "accepted",
}
#: What may be done about requests for logprobs while drafting.
LOGPROBS = {
    "auto": "copy where the weights stay in main memory, which the two share; refuse where a GPU holds them",
    "copy": "a second server without drafting answers them, loaded when it is first needed",
    "refuse": "status 400",
}
UNKNOWN = "llama.cpp's server does not know the logprobs of drafted tokens (it would tell 0.0 for them)"


@dataclass(frozen=True)
class Counters:
    """What servers have done since their start."""

    tokens: float = 0
    seconds: float = 0
    drafted: float = 0
    accepted: float = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True)
class Backend:
    """llama.cpp's server in a child process. devices: its GPUs."""

    child: Generator[tuple[str, tuple[str, ...]], None, None]
    address: str
    devices: tuple[str, ...]
    api_keys: tuple[str, ...]

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.address)
        return parts.hostname or LOCAL, parts.port or 80

    def counters(self) -> Counters | None:
        """None if it does not answer."""
        headers = {"Authorization": f"Bearer {self.api_keys[0]}"} if self.api_keys else {}
        told = fetched(UrlRequest(f"{self.address}/metrics", headers=headers), PATIENCE)
        if told is None:
            return None
        pairs = (line.split() for line in told.decode().splitlines() if not line.startswith("#"))
        return Counters(**{COUNTERS[pair[0]]: float(pair[1]) for pair in pairs if pair and pair[0] in COUNTERS})


def start(loading: cpp.Loading, listening: cpp.Listening, program: Program | None = None) -> Backend:
    """program: a llama-server to run; None: the one in xllamacpp.

    Raises MissingExtra, BadFileError (no pair), LlamaError, NativeCrash.
    """
    # All connections that the door lets in may ask at once: none shall wait for a thread of theirs.
    here = replace(listening, host=LOCAL, port=0, threads=CONNECTIONS)
    files = (loading.target, loading.assistant)
    if program is None:
        child = converse(CHILD, loading, here, files=files)
    else:
        with bound(LOCAL, 0) as free:  # it has to be told one
            here = replace(here, port=free.getsockname()[1])
        child = converse(PROGRAM_CHILD, loading, here, program, files=files)
    address, devices = next(child)
    return Backend(child, address, devices, listening.api_keys)


class PlainCopy:
    """The target once more, without drafting: started when it is first wanted."""

    def __init__(self, loading: cpp.Loading, listening: cpp.Listening, program: Program | None = None):
        self._loading, self._listening = replace(loading, assistant=None, drafting=NO_DRAFTS), listening
        self._program = program
        self._started: Future[Backend] | None = None

    def wanted(self) -> Future[Backend]:
        """It, as soon as it is loaded; or why it cannot be. (In a thread that does not outlive the program.)"""
        if self._started is None:
            self._started = Future()
            threading.Thread(target=self._start, args=(self._started,), name="plain copy", daemon=True).start()
        return self._started

    def _start(self, started: Future[Backend]) -> None:
        try:
            started.set_result(start(self._loading, self._listening, self._program))
        except BaseException as error:
            started.set_exception(error)

    @property
    def backend(self) -> Backend | None:
        """None if it was not wanted, is not ready, or could not be loaded."""
        done = self._started is not None and self._started.done() and not self._started.exception()
        return self._started.result() if done and self._started else None

    def close(self) -> None:
        """One that is still loading ends when it finds this program gone."""
        if self.backend:
            self.backend.child.close()


class RunningServer:
    """A server that answers. address: of its root, e.g. http://127.0.0.1:8080."""

    def __init__(self, backend: Backend, copy: PlainCopy | None, listener: socket.socket, drafts: bool):
        self._backend, self._copy, self._drafts = backend, copy, drafts
        self.address = _address(listener)
        self._guard = guard(backend.api_keys, str(listener.getsockname()[0]))
        self._front = Front(listener, self._choose)

    @property
    def logprobs(self) -> str:
        """What becomes of requests for them: "right" (nothing is drafted), "copy" or "refuse"."""
        return "copy" if self._copy else "refuse" if self._drafts else "right"

    def open(self) -> None:
        """Clients are answered from now on."""
        self._front.open()

    def wait(self) -> None:
        """Until the child dies, which is an error: a server does not end by itself. Raises NativeCrash, LlamaError."""
        for _ in self._backend.child:
            pass
        raise LlamaError("the server has ended by itself")

    @property
    def under_way(self) -> int:
        """Requests that are not answered yet."""
        return self._front.under_way

    def drain(self, seconds: float, hurried: Callable[[], bool]) -> int:
        """Finish what is under way, take nothing new. Returns how many requests were cut off (see `Front.drain`)."""
        return self._front.drain(seconds, hurried)

    def counters(self) -> Counters | None:
        """Of both servers. None if one does not answer."""
        backends = [self._backend, *([self._copy.backend] if self._copy and self._copy.backend else [])]
        counters = [backend.counters() for backend in backends]
        return None if None in counters else sum((one for one in counters if one), Counters())

    def close(self) -> None:
        """End everything. Harmless when done already."""
        self._front.close()
        if self._copy:
            self._copy.close()
        self._backend.child.close()

    async def _choose(self, request: Request) -> tuple[str, int]:
        """Who answers. A stranger without a key starts nothing: llama.cpp's server tells him.

        Raises Refused: a web page of another host; logprobs that cannot be had.
        """
        self._guard(request)
        if not self._drafts or not request.wants_logprobs or not request.may_ask(self._backend.api_keys):
            return self._backend.place
        if self._copy is None:
            what = f"{UNKNOWN}: leave logprobs out, or ask a server that does not draft (gemma-mtp serve --no-draft)"
            raise Refused(HTTPStatus.BAD_REQUEST, what)
        try:
            return (await asyncio.shield(asyncio.wrap_future(self._copy.wanted()))).place
        except GemmaMtpError as error:
            what = f"{UNKNOWN}, and a copy without drafting could not be loaded: {error}"
            raise Refused(HTTPStatus.BAD_REQUEST, what) from error


@contextmanager
def running_server(
    loading: cpp.Loading, listening: cpp.Listening, *, logprobs: str = "auto", program: Program | None = None
) -> Iterator[RunningServer]:
    """Start a server, and stop it when the block ends. logprobs: a key of LOGPROBS. program: a llama-server to run in
    the place of xllamacpp's.

    Raises UsageError (the port is taken), MissingExtra, BadFileError (no pair), LlamaError, NativeCrash.
    """
    if logprobs not in LOGPROBS:
        raise UsageError(f"logprobs {logprobs!r} is unknown", hint="choose one of " + ", ".join(LOGPROBS))
    if program is None:
        cpp.package_version()
    drafts = loading.drafter is not None
    # A server lives longer than what happens to be busy at its start.
    context = replace(loading.context, threads=loading.context.threads or available_cores())
    loading = replace(loading, context=context)
    with ExitStack() as stack:
        listener = stack.enter_context(closing(bound(listening.host, listening.port)))
        backend = start(loading, listening, program)
        stack.callback(backend.child.close)
        copies = drafts and (logprobs == "copy" or (logprobs == "auto" and not backend.devices))
        copy = PlainCopy(loading, listening, program) if copies else None
        server = stack.enter_context(closing(RunningServer(backend, copy, listener, drafts)))
        server.open()
        yield server


def bound(host: str, port: int) -> socket.socket:
    """A socket at that address, which does not listen yet. Raises UsageError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            if sys.platform != "win32":  # where this option would share a port that is in use
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"it cannot listen at {host}:{port}: {error.strerror or error}", hint="port 0 is any free one"
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(loading: cpp.Loading, listening: cpp.Listening) -> Generator[tuple[str, tuple[str, ...]], None, None]:
    """Runs in the child of a conversation: the address and the GPUs, then nothing until the other side hangs up.

    Only that ends it: a SIGTERM for the whole process group is the parent's to answer.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    check_runnable(loading.target, loading.drafter, loading.model)
    loading = replace(loading, drafting=of_file(loading.drafting, loading.drafter))
    server = cpp.start_server(loading, listening)
    try:
        yield server.listening_address, cpp.gpus()
        sys.stdin.buffer.read()
    finally:
        del server
