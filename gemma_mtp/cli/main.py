"""Registration of the commands, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import functools
import importlib
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Annotated, Any

import typer

from gemma_mtp import __version__
from gemma_mtp.errors import GemmaMtpError

INTERRUPTED, TERMINATED = 130, 143

#: The commands in the order of `--help`; each is the function of that name in gemma_mtp.cli.<name>.
COMMANDS = (
    "convert",
    "quantize",
    "verify",
    "inspect",
    "run",
    "bench",
    "serve",
    "push",
    "make",
    "demo",
    "doctor",
    "explain",
)


def application(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The program, with these of its commands."""
    app = typer.Typer(
        name="gemma-mtp",
        help="Convert, quantize, verify, run and publish Gemma 4 MTP assistants.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for name in commands:
        module = importlib.import_module(f"gemma_mtp.cli.{name}")
        app.command(name)(guarded(getattr(module, name)))
    return app


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gemma-mtp {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors that are meant for people printed as such. Anything else is a bug and stays loud."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from gemma_mtp.cli.output import print_error

        try:
            command(*args, **kwargs)
        except GemmaMtpError as error:
            print_error(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return run


def stop(_: int, __: FrameType | None) -> None:
    """What is unfinished is removed on the way out, as after an error."""
    typer.echo("terminated", err=True)
    raise SystemExit(TERMINATED)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    application([named] if named in COMMANDS else COMMANDS)()  # building one takes a tenth of the time for all
