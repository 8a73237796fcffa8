"""`gemma-mtp serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import FIXED, Batch, CacheType, Ctx, FlashAttention, GpuLayers, Threads

if TYPE_CHECKING:
    from gemma_mtp.serve.server import Counters


def serve(
    target: Annotated[Path, typer.Argument(help="The target model, a GGUF file.")],
    assistant: Annotated[Path, typer.Argument(help="Its assistant.")],
    host: Annotated[str, typer.Option(help="The address to listen at. 0.0.0.0: from everywhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port, 0: any free one.")] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option(envvar="GEMMA_MTP_API_KEY", help="A key that clients must send. May be given several times."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name for clients. Default: the file's.")] = None,
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
    ctx: Ctx = 4096,
    batch: Batch = 512,
    threads: Threads = None,
    gpu_layers: GpuLayers = -1,
    flash_attention: FlashAttention = "auto",
    cache_type: CacheType = "f16",
) -> None:
    """Serve a pair to OpenAI's clients: chat completions, completions, streaming; with drafting.

    It is llama.cpp's own server, in xllamacpp (extra `serve`). The pair is verified first. Ctrl-C or SIGTERM ends it.
    Every answer tells in `timings` how many tokens were drafted and accepted; /metrics counts them.

    Examples:

    - `gemma-mtp serve target.gguf mtp-target.gguf`

    - `GEMMA_MTP_API_KEY=secret gemma-mtp serve target.gguf mtp-target.gguf --host 0.0.0.0 --draft-max 4`
    """
    from gemma_mtp.cli.output import print_note, print_warning
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.errors import UsageError
    from gemma_mtp.mtp_runtime.cpp import Listening, Loading, package_version
    from gemma_mtp.mtp_runtime.memory import open_memory
    from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings
    from gemma_mtp.serve.server import check_port, running_server
    from gemma_mtp.serve.stopping import Stop, stop_signals
    from gemma_mtp.validate import verify_pair

    context = ContextSettings(
        ctx, batch, threads=threads, cache_k=cache_type, cache_v=cache_type, flash_attention=flash_attention
    )
    keys = tuple(api_key or ())
    if not all(keys):
        raise UsageError("an API key is empty", hint="leave --api-key out to ask for none")
    package_version()
    check_port(host, port)
    report = verify_pair(target, assistant, context=context)
    if not report.ok:
        print_report(report)
        raise typer.Exit(1)
    for result in report.warnings:
        print_warning(f"{result.title}: {result.finding.message}")
    if not keys and host not in ("127.0.0.1", "::1", "localhost"):
        print_warning(f"everyone who reaches {host} may use this server: give it an --api-key")
    model, longest, least = ModelSettings(gpu_layers=gpu_layers), draft_max or FIXED, p_min or 0.0
    memory = open_memory(target, assistant, context, model)
    winner = memory and (memory.winner("cpp") or memory.winner("python"))
    if winner and not (draft_max or draft_min or p_min is not None):
        longest, least = winner.draft_max, winner.p_min
        print_note(f"drafting as gemma-mtp bench found best here: {winner}; --draft-max {FIXED} if you want another")
    loading = Loading(target, assistant, longest, draft_min, least, context, model)
    listening = Listening(host, port, keys, name or target.stem, metrics=True)
    try:
        with stop_signals() as farewell, running_server(loading, listening) as server:
            farewell.say = lambda: print_note(told(server.counters()))
            typer.echo(server.address)
            print_note(f"{report.verdict} It is served at {server.address}/v1 as {listening.model_name}")
            server.wait()
    except Stop:
        print_note("stopped")


def told(done: Counters | None) -> str:
    """What a server has done, in a line."""
    if done is None:
        return "the server does not answer"
    rate = f", {done.tokens / done.seconds:.1f} tokens/s" if done.seconds else ""
    accepted = f" ({done.accepted / done.drafted:.1%})" if done.drafted else ""
    return (
        f"{done.tokens:.0f} tokens generated{rate}; {done.drafted:.0f} drafted, {done.accepted:.0f} accepted{accepted}"
    )
