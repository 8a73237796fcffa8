"""`gemma-mtp serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemma_mtp.cli.options import (
    CHAT,
    ENGINE,
    FIXED,
    Assistant,
    Deep,
    EngineOptions,
    Log,
    Placement,
    Target,
    Think,
    Threads,
    Verbose,
    takes_groups,
    takes_pair,
    takes_placement,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gemma_mtp.native.cpp import Listening, Loading
    from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings
    from gemma_mtp.serve.program import Program
    from gemma_mtp.serve.server import Counters, RunningServer
    from gemma_mtp.sources.pairs import PairFiles
    from gemma_mtp.validate.host import Host

#: What the start says about logprobs, by `RunningServer.logprobs`.
LOGPROBS = {
    "right": "nothing is drafted, logprobs are those of every token",
    "copy": "llama.cpp has no logprobs for drafted tokens: the first request for them loads the target once more, "
    "without drafting (--logprobs refuse: none is loaded)",
    "refuse": "llama.cpp has no logprobs for drafted tokens: requests for them are refused (--no-draft gives them)",
}
#: Addresses that this machine alone reaches.
HERE = ("127.0.0.1", "::1", "localhost")

IMAGES = (
    "images are read through the projector alone, and answers about them are drafted like others (llama.cpp b11549)"
)


@dataclass(frozen=True)
class ListeningOptions:
    """Where it listens, and to whom."""

    host: Annotated[str, typer.Option(help="The address to listen at. 0.0.0.0: from everywhere.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port, 0: any free one.")] = 8080
    api_key: Annotated[
        list[str] | None,
        typer.Option(envvar="GEMMA_MTP_API_KEY", help="A key that clients must send. May be given several times."),
    ] = None
    name: Annotated[str | None, typer.Option(help="The model's name for clients. Default: the file's.")] = None

    def keys(self) -> tuple[str, ...]:
        """Raises UsageError: an empty one."""
        from gemma_mtp.errors import UsageError

        keys = tuple(self.api_key or ())
        if not all(keys):
            raise UsageError("an API key is empty", hint="leave --api-key out to ask for none")
        return keys


@dataclass(frozen=True)
class DraftingOptions:
    """How much is drafted: one length for the server's whole life."""

    no_draft: Annotated[bool, typer.Option("--no-draft", help="Draft nothing: the baseline.")] = False
    draft_max: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help=f"Tokens to draft in a round, at most. Default: what bench found best, else {FIXED}."
        ),
    ] = None
    draft_min: Annotated[int, typer.Option(min=0, help="Throw shorter drafts away.")] = 0
    p_min: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="End a draft where the drafter is less sure. Default: as --draft-max, else 0."),
    ] = None

    def settings(self, pair: PairFiles, context: ContextSettings, model: ModelSettings) -> Drafting:
        """As the command line says, else as bench found best of this pair on this machine."""
        from gemma_mtp.cli.chosen import as_bench_found
        from gemma_mtp.mtp_runtime.memory import open_memory
        from gemma_mtp.native.settings import Drafting

        drafting = Drafting(self.draft_max or FIXED, self.draft_min, self.p_min or 0.0)
        if pair.assistant is None or self.draft_max or self.draft_min or self.p_min is not None:
            return drafting
        return as_bench_found(drafting, open_memory(pair.target, pair.assistant, context, model), "cpp", "python")


@dataclass(frozen=True)
class AnsweringOptions:
    """How requests are answered."""

    logprobs: Annotated[
        Literal["auto", "copy", "refuse"],
        typer.Option(
            help="llama.cpp has none for drafted tokens. copy: a second server without drafting answers requests for "
            "them. refuse: status 400. auto: copy, or refuse where a GPU holds the weights."
        ),
    ] = "auto"
    think: Think = False
    reasoning: Annotated[
        Literal["on", "off"] | None,
        typer.Option(help="llama-server's words for --think and --no-think.", rich_help_panel=CHAT),
    ] = None
    chat_template_file: Annotated[
        Path | None,
        typer.Option(help="A chat template (Jinja) in the place of the target's own.", rich_help_panel=CHAT),
    ] = None
    mmproj: Annotated[
        Path | None, typer.Option(help="The target's projector of images (mmproj-....gguf): it sees them then.")
    ] = None
    parallel: Annotated[
        int, typer.Option("--parallel", "-np", min=1, help="Requests answered at once, each with a context of its own.")
    ] = 1
    cache_ram: Annotated[
        int,
        typer.Option(
            min=-1,
            help="MiB of memory for prompts of conversations that wait. 0: none. -1: no limit.",
            rich_help_panel=ENGINE,
        ),
    ] = 8192
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that requests under way have to finish when it is stopped.")
    ] = 8.0

    @property
    def thinking(self) -> bool:
        return self.think if self.reasoning is None else self.reasoning == "on"


@dataclass(frozen=True)
class ServerEngineOptions(EngineOptions):
    """A server's threads are all cores: it has the machine to itself."""

    threads: Threads = None
    engine: Annotated[
        Literal["cpp", "server"],
        typer.Option(
            help="cpp: llama.cpp's server in xllamacpp. server: a llama-server of your own, with its GPU.",
            rich_help_panel=ENGINE,
        ),
    ] = "cpp"
    llama_server: Annotated[
        Path | None,
        typer.Option(
            help="That program; --engine server without it takes the one on the PATH.", rich_help_panel=ENGINE
        ),
    ] = None

    def program(self) -> Program | None:
        """None: xllamacpp's server. Raises UsageError, EnvironmentProblem."""
        from gemma_mtp.serve.program import find_program

        return find_program(self.llama_server) if self.llama_server or self.engine == "server" else None


