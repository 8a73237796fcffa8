"""`gemma-mtp run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gemma_mtp.cli.options import (
    ADAPTIVE,
    CHAT,
    ENGINE,
    FIXED,
    Batch,
    CacheType,
    Ctx,
    DecodingThreads,
    FlashAttention,
    GpuLayers,
    Json,
    Log,
    Think,
    Verbose,
    takes_pair,
)

#: Tokens to generate for -n -1: more than any context has room for.
UNENDING = (1 << 31) - 1

DRAFTING, SAMPLING = "Drafting", "Sampling"


@takes_pair
def run(
    target: Annotated[Path, typer.Argument(help="The target model, a GGUF file.")],
    assistant: Annotated[Path | None, typer.Argument(help="Its assistant. Not needed with --no-draft.")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The text to continue. Without it: --file, or standard input.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A file with the prompt (`-`: standard input), less a newline at its end."),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=-1, help="Tokens to generate at most. -1: until the model ends.")
    ] = 256,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this text. May be given several times.")
    ] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Never choose an end token.")] = False,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="The prompt is a message, in the model's own chat format; on a terminal without one: a conversation.",
            rich_help_panel=CHAT,
        ),
    ] = False,
    system: Annotated[str | None, typer.Option(help="What the model is told first.", rich_help_panel=CHAT)] = None,
    think: Think = False,
    draft: Annotated[
        Literal["fixed", "auto", "off"],
        typer.Option(
            help="fixed: always --draft-max. auto: what pays, measured on the way. off: the baseline.",
            rich_help_panel=DRAFTING,
        ),
    ] = "fixed",
    no_draft: Annotated[
        bool, typer.Option("--no-draft", help="The same as --draft off.", rich_help_panel=DRAFTING)
    ] = False,
    draft_max: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help=f"Tokens to draft in a round, at most. Default: what bench found, else {FIXED}; with auto {ADAPTIVE}.",
            rich_help_panel=DRAFTING,
        ),
    ] = None,
    draft_min: Annotated[int, typer.Option(min=0, help="Throw shorter drafts away.", rich_help_panel=DRAFTING)] = 0,
    p_min: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="End a draft where the drafter is less sure. Default: as --draft-max, else 0.",
            rich_help_panel=DRAFTING,
        ),
    ] = None,
    temp: Annotated[
        float,
        typer.Option(min=0, help="Temperature. 0: always the most probable token.", rich_help_panel=SAMPLING),
    ] = 0.0,
    top_k: Annotated[
        int, typer.Option(min=0, help="Draw from so many of the best tokens. 0: all.", rich_help_panel=SAMPLING)
    ] = 40,
    top_p: Annotated[
        float, typer.Option(help="Draw from the best with this probability together.", rich_help_panel=SAMPLING)
    ] = 0.95,
    min_p: Annotated[
        float, typer.Option(help="Draw from those with this share of the best one's.", rich_help_panel=SAMPLING)
    ] = 0.05,
    repeat_penalty: Annotated[
        float, typer.Option(help="Make tokens that were said less probable. 1: no.", rich_help_panel=SAMPLING)
    ] = 1.0,
    repeat_last_n: Annotated[
        int, typer.Option(help="How far back penalties look. -1: all the way.", rich_help_panel=SAMPLING)
    ] = 64,
    presence_penalty: Annotated[
        float, typer.Option(help="Taken from their logits once.", rich_help_panel=SAMPLING)
    ] = 0.0,
    frequency_penalty: Annotated[
        float, typer.Option(help="Taken from their logits for each time.", rich_help_panel=SAMPLING)
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", "-s", min=-1, help="-1: another one each time.", rich_help_panel=SAMPLING)
    ] = -1,
    sampling: Annotated[
        Literal["match", "reject"],
        typer.Option(
            help="match: drafting does not change a seed's text. reject: nor its distribution, and more is accepted.",
            rich_help_panel=SAMPLING,
        ),
    ] = "match",
    engine: Annotated[
        Literal["python", "cpp"],
        typer.Option(help="cpp: llama.cpp's own loop, in xllamacpp, to compare with.", rich_help_panel=ENGINE),
    ] = "python",
    ctx: Ctx = 4096,
    batch: Batch = 512,
    threads: DecodingThreads = None,
    gpu_layers: GpuLayers = -1,
    flash_attention: FlashAttention = "auto",
    cache_type: CacheType = "f16",
    verbose: Verbose = False,
    log: Log = None,
    json: Json = False,
) -> None:
    """Generate text with a target and its assistant, and say what drafting gained.

    The text goes to stdout, the statistics to stderr. Ctrl-C stops the text, and the statistics are told all the same.

    Examples:

        gemma-mtp run target.gguf mtp-target.gguf -p "def main():" -n 100 --draft-max 3

        gemma-mtp run target.gguf mtp-target.gguf --chat --temp 1 --top-k 64 --draft auto

        gemma-mtp run target.gguf --no-draft -f prompt.txt --json
    """
    import sys
    from dataclasses import replace

    from gemma_mtp.cli import run_output
    from gemma_mtp.cli.output import native_log, print_note
    from gemma_mtp.cli.run_input import ask, read_prompt
    from gemma_mtp.errors import UsageError
    from gemma_mtp.hub.source import check_local
    from gemma_mtp.mtp_runtime import session
    from gemma_mtp.mtp_runtime.memory import open_memory
    from gemma_mtp.native.backend import settings_for_this_machine
    from gemma_mtp.native.settings import ChatSettings, ContextSettings, ModelSettings, Sampling

    check_local(target, assistant)
    if no_draft:
        draft = "off"
    if assistant is None and draft != "off":
        raise UsageError("an assistant is missing", hint="name it after the target, or add --no-draft")
    if engine == "cpp" and draft == "auto":
        raise UsageError("the C++ engine does not adapt its drafts", hint="--draft fixed, or --engine python")
    if engine == "cpp" and chat:
        raise UsageError("--chat is for --engine python", hint="gemma-mtp serve chats with the C++ engine")
    if engine == "cpp" and sampling == "reject" and temp:
        raise UsageError("the C++ engine has no sampling mode reject", hint="--sampling match, or --engine python")
    if not chat and (system is not None or think):
        raise UsageError("--system and --think are for --chat")
    talk = chat and prompt is None and file is None and sys.stdin.isatty()
    if talk and json:
        raise UsageError("a conversation has no one result for --json", hint="give it one message with --prompt")
    context = ContextSettings(
        ctx, batch, threads=threads, cache_k=cache_type, cache_v=cache_type, flash_attention=flash_attention
    )
    # What works is asked of llama-cpp-python, which only this engine uses.
    model = replace(settings_for_this_machine() if engine == "python" else ModelSettings(), gpu_layers=gpu_layers)
    longest, least = draft_max or (ADAPTIVE if draft == "auto" else FIXED), p_min or 0.0
    if assistant is not None and draft != "off":
        memory = open_memory(target, assistant, context, model)
        asked = bool(draft_max or draft_min or p_min is not None)
        if draft == "auto" and memory and memory.experience(least):
            print_note("--draft auto goes on with what was learned of this pair on this machine")
        elif draft == "fixed" and not asked and memory and (winner := memory.winner(engine)):
            longest, least = winner.draft_max, winner.p_min
            print_note(
                f"drafting as gemma-mtp bench found best here: {winner}; --draft-max {FIXED} if you want another"
            )
    request = session.Request(
        target,
        assistant,
        None if talk else read_prompt(prompt, file),
        chat=ChatSettings(system, think) if chat else None,
        max_tokens=UNENDING if tokens == -1 else tokens,
        draft_max=0 if draft == "off" else longest,
        draft_min=draft_min,
        p_min=least,
        auto=draft == "auto",
        sampling=Sampling(
            temp,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
            repeat_last_n,
            presence_penalty,
            frequency_penalty,
            None if seed == -1 else seed,
            sampling,
        ),
        stop=tuple(stop or ()),
        ignore_end=ignore_eos,
        context=context,
        model=model,
        engine=engine,
    )
    if talk:
        with native_log(verbose, log):
            for answer in session.turns(request, run_output.print_text, ask):
                run_output.print_result(answer, asked=ctx)
        return
    with native_log(verbose, log):
        result = session.run(request, on_text=(lambda _: None) if json else run_output.print_text)
    run_output.print_result(result, json, ctx)
    if result.finish == "stopped":
        raise KeyboardInterrupt
