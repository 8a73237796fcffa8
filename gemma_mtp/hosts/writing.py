"""Writing what was exported: all of it or nothing, and nothing over anything without being told so."""

from __future__ import annotations

from gemma_mtp.files.atomic import atomic_output
from gemma_mtp.hosts.export import Export
from gemma_mtp.hosts.folder import make_links


def write_export(export: Export, *, force: bool = False) -> None:
    """Raises UsageError (the file exists, no such folder), EnvironmentProblem (disk)."""
    if not export.nowhere:
        make_links(dict(export.links), force)
    if export.file is not None:
        content = export.text.encode()
        with atomic_output(export.file, size=len(content), force=force) as file:
            file.write(content)