@takes_pair
@takes_placement
@takes_groups
def serve(
    target: Target,
    assistant: Assistant = None,
    *,
    listen: ListeningOptions,
    draft: DraftingOptions,
    answer: AnsweringOptions,
    decode: ServerEngineOptions,
    placement: Placement,
    deep: Deep = False,
    verbose: Verbose = False,
    log: Log = None,
) -> None:
    """Serve a pair to OpenAI's clients: chat completions, completions, streaming; with drafting.

    It is llama.cpp's own server, in xllamacpp (extra `serve`), or a llama-server of yours. The pair is verified first.
    Ctrl-C or SIGTERM ends it, once what is under way has finished; a second one ends it at once.
    Every answer tells in `timings` how many tokens were drafted and accepted; /metrics counts them.

    Examples:

    - `gemma-mtp serve target.gguf mtp-target.gguf`

    - `gemma-mtp serve ggml-org/gemma-4-26B-A4B-it-GGUF:Q4_K_M`

    - `gemma-mtp serve target.gguf mtp-target.gguf --llama-server ~/llama.cpp/build/bin/llama-server`

    - `GEMMA_MTP_API_KEY=secret gemma-mtp serve target.gguf mtp-target.gguf --host 0.0.0.0 --draft-max 4`
    """
    from gemma_mtp.cli.chosen import pair_of
    from gemma_mtp.cli.output import print_warning
    from gemma_mtp.mtp_runtime.conversation import read_template
    from gemma_mtp.native.cpp import Listening, Loading, package_version
    from gemma_mtp.serve.server import bound
    from gemma_mtp.sources.pairing import check_projector

    context, model = decode.settings("cpp", placement)
    template = None if answer.chat_template_file is None else read_template(answer.chat_template_file)
    keys, program = listen.keys(), decode.program()
    if program is None:
        package_version()
    bound(listen.host, listen.port).close()
    pair = pair_of(target, assistant, drafting=not draft.no_draft, deep=deep)
    if answer.mmproj:
        check_projector(pair.target, answer.mmproj)
    verdict = checked(pair, context, answer, program) if pair.assistant else "It drafts nothing."
    if not keys and listen.host not in HERE:
        print_warning(f"everyone who reaches {listen.host} may use this server: give it an --api-key")
    drafting, name = draft.settings(pair, context, model), listen.name or pair.target.stem
    places, idle = answer.parallel, answer.cache_ram
    serve_until_stopped(
        Loading(pair.target, pair.assistant, drafting, context, model, places, idle, answer.mmproj),
        Listening(listen.host, listen.port, keys, name, True, thinking=answer.thinking, chat_template=template),
        answer,
        program,
        verdict,
        verbose,
        log,
    )


def serve_until_stopped(
    loading: Loading,
    listening: Listening,
    answer: AnsweringOptions,
    program: Program | None,
    verdict: str,
    verbose: bool,
    log: Path | None,
) -> None:
    """Serve, and say where. Ends when a signal asks for it. verdict: what `verify` says of the pair."""
    from gemma_mtp.cli.output import native_log, print_note
    from gemma_mtp.serve.server import running_server
    from gemma_mtp.serve.stopping import Stop, stop_signals

    try:
        with (
            native_log(verbose, log),
            stop_signals() as farewell,
            running_server(loading, listening, logprobs=answer.logprobs, program=program) as server,
        ):
            farewell.say = lambda: end(server, answer.grace, lambda: farewell.hurried)
            typer.echo(server.address)
            print_note(f"{verdict} It is served at {server.address}/v1 as {listening.model_name}")
            print_note(LOGPROBS[server.logprobs])
            if loading.mmproj:
                print_note(IMAGES)
            if program:
                print_note(f"the server is {program.path}{f', b{program.build}' if program.build else ''}")
            server.wait()
    except Stop:
        print_note("stopped")


def runtime(program: Program | None, answer: AnsweringOptions) -> Host:
    """What the pair is verified for: this server, with what it is told."""
    from gemma_mtp.validate.host import LLAMA, Host

    told = {"--chat-template-file": answer.chat_template_file, "--mmproj": answer.mmproj}
    settings = {name: str(value) for name, value in told.items() if value is not None}
    return Host(LLAMA, program.build if program else None, settings=settings)


def checked(pair: PairFiles, context: ContextSettings, answer: AnsweringOptions, program: Program | None) -> str:
    """The verdict on a pair, its warnings told. Prints the report and ends the program if it is no pair."""
    from dataclasses import replace

    from gemma_mtp.cli.output import print_warning
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.validate import verify_pair

    assert pair.assistant
    size = context.size * answer.parallel
    report = verify_pair(
        pair.target, pair.assistant, host=runtime(program, answer), context=replace(context, size=size)
    )
    if not report.ok:
        print_report(report)
        raise typer.Exit(1)
    for result in report.warnings:
        print_warning(f"{result.title}: {result.finding.message}")
    return report.verdict


def end(server: RunningServer, grace: float, hurried: Callable[[], bool]) -> None:
    """Let the server finish what is under way, and tell what it has done."""
    from gemma_mtp.cli.output import print_note

    if server.under_way:
        print_note(f"finishing {server.under_way} requests, for {grace:g} s at most (Ctrl-C again: at once)")
    cut = server.drain(grace, hurried)
    print_note(told(server.counters()))
    if cut:
        print_note(f"{cut} requests were cut off")


def told(done: Counters | None) -> str:
    """What a server has done, in a line."""
    if done is None:
        return "the server does not answer"
    rate = f", {done.tokens / done.seconds:.1f} tokens/s" if done.seconds else ""
    accepted = f" ({done.accepted / done.drafted:.1%})" if done.drafted else ""
    return (
        f"{done.tokens:.0f} tokens generated{rate}; {done.drafted:.0f} drafted, {done.accepted:.0f} accepted{accepted}"
    )
