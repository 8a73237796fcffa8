"""Files that are something else than they are named: what they are, which tells better what to do than "damaged"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mistaken:
    """beginning: of the file, in lower case and less white space. what: the file is. remedy: what to do."""

    beginning: bytes
    what: str
    remedy: str


PAGE = "a web page, saved under this name"
PAGE_REMEDY = "download the file itself, for instance with: hf download owner/repo FILE"
ENCODING_REMEDY = "save it as UTF-8 without a byte order mark"
LORA_REMEDY = "merge it into its base model (peft: merge_and_unload), save that, and convert the result"
#: The first that fits counts.
MISTAKEN = (
    Mistaken(
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer; the file that it stands for was not fetched",
        "fetch it: git lfs pull in its folder, or hf download owner/repo",
    ),
    Mistaken(b"<!doctype html", PAGE, PAGE_REMEDY),
    Mistaken(b"<html", PAGE, PAGE_REMEDY),
    Mistaken(b"\xef\xbb\xbf", "a text with a byte order mark", ENCODING_REMEDY),
    Mistaken(b"\xff\xfe", "a text in UTF-16", ENCODING_REMEDY),
    Mistaken(b"\xfe\xff", "a text in UTF-16", ENCODING_REMEDY),
    Mistaken(
        b"pk\x03\x04",
        "a zip archive, in which torch.save puts pickled weights",
        "save the model anew with transformers' save_pretrained, which writes safetensors",
    ),
)


def mistaken(path: Path) -> Mistaken | None:
    """What a file is that is not what it should be; None if that is not known, or it cannot be read."""
    try:
        with path.open("rb") as file:
            return told_by(file.read(64))
    except OSError:
        return None


def told_by(start: bytes) -> Mistaken | None:
    """The same from the first bytes of a file."""
    start = start[:64].lstrip().lower()
    return next((one for one in MISTAKEN if start.startswith(one.beginning)), None)
