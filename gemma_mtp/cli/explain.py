"""`gemma-mtp explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import Json

if TYPE_CHECKING:
    from gemma_mtp.native.log_reader import Reading


def explain(
    log: Annotated[str, typer.Argument(help="A file with the log, in any encoding; - for standard input.")],
    json: Json = False,
) -> None:
    """Tell what the lines of a log mean, of llama.cpp or of a program that is built on it, and what to do.

    Exit code 0: something is known about a line of it. 1: nothing is.

    Examples:

    - `gemma-mtp explain server.log`

    - `llama-server -m target.gguf -md mtp-target.gguf --spec-type draft-mtp 2>&1 | gemma-mtp explain -`
    """
    from gemma_mtp.cli.output import print_json

    reading: Reading = _read(log)
    if json:
        print_json(reading.to_dict())
    else:
        print_reading(reading)
    raise typer.Exit(0 if reading.found else 1)


def _read(log: str) -> Reading:
    """Raises BadFileError, UsageError (nothing is piped in)."""
    import sys

    from gemma_mtp.errors import BadFileError, UsageError
    from gemma_mtp.native.log_reader import read_log

    try:
        if log != "-":
            with open(log, "rb") as file:
                if is_device(file.fileno()):
                    raise BadFileError("this is a device, not a log", where=log, hint="name a file, or pipe a log in")
                return read_log(file)
        if sys.stdin.isatty():
            raise UsageError("there is no log on standard input", hint="name a file, or pipe a log in")
        return read_log(sys.stdin.buffer)
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror}", where=log) from error


def is_device(number: int) -> bool:
    """Whether an open file is one without an end, such as /dev/zero. A terminal or a pipe has one."""
    import os
    import stat

    mode = os.fstat(number).st_mode
    return stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not os.isatty(number))


def print_reading(reading: Reading) -> None:
    from gemma_mtp.cli.output import line, print_note, results

    for one in reading.found:
        more = f" (and {one.times - 1:,} more like it)" if one.times > 1 else ""
        results.print(line((f"line {one.line:,}", "bold"), f"{more}: {one.text}"))
        results.print(line(f"  means: {one.cause.cause}"))
        results.print(line(f"  what to do: {one.cause.told()}"))
    if not reading.found:
        print_note(
            f"nothing is known about any of its {reading.lines:,} lines; docs/troubleshooting.md has symptoms too"
        )
