"""Is a file, byte for byte, what was published? Downloads are cut off or spoilt in ways that no header shows."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from gemma_mtp.files.hashing import content_hash
from gemma_mtp.validate.findings import Finding, error, ok, skipped
from gemma_mtp.validate.pair import Published, Single

_SHA256 = re.compile(r"[0-9a-f]{64}")
AGAIN = "download it again: delete the file first, from the Hub's cache too"


def target_content(one: Single) -> Finding:
    """The target is what the Hub has, by its hash. With `--hub REPO`, or for files in the Hub's cache with `--deep`."""
    return _content(one)


def assistant_content(one: Single) -> Finding:
    """The assistant is what the Hub has, by its hash. With `--hub REPO`, or for files in its cache with `--deep`."""
    return _content(one)


def _content(one: Single) -> Finding:
    side = one.side
    if not side.files:
        return skipped("only its header was read")
    compared = []
    for path in side.files:
        wanted = _wanted(one, path)
        if wanted is None:
            return skipped(_why_not(one, path))
        size = path.stat().st_size
        if size != wanted.size:
            return error(
                f"{path.name} has {size:,} bytes, the published file {wanted.size:,}: cut off, or another version",
                AGAIN,
                **{side.part: f"{size:,} bytes"},
            )
        with one.progress(f"hashing {path.name}", size) as advance:
            found = content_hash(path, wanted.hash, advance)
        compared.append(f"{found[:12]}...")
        if found != wanted.hash:
            return error(
                f"{path.name} has other content than the published file (its hash is {found[:12]}..., not "
                f"{wanted.hash[:12]}...): damaged on the way, or another version. A damaged model may load and answer "
                "nonsense (endless <unused49>, for instance)",
                AGAIN,
                **{side.part: compared[-1]},
            )
    return ok(**{side.part: ", ".join(compared[:2])})


def _wanted(one: Single, path: Path) -> Published | None:
    """What a file should be: the published one of its name; else what its name in the Hub's cache says, with --deep."""
    named = next((file for file in one.published if PurePosixPath(file.name).name == path.name), None)
    if named is not None or one.published or not one.deep:
        return named
    return Published(path.name, path.stat().st_size, path.resolve().name) if _is_cached(path) else None


def _is_cached(path: Path) -> bool:
    """Whether this is a file of huggingface_hub's cache, where large files are named by their sha256."""
    blob = path.resolve()
    return blob.parent.name == "blobs" and bool(_SHA256.fullmatch(blob.name))


def _why_not(one: Single, path: Path) -> str:
    if one.published:
        return f"what --hub names has no file {path.name}"
    return "--deep compares its hash" if _is_cached(path) else "--hub owner/repo compares its hash with the Hub's"
