"""Where a converted file comes from, as keys that every loader skips.

Source files are hashed beside the conversion: a hash has a known length, so the header is written with zeros in its
place and once more when the hashes are there.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gemma_mtp import __version__
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.hashing import sha256_of
from gemma_mtp.sources.origin import Origin
from gemma_mtp.sources.templates import template_files

TOOL = "gemma_mtp.version"
REPO, REVISION = "gemma_mtp.source.repo", "gemma_mtp.source.revision"
#: Two arrays of the same length: names, and their hashes in hexadecimal.
FILES, HASHES = "gemma_mtp.source.files", "gemma_mtp.source.sha256"
KEYS = (TOOL, REPO, REVISION, FILES, HASHES)

#: What a conversion reads beside the weights, where it is there.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
    "README.md",
)
_HASH_LENGTH = 64


class Provenance:
    """The keys of a conversion from `weights` and the files beside them. A context manager: hashing runs inside it."""

    def __init__(self, origin: Origin, folder: Path, weights: list[Path]):
        companions = [*(folder / name for name in COMPANIONS), *template_files(folder)]
        self._origin, self._folder = origin, folder
        self._files = [*(path for path in companions if path.is_file()), *weights]
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hash")

    def __enter__(self) -> Provenance:
        self._hashes: list[Future[str]] = [self._pool.submit(self._hash, path) for path in self._files]
        return self

    def __exit__(self, *exception: Any) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _hash(self, path: Path) -> str:
        known = self._origin.hashes.get(path.relative_to(self._folder).as_posix(), "")
        return known if len(known) == _HASH_LENGTH else sha256_of(path)

    def placeholder(self) -> dict[str, Value]:
        """The keys with zeros for hashes: as long as the real ones."""
        return self._keys(["0" * _HASH_LENGTH for _ in self._files])

    def keys(self) -> dict[str, Value]:
        """The keys, when all is hashed. Raises OSError."""
        return self._keys([future.result() for future in self._hashes])

    def _keys(self, hashes: list[str]) -> dict[str, Value]:
        place = {REPO: self._origin.repo, REVISION: self._origin.revision}
        return {
            TOOL: gv.string(__version__),
            **{key: gv.string(text) for key, text in place.items() if text},
            FILES: gv.strings([path.relative_to(self._folder).as_posix() for path in self._files]),
            HASHES: gv.strings(hashes),
        }
