"""The one place where errors become sentences and exit codes. What is not meant for people is a bug and stays loud."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from gemma_mtp.errors import (
    INTERRUPTED,
    OF_THE_MACHINE,
    BadFileError,
    EnvironmentProblem,
    GemmaMtpError,
    UsageError,
    meant,
)

#: What typer says of a wrong command line. Newer versions bring click with them, older ones import it: so by its heir.
CommandLineError: Any = typer.BadParameter.__base__
#: (command, an option that another command has) -> how it is said here.
SAID_OTHERWISE = {
    ("quantize", "--type"): "types stand behind the files: `gemma-mtp quantize IN.gguf Q8_0 Q4_0`",
}


def exit_code(work: Callable[[], object]) -> int:
    """Do the work and tell its exit code; an error is printed."""
    try:
        done = work()
        if sys.stdout is not None:
            sys.stdout.flush()  # here a full disk can still be told
    except (KeyboardInterrupt, typer.Abort):
        done = INTERRUPTED
    except (GemmaMtpError, CommandLineError, OSError, MemoryError) as error:
        return _told(error)
    if done == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return done if isinstance(done, int) else 0


def _told(error: Any) -> int:
    """Print an error in its sentence; its exit code."""
    from gemma_mtp.cli.output import print_error

    problem = as_problem(error)
    print_error(problem)
    return problem.exit_code


def as_problem(error: Any) -> GemmaMtpError:
    """The error in our words: what is wrong, where, what to do."""
    if isinstance(error, GemmaMtpError):
        return error
    if isinstance(error, MemoryError):
        return EnvironmentProblem("there is not enough memory", hint="close other programs, or use smaller files")
    if isinstance(error, OSError):
        return _system_problem(error)
    return _usage_problem(error)


def _system_problem(error: OSError) -> GemmaMtpError:
    """What the system refused. A path that it cannot use is the path's fault, unless the machine is in the way."""
    said = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return EnvironmentProblem(f"the system refused: {said}")
    if error.errno in OF_THE_MACHINE:
        return EnvironmentProblem(f"this cannot be used: {said}", where=error.filename, hint="make room, or repair it")
    return BadFileError(f"this cannot be used: {said}", where=error.filename, hint="check the path and its permissions")


def _usage_problem(error: Any) -> UsageError:
    """typer's complaint about the command line, with the option that may be meant, and where help is."""
    command = error.ctx.command_path if error.ctx else "gemma-mtp"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        known = [name for param in error.ctx.command.params for name in param.opts] if error.ctx else []
        other = SAID_OTHERWISE.get((command.split()[-1], option))
        hint = other or f"{meant(option, known) or 'all are told by'} {command} --help"
        return UsageError(f"there is no option {option}", hint=hint)
    said = " ".join(str(error.format_message()).split())
    return UsageError(said[:1].lower() + said[1:].removesuffix("."), hint=f"see {command} --help")
