"""`gemma-mtp serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemma_mtp.cli.options import (
    CHAT,
    ENGINE,
    FIXED,
    Assistant,
    Batch,
    CacheType,
    Ctx,
    Deep,
    FlashAttention,
    GpuLayers,
    Log,
    Placement,
    Target,
    Think,
    Threads,
    Verbose,
    engine_settings,
    takes_pair,
    takes_placement,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gemma_mtp.native.settings import ContextSettings
    from gemma_mtp.serve.program import Program
    from gemma_mtp.serve.server import Counters, RunningServer
    from gemma_mtp.validate.host import Host

#: What the start says about logprobs, by `RunningServer.logprobs`.
LOGPROBS = {
    "right": "nothing is drafted, logprobs are those of every token",
    "copy": "llama.cpp has no logprobs for drafted tokens: the first request for them loads the target once more, "
    "without drafting (--logprobs refuse: none is loaded)",
    "refuse": "llama.cpp has no logprobs for drafted tokens: requests for them are refused (--no-draft gives them)",
}

IMAGES = (
    "images are read through the projector alone, and answers about them are drafted like others (llama.cpp b11549)"
)


@takes_pair
@takes_placement
def serve(
    target: Target,
    assistant: Assistant = None,
    host: Annotated[str, typer.Option(help="The address to listen at. 0.0.0.0: from everywhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port, 0: any free one.")] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option(envvar="GEMMA_MTP_API_KEY", help="A key that clients must send. May be given several times."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name for clients. Default: the file's.")] = None,
    no_draft: Annotated[bool, typer.Option("--no-draft", help="Draft nothing: the baseline.")] = False,
    draft_max: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help=f"Tokens to draft in a round, at most. Default: what bench found best, else {FIXED}."
        ),
    ] = None,
    draft_min: Annotated[int, typer.Option(min=0, help="Throw shorter drafts away.")] = 0,
    p_min: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="End a draft where the drafter is less sure. Default: as --draft-max, else 0."),
    ] = None,
    logprobs: Annotated[
        Literal["auto", "copy", "refuse"],
        typer.Option(
            help="llama.cpp has none for drafted tokens. copy: a second server without drafting answers requests for "
            "them. refuse: status 400. auto: copy, or refuse where a GPU holds the weights."
        ),
    ] = "auto",
    think: Think = False,
    reasoning: Annotated[
        Literal["on", "off"] | None,
        typer.Option(help="llama-server's words for --think and --no-think.", rich_help_panel=CHAT),
    ] = None,
    chat_template_file: Annotated[
        Path | None,
        typer.Option(help="A chat template (Jinja) in the place of the target's own.", rich_help_panel=CHAT),
    ] = None,
    mmproj: Annotated[
        Path | None, typer.Option(help="The target's projector of images (mmproj-....gguf): it sees them then.")
    ] = None,
    engine: Annotated[
        Literal["cpp", "server"],
        typer.Option(
            help="cpp: llama.cpp's server in xllamacpp. server: a llama-server of your own, with its GPU.",
            rich_help_panel=ENGINE,
        ),
    ] = "cpp",
    llama_server: Annotated[
        Path | None,
        typer.Option(
            help="That program; --engine server without it takes the one on the PATH.", rich_help_panel=ENGINE
        ),
    ] = None,
    parallel: Annotated[
        int, typer.Option("--parallel", "-np", min=1, help="Requests answered at once, each with a context of its own.")
    ] = 1,
    cache_ram: Annotated[
        int,
        typer.Option(
            min=-1,
            help="MiB of memory for prompts of conversations that wait. 0: none. -1: no limit.",
            rich_help_panel=ENGINE,
        ),
    ] = 8192,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that requests under way have to finish when it is stopped.")
    ] = 8.0,
    ctx: Ctx = 4096,
    batch: Batch = 512,
    threads: Threads = None,
    gpu_layers: GpuLayers = -1,
    flash_attention: FlashAttention = "auto",
    cache_type: CacheType = "f16",
    placement: Placement | None = None,
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
    from gemma_mtp.cli.drafting import as_bench_found
    from gemma_mtp.cli.output import native_log, print_note, print_warning
    from gemma_mtp.cli.pair import pair_of
    from gemma_mtp.errors import UsageError
    from gemma_mtp.mtp_runtime.memory import open_memory
    from gemma_mtp.native.cpp import Listening, Loading, package_version
    from gemma_mtp.native.settings import Drafting
    from gemma_mtp.serve.program import find_program
    from gemma_mtp.serve.server import bound, running_server
    from gemma_mtp.serve.stopping import Stop, stop_signals
    from gemma_mtp.serve.template import read_template
    from gemma_mtp.sources.pairing import check_projector

    context, model = engine_settings(
        "cpp",
        ctx=ctx,
        batch=batch,
        threads=threads,
        gpu_layers=gpu_layers,
        flash_attention=flash_attention,
        cache_type=cache_type,
        placement=placement,
    )
    template = None if chat_template_file is None else read_template(chat_template_file)
    keys = tuple(api_key or ())
    if not all(keys):
        raise UsageError("an API key is empty", hint="leave --api-key out to ask for none")
    program = find_program(llama_server) if llama_server or engine == "server" else None
    if program is None:
        package_version()
    bound(host, port).close()
    pair = pair_of(target, assistant, drafting=not no_draft, deep=deep)
    drafter = pair.assistant
    if mmproj:
        check_projector(pair.target, mmproj)
    host_now = runtime(program, chat_template_file, mmproj)
    verdict = checked(pair.target, drafter, context, parallel, host_now) if drafter else "It drafts nothing."
    if not keys and host not in ("127.0.0.1", "::1", "localhost"):
        print_warning(f"everyone who reaches {host} may use this server: give it an --api-key")
    drafting = Drafting(draft_max or FIXED, draft_min, p_min or 0.0)
    if drafter and not (draft_max or draft_min or p_min is not None):
        drafting = as_bench_found(drafting, open_memory(pair.target, drafter, context, model), "cpp", "python")
    loading = Loading(pair.target, drafter, drafting, context, model, parallel, cache_ram, mmproj)
    listening = Listening(
        host,
        port,
        keys,
        name or pair.target.stem,
        metrics=True,
        thinking=think if reasoning is None else reasoning == "on",
        chat_template=template,
    )
    try:
        with (
            native_log(verbose, log),
            stop_signals() as farewell,
            running_server(loading, listening, logprobs=logprobs, program=program) as server,
        ):
            farewell.say = lambda: end(server, grace, lambda: farewell.hurried)
            typer.echo(server.address)
            print_note(f"{verdict} It is served at {server.address}/v1 as {listening.model_name}")
            print_note(LOGPROBS[server.logprobs])
            if mmproj:
                print_note(IMAGES)
            if program:
                print_note(f"the server is {program.path}{f', b{program.build}' if program.build else ''}")
            server.wait()
    except Stop:
        print_note("stopped")


def runtime(program: Program | None, template: Path | None, mmproj: Path | None) -> Host:
    """What the pair is verified for: this server, with what it is told."""
    from gemma_mtp.validate.host import LLAMA, Host

    told = {"--chat-template-file": template, "--mmproj": mmproj}
    settings = {name: str(value) for name, value in told.items() if value is not None}
    return Host(LLAMA, program.build if program else None, settings=settings)


def checked(target: Path, assistant: Path, context: ContextSettings, parallel: int, host: Host) -> str:
    """The verdict on a pair, its warnings told. Prints the report and ends the program if it is no pair."""
    from dataclasses import replace

    from gemma_mtp.cli.output import print_warning
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.validate import verify_pair

    report = verify_pair(target, assistant, host=host, context=replace(context, size=context.size * parallel))
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
