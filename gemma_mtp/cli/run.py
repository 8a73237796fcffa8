"""`gemma-mtp run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gemma_mtp.cli.options import (
    Assistant,
    Deep,
    Engine,
    EngineOptions,
    Json,
    Log,
    Placement,
    Target,
    Verbose,
    takes_groups,
    takes_pair,
    takes_placement,
)
from gemma_mtp.cli.run_options import DraftingOptions, SamplingOptions, TextOptions

if TYPE_CHECKING:
    from pathlib import Path

    from gemma_mtp.mtp_runtime.session import Request
    from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings
    from gemma_mtp.sources.pairs import PairFiles


@takes_pair
@takes_placement
@takes_groups
def run(
    target: Target,
    assistant: Assistant = None,
    *,
    text: TextOptions,
    draft: DraftingOptions,
    sample: SamplingOptions,
    engine: Engine = None,
    decode: EngineOptions,
    placement: Placement,
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
    from gemma_mtp.cli.chosen import choose_engine, pair_of
    from gemma_mtp.cli.run_input import read_prompt
    from gemma_mtp.mtp_runtime.session import Request

    loop = needed_loop(engine, draft, sample)
    chat, talk = text.conversation(), is_talk(text, json)
    chosen = choose_engine(engine, loop=loop)
    prompt = None if talk else read_prompt(text.prompt, text.file)
    context, model = decode.settings(chosen, placement)
    pair = pair_of(target, assistant, drafting=draft.way != "off", deep=deep)
    request = Request(
        pair.target,
        pair.assistant,
        prompt,
        chat=chat,
        max_tokens=text.most,
        drafting=drafting_of(pair, draft, context, model, chosen),
        sampling=sample.settings(),
        stop=tuple(text.stop or ()),
        ignore_end=text.ignore_eos,
        context=context,
        model=model,
        engine=chosen,
    )
    answer(request, talk, verbose, log, json)


def needed_loop(engine: str | None, draft: DraftingOptions, sample: SamplingOptions) -> str | None:
    """The option that llama.cpp's own engine lacks, if one is given. Raises UsageError: it shall have it."""
    from gemma_mtp.errors import UsageError

    rejecting = sample.sampling == "reject" and sample.temp
    if engine == "cpp" and draft.way == "auto":
        raise UsageError("the C++ engine does not adapt its drafts", hint="--draft fixed, or --engine python")
    if engine == "cpp" and rejecting:
        raise UsageError("the C++ engine has no sampling mode reject", hint="--sampling match, or --engine python")
    return "--draft auto" if draft.way == "auto" else "--sampling reject" if rejecting else None


def is_talk(text: TextOptions, json: bool) -> bool:
    """Whether it is a conversation on a terminal. Raises UsageError: with --json."""
    from gemma_mtp.errors import UsageError

    talk = text.chat and text.prompt is None and text.file is None and sys.stdin.isatty()
    if talk and json:
        raise UsageError("a conversation has no one result for --json", hint="give it one message with --prompt")
    return talk


def drafting_of(
    pair: PairFiles, draft: DraftingOptions, context: ContextSettings, model: ModelSettings, engine: str
) -> Drafting:
    """How much is drafted: as the command line says, else as is known of this pair on this machine."""
    from gemma_mtp.cli.chosen import as_bench_found
    from gemma_mtp.cli.output import print_note
    from gemma_mtp.mtp_runtime.memory import open_memory
    from gemma_mtp.native.settings import NO_DRAFTS

    if pair.assistant is None:
        return NO_DRAFTS
    drafting, memory = draft.settings(), open_memory(pair.target, pair.assistant, context, model)
    if drafting.auto and memory and memory.experience(drafting.p_min):
        print_note("--draft auto goes on with what was learned of this pair on this machine")
    return drafting if draft.said else as_bench_found(drafting, memory, engine)


def answer(request: Request, talk: bool, verbose: bool, log: Path | None, json: bool) -> None:
    """Generate, and show what comes. Raises KeyboardInterrupt: it was stopped, after what there is was told."""
    from gemma_mtp.cli import run_output
    from gemma_mtp.cli.output import native_log
    from gemma_mtp.cli.run_input import ask
    from gemma_mtp.mtp_runtime import session

    size = request.context.size
    if talk:
        with native_log(verbose, log):
            for result in session.turns(request, run_output.print_text, ask):
                run_output.print_result(result, asked=size)
        return
    with native_log(verbose, log):
        result = session.run(request, on_text=(lambda _: None) if json else run_output.print_text)
    run_output.print_result(result, json, size)
    if result.finish == "stopped":
        raise KeyboardInterrupt
