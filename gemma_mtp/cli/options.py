"""Options that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import typer

from gemma_mtp.errors import UsageError
from gemma_mtp.native.placement import OPTIONS

if TYPE_CHECKING:
    from gemma_mtp.native.settings import ContextSettings, ModelSettings

Force = Annotated[
    bool,
    typer.Option(
        "--force", "-f", help="Replace output files that exist. (-f of `run` is the prompt's file, as in llama.cpp.)"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Deep = Annotated[
    bool, typer.Option("--deep", help="Hash files of the Hub's cache again that were hashed before and look unchanged.")
]
#: At most as many threads as llama.cpp has room for (native.settings.MOST_THREADS, which help must not import).
Threads = Annotated[int | None, typer.Option("--threads", "-t", min=1, max=512, help="Threads. Default: all cores.")]
DecodingThreads = Annotated[
    int | None,
    typer.Option(
        "--threads", "-t", min=1, max=512, help="Threads to decode with. Default: the cores that have nothing to do."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show llama.cpp's own log on stderr.")]
Log = Annotated[Path | None, typer.Option("--log", help="Write llama.cpp's own log there.")]

#: A target and its assistant, wherever they stand: what is on the Hub is downloaded once.
Target = Annotated[
    str, typer.Argument(help="The target, a GGUF: a path, owner/repo[:TYPE] or hf://owner/repo/file.gguf.")
]
Assistant = Annotated[
    str | None,
    typer.Argument(help="Its assistant, likewise. Left out: the `mtp-*.gguf` beside the target, as llama.cpp's -hf."),
]
#: Draft lengths where nobody says or knows better: fixed ones, and at most with --draft auto.
FIXED, ADAPTIVE = 3, 8

ENGINE, CHAT, PLACEMENT = "Engine", "Chat", "What goes where (llama.cpp's options)"
#: Fields of ModelSettings and ContextSettings that were named on the command line.
Placement = dict[str, Any]
Engine = Annotated[
    Literal["python", "cpp"] | None,
    typer.Option(
        help="What decodes: python, gemma-mtp's loop (extra `runtime`), or cpp, llama.cpp's own in xllamacpp (extra "
        "`serve`). Default: what is installed, python first.",
        rich_help_panel=ENGINE,
    ),
]
Think = Annotated[
    bool,
    typer.Option("--think/--no-think", help="Let the model think first (`enable_thinking`).", rich_help_panel=CHAT),
]
Ctx = Annotated[int, typer.Option("--ctx", "-c", min=1, help="Tokens of context.", rich_help_panel=ENGINE)]
Batch = Annotated[
    int, typer.Option("--batch", "-b", min=1, help="Prompt tokens decoded in one call.", rich_help_panel=ENGINE)
]
GpuLayers = Annotated[
    int,
    typer.Option("--gpu-layers", "-ngl", min=-1, help="Layers kept in GPU memory, -1: all.", rich_help_panel=ENGINE),
]
FlashAttention = Annotated[
    Literal["auto", "on", "off"], typer.Option(help="llama.cpp's flash attention.", rich_help_panel=ENGINE)
]
CacheType = Annotated[str, typer.Option(help="Type of the KV cache: f16, q8_0, q4_0, ...", rich_help_panel=ENGINE)]


@dataclass(frozen=True)
class EngineOptions:
    """How an engine decodes on this machine: most of the panel `Engine`."""

    ctx: Ctx = 4096
    batch: Batch = 512
    threads: DecodingThreads = None
    gpu_layers: GpuLayers = -1
    flash_attention: FlashAttention = "auto"
    cache_type: CacheType = "f16"

    def settings(self, engine: str, placement: Placement) -> tuple[ContextSettings, ModelSettings]:
        """What they say, for this engine.

        Raises UsageError, EnvironmentProblem (llama-cpp-python does not work here).
        """
        from dataclasses import replace

        from gemma_mtp.native.engines import settings_for
        from gemma_mtp.native.placement import belonging
        from gemma_mtp.native.settings import ContextSettings, ModelSettings

        context = ContextSettings(
            self.ctx,
            self.batch,
            threads=self.threads,
            cache_k=self.cache_type,
            cache_v=self.cache_type,
            flash_attention=self.flash_attention,
            **belonging(placement, ContextSettings),
        )
        chosen = belonging(placement, ModelSettings)
        return context, replace(settings_for(engine), gpu_layers=self.gpu_layers, **chosen)


Command = Callable[..., None]
_MAKERS = "option_makers"


def adds_options(make: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator of commands that works when the command is `built`: a list of commands builds none."""

    @functools.wraps(make)
    def mark(command: Command) -> Command:
        setattr(command, _MAKERS, (*getattr(command, _MAKERS, ()), make))
        return command

    return mark


