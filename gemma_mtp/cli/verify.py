"""`gemma-mtp verify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_mtp.cli.options import DecodingThreads, Engine, Json, Log, Verbose, takes_groups, takes_pair

if TYPE_CHECKING:
    from gemma_mtp.validate import Report
    from gemma_mtp.validate.host import Host
    from gemma_mtp.validate.run import RunOptions


@dataclass(frozen=True)
class ServerOptions:
    """A server that runs, in the place of files."""

    server: Annotated[
        str | None, typer.Option(help="Instead of files: the address of a server that runs now. Does it draft?")
    ] = None
    api_key: Annotated[
        str | None, typer.Option(envvar="GEMMA_MTP_API_KEY", show_envvar=True, help="The key that the server wants.")
    ] = None
    server_model: Annotated[str | None, typer.Option(help="Which model of a server that has several.")] = None


@dataclass(frozen=True)
class CheckingOptions:
    """What is checked, and for what it is meant."""

    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False
    deep: Annotated[bool, typer.Option("--deep", help="Read every weight instead of a sample.")] = False
    hub: Annotated[
        list[str] | None,
        typer.Option(help="A repo (or hf://owner/repo/file) that a file came from: compare its hash. May be repeated."),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Of one GGUF: what it was made of, a checkpoint or a 16-bit GGUF, here or on the Hub. Each tensor is "
            "made anew from it and compared.",
        ),
    ] = None
    imatrix: Annotated[
        str | None, typer.Option(help="With --from: the importance matrix that the file was made with.")
    ] = None
    runtime: Annotated[
        str | None, typer.Option(help="What it is meant for: llama.cpp@b10743, ik_llama.cpp@2026-08-01, ollama ...")
    ] = None
    settings: Annotated[str | None, typer.Option(help="How that is started, e.g. '-sm tensor -np 2'.")] = None
    gpu: Annotated[str | None, typer.Option(help="The GPU's name there, e.g. 'GTX 1060'.")] = None
    ctx: Annotated[
        int | None,
        typer.Option(
            "--ctx", "-c", min=1, help="Tokens to estimate the memory for. Default: what --settings says, or 4096."
        ),
    ] = None
    cache_type: Annotated[
        str | None,
        typer.Option(help="Type of the KV cache: f16, q8_0, q4_0, ... Default: what --settings says, or f16."),
    ] = None

    def host(self) -> Host:
        """Raises UsageError."""
        from gemma_mtp.validate import parse_host

        return parse_host(self.runtime, self.settings, self.gpu)


@dataclass(frozen=True)
class DecodingOptions:
    """What is decoded, if it is."""

    run: Annotated[bool, typer.Option("--run", help="Decode with the pair too, in a child process.")] = False
    reference: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="TARGET ASSISTANT",
            help="Compare drafts with transformers on the original checkpoints, folders or repos. Needs the extra "
            "`reference`.",
        ),
    ] = None
    prompts: Annotated[
        Path | None, typer.Option(help="To decode: a file of prompts, with a line of --- between two.")
    ] = None
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=2, help="To decode: tokens for each prompt.")] = 96
    draft_max: Annotated[int, typer.Option(min=1, max=64, help="To decode: tokens to draft in a round.")] = 3
    timeout: Annotated[int, typer.Option(min=1, help="To decode: seconds for loading and for each prompt.")] = 300
    memory_limit: Annotated[
        float | None, typer.Option(min=0.1, help="To decode: address space of the child process, in GB.")
    ] = None
    engine: Engine = None
    threads: DecodingThreads = None
    verbose: Verbose = False
    log: Log = None

    def options(self, host: Host) -> RunOptions | None:
        """None: nothing is decoded. Raises UsageError, EnvironmentProblem."""
        from gemma_mtp.cli.chosen import choose_engine
        from gemma_mtp.mtp_runtime.prompts import BUILT_IN, read_prompts
        from gemma_mtp.validate.host import model_for
        from gemma_mtp.validate.run import RunOptions

        if not (self.run or self.reference):
            return None
        decoder = choose_engine(self.engine) if self.run else None
        texts = read_prompts(self.prompts) if self.prompts else BUILT_IN
        limit = None if self.memory_limit is None else int(self.memory_limit * 1e9)
        return RunOptions(
            tuple(texts.items()), self.tokens, self.draft_max, self.timeout, limit, decoder, model_for(host)
        )


@takes_pair
@takes_groups
def verify(
    target: Annotated[
        str | None, typer.Argument(help="The target: a GGUF, a checkpoint's folder, or a place on the Hub.")
    ] = None,
    assistant: Annotated[
        str | None, typer.Argument(help="Its assistant, likewise. Without it the first is checked alone.")
    ] = None,
    *,
    running: ServerOptions,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Show every check, not only what is not ok.")] = False,
    check: CheckingOptions,
    decode: DecodingOptions,
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
    from gemma_mtp.errors import UsageError

    if running.server is not None:
        from gemma_mtp.cli.server_table import tell_server

        tell_server(running.server, running.api_key, running.server_model, files=(target, assistant), json=json)
    if target is None:
        raise UsageError("no file is named", hint="name the target, then the assistant; or one file alone")

    from gemma_mtp.cli.output import print_json
    from gemma_mtp.cli.verify_table import print_report

    report = checked(target, assistant, check, decode)
    if json:
        print_json(report.to_dict())
    else:
        print_report(report, everything=everything)
    raise typer.Exit(0 if report.ok else 1)


def checked(target: str, assistant: str | None, check: CheckingOptions, decode: DecodingOptions) -> Report:
    """The report on a pair, or on one file. Raises UsageError: one file alone is to be decoded with."""
    from dataclasses import replace

    from gemma_mtp.cli.output import native_log, progress_bar
    from gemma_mtp.errors import UsageError
    from gemma_mtp.validate import context_for, verify_file, verify_pair

    host = check.host()
    context = replace(context_for(host, check.ctx, check.cache_type), threads=decode.threads)
    asked: Any = {"deep": check.deep, "strict": check.strict, "host": host, "hub": check.hub or ()}
    asked["progress"] = progress_bar
    if assistant is None:
        if decode.run or decode.reference:
            raise UsageError("one file alone cannot draft", hint="name the target, then the assistant")
        if check.imatrix and not check.source:
            raise UsageError("--imatrix has no meaning without --from", hint="name the file's source with --from")
        return verify_file(target, origin=check.source, imatrix=check.imatrix, **asked)
    if check.source or check.imatrix:
        raise UsageError("--from is for one file", hint="verify each file with its own source")
    options = decode.options(host)
    with native_log(decode.verbose, decode.log):
        return verify_pair(
            target,
            assistant,
            context=context,
            run=options if decode.run else None,
            reference=decode.reference,
            reference_options=options,
            **asked,
        )
