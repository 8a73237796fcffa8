"""The door of a server: it reads requests within limits, sends them on to llama.cpp's server, and passes answers back.

llama.cpp's own door keeps a thread for each client, for as long as that takes its time. This one waits for all of them
in one thread, knows what is under way, and can therefore close in good order. A connection is for one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from time import monotonic, sleep
from typing import Any, TypeVar

from gemma_mtp.serve.request import HEAD_BYTES, Refused, Request, read_request

#: Open connections. Beyond it the one that has not sent its request for the longest time is closed.
CONNECTIONS = 128
#: Seconds in which a client must take something of what is there for it.
TAKING_SECONDS = 60.0
#: Seconds between two looks at what is still under way.
BETWEEN_LOOKS = 0.05
#: Bytes that are passed on at once.
PIECE = 64 * 1024

Result = TypeVar("Result")
#: Host and port of the server that shall answer a request. May raise Refused, and may take its time.
Choose = Callable[[Request], Awaitable[tuple[str, int]]]


class Front:
    """Listens at `listener` from `open` on until `close`, in a thread of its own."""

    def __init__(self, listener: socket.socket, choose: Choose):
        self._listener, self._choose = listener, choose
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[asyncio.Task[None], None] = {}
        self._busy: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._server: asyncio.AbstractServer | None = None

    def open(self) -> None:
        """Clients are answered from now on."""
        self._thread.start()
        self._call(self._listen())

    @property
    def under_way(self) -> int:
        """Requests that are not answered yet."""
        return len(self._busy)

    def drain(self, seconds: float, hurried: Callable[[], bool]) -> int:
        """Take no further request, and wait until all are answered, for so long at most, or until it is `hurried`.

        Returns how many were cut off.
        """
        self._call(self._stop_listening())
        end = monotonic() + seconds
        while self._busy and monotonic() < end and not hurried():
            sleep(BETWEEN_LOOKS)
        return self._call(self._cut())

    def close(self) -> None:
        """Cut everything off. Harmless when done already."""
        if self._thread.is_alive():
            self._call(self._stop_listening())
            self._call(self._cut())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._listener.close()
        if not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._client, sock=self._listener, limit=HEAD_BYTES, backlog=CONNECTIONS
        )

    async def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
        for task in self._waiting:
            task.cancel()

    async def _cut(self) -> int:
        cut = list(self._busy)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        return len(cut)

    async def _client(self, reader: StreamReader, writer: StreamWriter) -> None:
        """All of one connection."""
        task = asyncio.current_task()
        assert task
        self._waiting[task] = None
        if len(self._waiting) + len(self._busy) > CONNECTIONS and len(self._waiting) > 1:
            next(iter(self._waiting)).cancel()
        try:
            request = await read_request(reader, lambda: _send(writer, b"HTTP/1.1 100 Continue\r\n\r\n"))
            if request:
                self._begin(task)
                await self._answer(request, reader, writer)
        except Refused as refused:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await _send(writer, refused.answer())
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._end(task)
            writer.close()

    def _begin(self, task: asyncio.Task[None]) -> None:
        del self._waiting[task]
        self._busy.add(task)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._waiting.pop(task, None)
        self._busy.discard(task)

    async def _answer(self, request: Request, reader: StreamReader, writer: StreamWriter) -> None:
        """Ask the server that is chosen, and pass its words on until one of the two sides has gone."""
        host, port = await self._choose(request)
        try:
            theirs, asking = await asyncio.open_connection(host, port)
        except OSError:
            raise Refused(HTTPStatus.BAD_GATEWAY, "llama.cpp's server does not answer") from None
        try:
            await _send(asking, request.encoded())
            passing = asyncio.ensure_future(_pass_on(theirs, writer))
            gone = asyncio.ensure_future(_until_gone(reader))
            try:
                await asyncio.wait({passing, gone}, return_when=asyncio.FIRST_COMPLETED)
                if passing.done():
                    passing.result()
                else:
                    writer.transport.abort()
            finally:
                passing.cancel()
                gone.cancel()
        finally:
            asking.transport.abort()  # which tells llama.cpp's server to stop generating


async def _send(writer: StreamWriter, content: bytes) -> None:
    writer.write(content)
    await asyncio.wait_for(writer.drain(), TAKING_SECONDS)


async def _pass_on(source: StreamReader, writer: StreamWriter) -> None:
    while piece := await source.read(PIECE):
        await _send(writer, piece)


async def _until_gone(reader: StreamReader) -> None:
    """What a client sends after its request is not read as another one."""
    with contextlib.suppress(OSError):
        while await reader.read(PIECE):
            pass
