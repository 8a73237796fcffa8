"""A folder as a host wants to find it: links to the files, so that nothing is stored twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gemma_mtp.errors import UsageError
from gemma_mtp.files.direct import translate_os_errors
from gemma_mtp.hosts.record import Folder
from gemma_mtp.hosts.values import Values, filled


def links(form: Folder, values: Values, files: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Link -> the file that it stands for, below the folder `root` that the host looks through."""
    folder = root.joinpath(*filled(form.path, values))
    return {folder / file.name: file for file in files}


def make_links(wanted: dict[Path, Path], force: bool) -> None:
    """Raises UsageError (something else is there, and no `force`), EnvironmentProblem."""
    todo = {link: file for link, file in wanted.items() if not (link.is_symlink() and Path(os.readlink(link)) == file)}
    for link in todo:
        if link.is_dir() and not link.is_symlink():
            raise UsageError("this is a folder, where a link is wanted", where=link)
        if (link.exists() or link.is_symlink()) and not force:
            raise UsageError("the file exists already", where=link, hint="add --force to replace it")
    for link, file in todo.items():
        with translate_os_errors(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(file)
