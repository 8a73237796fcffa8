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


#: How many bytes are looked at.
HEAD = 512
CONVERT = "gemma-mtp convert takes the folder that it is in"
AGAIN = "the download went wrong: download it again"
SIGNATURES = (
    Signature(
        "a Git LFS pointer, not the file itself", "git lfs pull, or hf download", _begins(b"version https://git-lfs")
    ),
    Signature(
        "a web page", "it was saved in the file's place: download the file itself", _begins(b"<!", b"<html", b"<HTML")
    ),
    Signature("a safetensors file", CONVERT, _is_safetensors),
    Signature(
        "a zip archive, as PyTorch saves its weights", "start from a checkpoint in safetensors", _begins(b"PK\x03\x04")
    ),
    Signature(
        "a pickle, as PyTorch saved its weights",
        "start from a checkpoint in safetensors",
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
    Signature("JSON", "name the model's file, or the folder of a checkpoint", _begins(b"{", b"[")),
    Signature("zero bytes alone at its beginning", AGAIN, lambda head: bool(head) and not any(head)),
)


def recognized(head: bytes) -> Signature | None:
    """The kind of file that begins like this; None if none that we know does. head: its first `HEAD` bytes."""
    known = next((one for one in SIGNATURES if one.is_it(head)), None)
    if known is None and head and all(byte in b"\t\r\n" or byte >= 32 for byte in head):
        return Signature("a text", "name the model's file", lambda _: True)
    return known


def mistaken(path: Path, wanted: str) -> Signature | None:
    """The kind of a file that turned out not to be what is wanted; None if it looks like that, or is not known.

    wanted: the kind that it should be, by its words in `SIGNATURES`.
    """
    try:
        with path.open("rb") as file:
            known = recognized(file.read(HEAD))
    except OSError:
        return None
    return known if known in SIGNATURES and known.what != wanted else None
