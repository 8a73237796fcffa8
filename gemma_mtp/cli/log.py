"""What the library logs, shown on stderr for who asks."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("gemma_mtp")


def show_log(wanted: bool) -> None:
    """From now on show what is logged, or not."""
    for handler in [one for one in LOGGER.handlers if isinstance(one, _Shown)]:
        LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.DEBUG if wanted else logging.NOTSET)
    if wanted:
        LOGGER.addHandler(_Shown())


class _Shown(logging.Handler):
    """Shows a record as a line in which nothing acts on a terminal and nothing secret stands."""

    def emit(self, record: logging.LogRecord) -> None:
        from gemma_mtp.cli.output import line, notes
        from gemma_mtp.redaction import redact

        name = record.name.removeprefix("gemma_mtp.")
        notes.print(line((f"{record.levelname.lower()} {name}: {redact(record.getMessage())}", "dim")))
