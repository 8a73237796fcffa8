"""What a run leaves in a folder: finished files, which must be sound, and what is hidden, which is unfinished."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from gemma_mtp.validate import verify_file


def fresh(sources: Path, folder: Path) -> Path:
    """The folder, empty but for links to the sources."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sources.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def finished(folder: Path) -> list[Path]:
    """The files under final names that are no sources."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def unfinished(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob(".*") if not path.is_symlink())


def contents(folder: Path) -> dict[str, str]:
    """Name -> hash of each finished file. Notes of `make` hold times, and count by their steps alone."""
    return {str(path.relative_to(folder)): _hash(path) for path in finished(folder)}


def _hash(path: Path) -> str:
    raw = path.read_bytes()
    if path.name.endswith(".make.json"):
        steps = json.loads(raw)["steps"]
        raw = json.dumps({name: (step["done"], (step["output"] or {}).get("sha256")) for name, step in steps.items()})
        raw = raw.encode()
    return hashlib.sha256(raw).hexdigest()


def assert_sound(folder: Path) -> None:
    """Every file under a final name passes its own check."""
    for path in finished(folder):
        if path.suffix == ".gguf":
            report = verify_file(path, deep=True)
            assert report.ok, (path, report.verdict)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        else:
            assert path.stat().st_size, path
