"""The commands as one program: each is imported when it is named, and completed by its names."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from gemma_mtp import __version__
from gemma_mtp.cli.boundary import exit_code
from gemma_mtp.cli.options import built
from gemma_mtp.cli.schemas import set_command
from gemma_mtp.cli.volume import set_quiet
from gemma_mtp.errors import UsageError, meant

PROGRAM = "gemma-mtp"
MARKUP: Literal["markdown"] = "markdown"
SETTINGS = {"help_option_names": ["-h", "--help"]}
LOGGER = logging.getLogger("gemma_mtp")


class Program(TyperGroup):
    """All commands, of which only those are loaded that are asked for: building one takes a tenth of the time.

    names: the commands in the order of `--help`, which shows each one's first sentence and builds none.
    """

    names: tuple[str, ...] = ()
    listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.names)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.listing and cmd_name in self.names:
            return TyperCommand(cmd_name, help=inspect.getdoc(_function(cmd_name)), rich_markup_mode=MARKUP)
        if cmd_name in self.names and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self.listing = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`help` and `help COMMAND` mean `--help` and `COMMAND --help`; without a word there is help too."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), nl=False)
            raise typer.Exit(UsageError.exit_code)
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raises UsageError."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            hint = meant(args[0], self.names) or f"there are {', '.join(self.names)}:"
            raise UsageError(f"there is no command {args[0]}", hint=f"{hint} {PROGRAM} --help")
        set_command(args[0])
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """The whole program: its name is the same however it was started, for help and completion."""
        whole = super().main
        code = exit_code(
            lambda: whole(args, PROGRAM, complete_var, False, windows_expand_args=windows_expand_args, **extra)
        )
        if standalone_mode:
            sys.exit(code)
        return code


def build(names: tuple[str, ...]) -> typer.Typer:
    """The program with these commands."""
    app = typer.Typer(
        name=PROGRAM,
        cls=type("Program", (Program,), {"names": names}),
        help="Convert, quantize, verify, run and publish Gemma 4 MTP assistants.",
        rich_markup_mode=MARKUP,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )
    app.callback()(options)
    return app


def _load(name: str) -> Any:
    one = typer.Typer(rich_markup_mode=MARKUP, add_completion=False, context_settings=SETTINGS)
    one.command(name)(built(_function(name)))
    return typer.main.get_command(one)


def _function(name: str) -> Callable[..., None]:
    found: Callable[..., None] = getattr(importlib.import_module(f"gemma_mtp.cli.{name}"), name)
    return found


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log on stderr what is done. (-v after a command: llama.cpp's log.)")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")] = False,
) -> None:
    """What is said before the command holds for all of it. Raises UsageError: opposites."""
    if verbose and quiet:
        raise UsageError("--verbose and --quiet are opposites", hint="choose one of the two")
    set_quiet(quiet)
    show_log(verbose)


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
