"""`gemma-mtp verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_mtp.cli.options import DecodingThreads, Engine, Json, Log, Verbose, takes_pair

if TYPE_CHECKING:
    from gemma_mtp.validate.run import RunOptions


@takes_pair
def verify(
    target: Annotated[
        str | None, typer.Argument(help="The target: a GGUF, a checkpoint's folder, or a place on the Hub.")
    ] = None,
    assistant: Annotated[
        str | None, typer.Argument(help="Its assistant, likewise. Without it the first is checked alone.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Instead of files: the address of a server that runs now. Does it draft?")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="GEMMA_MTP_API_KEY", show_envvar=True, help="The key that the server wants.")
    ] = None,
    server_model: Annotated[str | None, typer.Option(help="Which model of a server that has several.")] = None,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Show every check, not only what is not ok.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every weight instead of a sample.")] = False,
    hub: Annotated[
        list[str] | None,
        typer.Option(help="A repo (or hf://owner/repo/file) that a file came from: compare its hash. May be repeated."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Of one GGUF: what it was made of, a checkpoint or a 16-bit GGUF, here or on the Hub. Each tensor is "
            "made anew from it and compared.",
        ),
    ] = None,
    imatrix: Annotated[
        str | None, typer.Option(help="With --from: the importance matrix that the file was made with.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="What it is meant for: llama.cpp@b10743, ik_llama.cpp@2026-08-01, ollama ...")
    ] = None,
    settings: Annotated[str | None, typer.Option(help="How that is started, e.g. '-sm tensor -np 2'.")] = None,
    gpu: Annotated[str | None, typer.Option(help="The GPU's name there, e.g. 'GTX 1060'.")] = None,
    ctx: Annotated[
        int | None,
        typer.Option(
            "--ctx", "-c", min=1, help="Tokens to estimate the memory for. Default: what --settings says, or 4096."
        ),
    ] = None,
    cache_type: Annotated[
        str | None,
        typer.Option(help="Type of the KV cache: f16, q8_0, q4_0, ... Default: what --settings says, or f16."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Decode with the pair too, in a child process.")] = False,
    reference: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="TARGET ASSISTANT",
            help="Compare drafts with transformers on the original checkpoints, folders or repos. Needs the extra "
            "`reference`.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="To decode: a file of prompts, with a line of --- between two.")
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=2, help="To decode: tokens for each prompt.")] = 96,
    draft_max: Annotated[int, typer.Option(min=1, max=64, help="To decode: tokens to draft in a round.")] = 3,
    timeout: Annotated[int, typer.Option(min=1, help="To decode: seconds for loading and for each prompt.")] = 300,
    memory_limit: Annotated[
        float | None, typer.Option(min=0.1, help="To decode: address space of the child process, in GB.")
    ] = None,
    engine: Engine = None,
    threads: DecodingThreads = None,
    verbose: Verbose = False,
    log: Log = None,
) -> None:
    """Tell whether a target and an assistant will work together, and if not, why exactly and what to do.

    Exit code 0: they will. 1: they won't, or a file is damaged. Of files on the Hub only the headers are read. One
    file alone, a target or an assistant, is put to the checks that need no other.

    - `gemma-mtp verify gemma-4-26B-A4B-it-Q4_0.gguf mtp-gemma-4-26B-A4B-it-Q8_0.gguf`
    - `gemma-mtp verify hf://owner/repo/target-Q4_0.gguf owner/assistant-GGUF:Q8_0`
    - `gemma-mtp verify mtp-gemma-4-26B-A4B-it-Q8_0.gguf`
    - `gemma-mtp verify mtp-gemma-4-26B-A4B-it-Q8_0.gguf --from google/gemma-4-26B-A4B-it-assistant`
    - `gemma-mtp verify TARGET.gguf ASSISTANT.gguf --run`
    - `gemma-mtp verify T.gguf A.gguf --reference google/gemma-4-E2B-it google/gemma-4-E2B-it-assistant`
    - `gemma-mtp verify TARGET.gguf ASSISTANT.gguf --runtime llama.cpp@b10743 --settings "-sm tensor -np 2"`
    - `gemma-mtp verify --server http://127.0.0.1:8080`
    """
    from dataclasses import replace

    from gemma_mtp.errors import UsageError

    if server is not None:
        from gemma_mtp.cli.server_table import tell_server

        tell_server(server, api_key, server_model, files=(target, assistant), json=json)
    if target is None:
        raise UsageError("no file is named", hint="name the target, then the assistant; or one file alone")

    from gemma_mtp.cli.engines import choose_engine
    from gemma_mtp.cli.output import native_log, print_json, progress_bar
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.validate import context_for, parse_host, verify_file, verify_pair
    from gemma_mtp.validate.host import model_for

    host = parse_host(runtime, settings, gpu)
    context = replace(context_for(host, ctx, cache_type), threads=threads)
    asked: Any = {"deep": deep, "strict": strict, "host": host, "hub": hub or (), "progress": progress_bar}
    if assistant is None:
        if run or reference:
            raise UsageError("one file alone cannot draft", hint="name the target, then the assistant")
        if imatrix and not source:
            raise UsageError("--imatrix has no meaning without --from", hint="name the file's source with --from")
        report = verify_file(target, origin=source, imatrix=imatrix, **asked)
    else:
        if source or imatrix:
            raise UsageError("--from is for one file", hint="verify each file with its own source")
        decoder = choose_engine(engine) if run else None
        decoding = _decoding(prompts, tokens, draft_max, timeout, memory_limit, decoder) if run or reference else None
        decoding = decoding and replace(decoding, model=model_for(host))
        with native_log(verbose, log):
            report = verify_pair(
                target,
                assistant,
                context=context,
                run=decoding if run else None,
                reference=reference,
                reference_options=decoding,
                **asked,
            )
    if json:
        print_json(report.to_dict())
    else:
        print_report(report, everything=everything)
    raise typer.Exit(0 if report.ok else 1)


def _decoding(
    prompts: Path | None,
    tokens: int,
    draft_max: int,
    timeout: int,
    memory_limit: float | None,
    engine: str | None,
) -> RunOptions:
    from gemma_mtp.mtp_runtime.prompts import BUILT_IN, read_prompts
    from gemma_mtp.validate.run import RunOptions

    texts = read_prompts(prompts) if prompts else BUILT_IN
    limit = None if memory_limit is None else int(memory_limit * 1e9)
    return RunOptions(tuple(texts.items()), tokens, draft_max, timeout, limit, engine)
