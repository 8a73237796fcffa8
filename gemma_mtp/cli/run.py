"""`gemma-mtp run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gemma_mtp.cli.options import (
    ADAPTIVE,
    CHAT,
    FIXED,
    Assistant,
    Batch,
    CacheType,
    Ctx,
    DecodingThreads,
    Deep,
    Engine,
    FlashAttention,
    GpuLayers,
    Json,
    Log,
    Placement,
    Target,
    Think,
    Verbose,
    engine_settings,
    takes_pair,
    takes_placement,
)

#: Tokens to generate for -n -1: more than any context has room for.
UNENDING = (1 << 31) - 1

DRAFTING, SAMPLING = "Drafting", "Sampling"


@takes_pair
@takes_placement
def run(
    target: Target,
    assistant: Assistant = None,
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
    engine: Engine = None,
    ctx: Ctx = 4096,
    batch: Batch = 512,
    threads: DecodingThreads = None,
    gpu_layers: GpuLayers = -1,
    flash_attention: FlashAttention = "auto",
    cache_type: CacheType = "f16",
    placement: Placement | None = None,
    deep: Deep = False,
    verbose: Verbose = False,
    log: Log = None,
    json: Json = False,
) -> None:
    """Generate text with a target and its assistant, and say what drafting gained.

    The text goes to stdout, the statistics to stderr. Ctrl-C stops the text, and the statistics are told all the same.

    Examples:

        gemma-mtp run ggml-org/gemma-4-26B-A4B-it-GGUF:Q4_K_M --chat

        gemma-mtp run target.gguf mtp-target.gguf -p "def main():" -n 100 --draft-max 3

        gemma-mtp run target.gguf mtp-target.gguf --chat --temp 1 --top-k 64 --draft auto

        gemma-mtp run target.gguf --no-draft -f prompt.txt --json
    """
    import sys

    from gemma_mtp.cli import run_output
    from gemma_mtp.cli.drafting import as_bench_found
    from gemma_mtp.cli.engines import choose_engine
    from gemma_mtp.cli.output import native_log, print_note
    from gemma_mtp.cli.pair import pair_of
    from gemma_mtp.cli.run_input import ask, read_prompt
    from gemma_mtp.errors import UsageError
    from gemma_mtp.files.text import typed
    from gemma_mtp.mtp_runtime import session
    from gemma_mtp.mtp_runtime.memory import open_memory
    from gemma_mtp.native.settings import NO_DRAFTS, ChatSettings, Drafting, Sampling

    if no_draft:
        draft = "off"
    if engine == "cpp" and draft == "auto":
        raise UsageError("the C++ engine does not adapt its drafts", hint="--draft fixed, or --engine python")
    if engine == "cpp" and sampling == "reject" and temp:
        raise UsageError("the C++ engine has no sampling mode reject", hint="--sampling match, or --engine python")
    if not chat and (system is not None or think):
        raise UsageError("--system and --think are for --chat")
    talk = chat and prompt is None and file is None and sys.stdin.isatty()
    if talk and json:
        raise UsageError("a conversation has no one result for --json", hint="give it one message with --prompt")
    loop = "--draft auto" if draft == "auto" else "--sampling reject" if sampling == "reject" and temp else None
    chosen = choose_engine(engine, loop=loop)
    text = None if talk else read_prompt(prompt, file)
    context, model = engine_settings(
        chosen,
        ctx=ctx,
        batch=batch,
        threads=threads,
        gpu_layers=gpu_layers,
        flash_attention=flash_attention,
        cache_type=cache_type,
        placement=placement,
    )
    pair = pair_of(target, assistant, drafting=draft != "off", deep=deep)
    drafting = NO_DRAFTS
    if pair.assistant is not None:
        usual = ADAPTIVE if draft == "auto" else FIXED
        drafting = Drafting(draft_max or usual, draft_min, p_min or 0.0, draft == "auto")
        memory = open_memory(pair.target, pair.assistant, context, model)
        if drafting.auto and memory and memory.experience(drafting.p_min):
            print_note("--draft auto goes on with what was learned of this pair on this machine")
        elif not (drafting.auto or draft_max or draft_min or p_min is not None):
            drafting = as_bench_found(drafting, memory, chosen)
    request = session.Request(
        pair.target,
        pair.assistant,
        text,
        chat=ChatSettings(None if system is None else typed(system), think) if chat else None,
        max_tokens=UNENDING if tokens == -1 else tokens,
        drafting=drafting,
        sampling=Sampling(
            temperature=temp,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            repeat_last_n=repeat_last_n,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            seed=None if seed == -1 else seed,
            mode=sampling,
        ),
        stop=tuple(stop or ()),
        ignore_end=ignore_eos,
        context=context,
        model=model,
        engine=chosen,
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
