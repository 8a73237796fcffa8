"""What a file is that is not what it was taken for, by its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signature:
    """A kind of file. what: it, in words. hint: what to do about it. is_it: whether these first bytes are its."""

    what: str
    hint: str
    is_it: Callable[[bytes], bool]


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(marks)


def _is_safetensors(head: bytes) -> bool:
    """A header's length in eight bytes, then the header, which is JSON."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


MARK = b"\xef\xbb\xbf"
SAFETENSORS, JSON, TEXT = "a safetensors file", "JSON", "a text"
#: How many bytes are looked at.
HEAD = 512
CONVERT = "gemma-mtp convert takes the folder that it is in"
SAFETENSORS_NEEDED = "start from a checkpoint in safetensors, or save it anew with transformers' save_pretrained"
AGAIN = "the download went wrong: download it again"
SIGNATURES = (
    Signature(
        "a Git LFS pointer; the file that it stands for was not fetched",
        "fetch it: git lfs pull in its folder, or hf download owner/repo",
        _begins(b"version https://git-lfs"),
    ),
    Signature(
        "a web page, saved under this name",
        "download the file itself, for instance with: hf download owner/repo FILE",
        _begins(b"<!", b"<html", b"<HTML"),
    ),
    Signature(SAFETENSORS, CONVERT, _is_safetensors),
    Signature(
        "a zip archive, as PyTorch saves its weights",
        SAFETENSORS_NEEDED,
        _begins(b"PK\x03\x04"),
    ),
    Signature(
        "a pickle, as PyTorch saved its weights",
        SAFETENSORS_NEEDED,
        lambda head: head[:1] == b"\x80",
    ),
    Signature(
        "a model in a form from before GGUF", "look for a GGUF of it", _begins(b"lmgg", b"fmgg", b"tjgg", b"algg")
    ),
    Signature("gzip-compressed", "unpack it", _begins(b"\x1f\x8b")),
    Signature("Zstandard-compressed", "unpack it", _begins(b"\x28\xb5\x2f\xfd")),
    Signature("an xz archive", "unpack it", _begins(b"\xfd7zXZ")),
    Signature("a 7-Zip archive", "unpack it", _begins(b"7z\xbc\xaf")),
    Signature("a tar archive", "unpack it", lambda head: head[257:262] == b"ustar"),
    Signature("a text with a byte order mark", "save it as UTF-8 without one", lambda head: head.startswith(MARK)),
    Signature("a text in UTF-16", "save it as UTF-8", lambda head: head.startswith((b"\xff\xfe", b"\xfe\xff"))),
    Signature(JSON, "name the model's file, or the folder of a checkpoint", _begins(b"{", b"[")),
    Signature("zero bytes alone at its beginning", AGAIN, lambda head: bool(head) and not any(head)),
)


def recognized(head: bytes, *but: str) -> Signature | None:
    """The kind of file that begins like this; None if none that we know does.

    head: its first `HEAD` bytes. but: what it is meant to be, and would be no news.
    """
    known = next((one for one in SIGNATURES if one.is_it(head) and one.what not in but), None)
    if known is None and TEXT not in but and head and all(byte in b"\t\r\n" or byte >= 32 for byte in head):
        return Signature(TEXT, "name the model's file", lambda _: True)
    return known


def recognized_file(path: Path, *but: str) -> Signature | None:
    """The same for a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return recognized(file.read(HEAD), *but)
    except OSError:
        return None