def built(command: Command) -> Command:
    """The command with all its options, as the parser wants it."""
    for make in getattr(command, _MAKERS, ()):
        command = make(command)
    return command


@adds_options
def takes_groups(command: Command) -> Command:
    """For a command with parameters that are dataclasses of options: each field is an option, in the parameter's place.

    The parameter gets the dataclass, made of those that were given and of its defaults.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: one.annotation for name, one in signature.parameters.items() if is_dataclass(one.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _options_of(groups[name]) if name in groups else [parameter]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = signature.replace(parameters=keyword)  # type: ignore[attr-defined]
    return run


def _options_of(group: Any) -> list[inspect.Parameter]:
    """Its fields; an option that names no panel of the help stands in the group's own, its `PANEL`."""
    kinds, panel = get_type_hints(group, include_extras=True), getattr(group, "PANEL", None)
    return [_keyword(field.name, _in_panel(kinds[field.name], panel), field.default) for field in fields(group)]


def _in_panel(annotation: Any, panel: str | None) -> Any:
    kind, option = get_args(annotation)
    own = copy(option)
    own.rich_help_panel = option.rich_help_panel or panel
    return Annotated[kind, own]


def _keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@adds_options
def takes_placement(command: Command) -> Command:
    """For a command with a parameter `placement`: llama.cpp's options of what goes where (`placement.OPTIONS`).

    The parameter gets the fields of those that were given.
    """
    signature = inspect.signature(command, eval_str=True)
    options = [
        _keyword(
            option.field,
            Annotated[_KINDS[option.kind], typer.Option(*option.names, help=option.help, rich_help_panel=PLACEMENT)],
        )
        for option in OPTIONS
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        found = {option.field: (option, given.pop(option.field)) for option in OPTIONS}
        chosen = {name: value for name, (_, value) in found.items() if value not in (None, [], False)}
        for name, value in chosen.items():
            if not isinstance(value, int):
                chosen[name] = found[name][0].read(",".join(value) if isinstance(value, list) else value)
        command(**given, placement=chosen)

    kept = [parameter for name, parameter in signature.parameters.items() if name != "placement"]
    run.__signature__ = signature.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
    return run


#: What a kind of `placement.Option` is for the parser.
_KINDS: dict[type, Any] = {
    int: int | None,
    str: str | None,
    float: str | None,
    list: list[str] | None,
    bool: bool | None,
}


#: Other names for the first two arguments, as in llama.cpp: the parameter, the option's spellings, its help.
PAIR = (
    ("model", ("--model", "-m"), "The target, as llama.cpp names it: instead of the first argument."),
    ("model_draft", ("--model-draft", "-md"), "The assistant likewise: instead of the second."),
)


@adds_options
def takes_pair(command: Command) -> Command:
    """For a command whose first two arguments are a target and an assistant: `-m TARGET -md ASSISTANT` names them too.

    So neither can be demanded by the parser; what the command needs is demanded here.
    """
    signature = inspect.signature(command, eval_str=True)
    arguments = list(signature.parameters.values())[: len(PAIR)]
    options = [
        _keyword(name, Annotated[get_args(argument.annotation)[0] | None, typer.Option(*spellings, help=help)])
        for argument, (name, spellings, help) in zip(arguments, PAIR, strict=True)
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        named = [given.pop(option.name) for option in options]
        listed = [place for argument in arguments if (place := given.pop(argument.name)) is not None]
        for argument, place in zip(arguments, named, strict=True):
            given[argument.name] = place if place is not None else listed.pop(0) if listed else None
            if given[argument.name] is None and argument.default is inspect.Parameter.empty:
                raise UsageError(f"the {argument.name} is missing", hint="name the target, then the assistant")
        if listed:
            raise UsageError(f"{listed[0]} is one too many", hint="name each model once")
        command(**given)

    kept = [parameter for parameter in signature.parameters.values() if parameter not in arguments]
    optional = [argument.replace(default=None) for argument in arguments]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*optional, *options, *kept)]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
