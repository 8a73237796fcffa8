"""A remote GGUF's header without its data: one or two range requests, whatever the file's size.

A Gemma 4 header is 15.8 MB, nearly all of it vocabulary, and its tensor list comes last. So the first request asks for
64 KiB, enough to refuse what is no GGUF and for headers without a vocabulary, the second for the rest of the first
16 MiB, and only an unusual header needs a third.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from huggingface_hub import constants

from gemma_mtp.errors import EnvironmentProblem, GGUFError, UsageError
from gemma_mtp.files.gguf_reader import GGUFHeader, HeaderIncomplete, parse_header
from gemma_mtp.hub.client import hub_stream, retried
from gemma_mtp.hub.discovery import parts_of, pick_gguf
from gemma_mtp.hub.download import Listing, list_repo, no_such_file
from gemma_mtp.hub.names import require_commit
from gemma_mtp.hub.problems import explained
from gemma_mtp.hub.source import Source
from gemma_mtp.model.part import Part

FIRST_READ, SECOND_READ = 64 << 10, 16 << 20
LARGEST_HEADER = 64 << 20
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-(?P<end>\d+)/(?P<size>\d+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteHeader:
    """A remote file's header.

    source: the file, at the commit it was read from. sha256: of the whole file, as the Hub gives it, if it does.
    bytes_read, requests: what it took.
    """

    source: Source
    header: GGUFHeader
    sha256: str | None
    bytes_read: int
    requests: int


def find_remote_gguf(source: Source, part: Part, listing: Listing | None = None) -> list[Source]:
    """The files behind a source on the Hub: `owner/repo[:QUANT]` by llama.cpp's rules, the parts of a split model.

    part: "target" or "assistant", which decides by what rule the file is chosen. listing: what the repo holds, if that
    has been asked already. Raises EnvironmentProblem.
    """
    assert source.repo is not None
    listing = listing or list_repo(source)
    if source.file is not None and source.file not in listing.files:
        raise no_such_file(listing, source.file)
    file = source.file or pick_gguf(source.repo, list(listing.files), source.quant, part)
    return [Source(repo=source.repo, revision=listing.commit, file=name) for name in parts_of(file, listing.files)]


def read_remote_header(source: Source) -> RemoteHeader:
    """The header of one remote file (`hf://owner/repo/file.gguf`).

    Raises UsageError (no file named), EnvironmentProblem (Hub or network), GGUFError (the file breaks the format).
    """
    if source.repo is None or source.file is None:
        raise UsageError("this names no file on the Hub", where=str(source), hint="write hf://owner/repo/file.gguf")
    reader = RangeReader(source.repo, source.file, source.revision or constants.DEFAULT_REVISION)
    with explained(source.repo):
        wanted = FIRST_READ
        while True:
            reader.read_up_to(wanted)
            try:
                header = parse_header(memoryview(reader.buffer), reader.size)
                break
            except HeaderIncomplete as incomplete:
                wanted = _next_read(incomplete.needed, str(source))
            except GGUFError as error:
                raise GGUFError(error.what, where=str(source), hint=error.hint) from error
    at = Source(repo=source.repo, revision=reader.revision, file=source.file)
    return RemoteHeader(at, header, reader.sha256, len(reader.buffer), reader.requests)


def _next_read(needed: int, where: str) -> int:
    if needed > LARGEST_HEADER:
        raise GGUFError(f"the header needs {needed:,} bytes, more than any model's", where=where)
    return SECOND_READ if needed <= SECOND_READ else min(2 * needed, LARGEST_HEADER)


class RangeReader:
    """The beginning of a remote file, read on as needed; always of the commit that the first answer named.

    buffer: what has been read. size, sha256: of the whole file, known after the first request.
    """

    def __init__(self, repo: str, file: str, revision: str):
        self.repo, self.file, self.revision = repo, file, revision
        self.buffer = b""
        self.size = 0
        self.sha256: str | None = None
        self.requests = 0

    def read_up_to(self, end: int) -> None:
        """Let `buffer` hold the first `end` bytes, or the whole file if it is shorter."""
        if self.requests and len(self.buffer) >= min(end, self.size):
            raise GGUFError("the header does not end where the file does", where=self.file)
        self.buffer += retried(lambda: self._get(len(self.buffer), end))

    def _get(self, start: int, end: int) -> bytes:
        url = f"{constants.ENDPOINT}/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(self.file)}"
        self.requests += 1
        with hub_stream(url, {"Range": f"bytes={start}-{end - 1}"}) as response:
            skip = self._note(response, start)
            pieces, got = [], 0
            # A server that ignores the range sends the whole file: stop when there is enough.
            for piece in response.iter_bytes():
                pieces.append(piece)
                got += len(piece)
                if got >= skip + end - start:
                    break
        return b"".join(pieces)[skip : skip + end - start]

    def _note(self, response: Any, start: int) -> int:
        """Take size, commit and hash from an answer; how many bytes of its body come before `start`."""
        described = [response, *response.history]
        named = next((found for answer in described if (found := answer.headers.get("X-Repo-Commit"))), None)
        commit = self.revision if named is None else require_commit(named)
        etag = next((found for answer in described if (found := answer.headers.get("X-Linked-ETag"))), "").strip('"')
        ranged = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        length = response.headers.get("Content-Length", "")
        if response.status_code == 206 and ranged and int(ranged["start"]) == start:
            size, skip = int(ranged["size"]), 0
        elif response.status_code == 200 and length.isdecimal():
            size, skip = int(length), start
        else:
            raise ValueError("no usable answer to a request for a part of a file")
        if self.size and size != self.size:
            raise EnvironmentProblem("the file changed while it was read", where=self.file, hint="run it again")
        self.revision, self.size = commit, size
        self.sha256 = etag if _SHA256.fullmatch(etag) else self.sha256
        return skip
