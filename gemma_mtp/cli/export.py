"""`gemma-mtp export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.options import Force, Json


def export(
    host: Annotated[
        str | None, typer.Argument(help="A host of --list, with its version if you like: ollama@0.32.7.")
    ] = None,
    target: Annotated[
        str | None, typer.Argument(help="The target: a GGUF, or a checkpoint for vllm, sglang, mlx-vlm.")
    ] = None,
    assistant: Annotated[str | None, typer.Argument(help="Its assistant, likewise.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write, or a folder. lmstudio: the folder of its models."),
    ] = None,
    bench: Annotated[
        Path | None, typer.Option(help="Results of `gemma-mtp bench --json`: they say how many tokens to draft.")
    ] = None,
    draft_max: Annotated[int | None, typer.Option(min=1, max=64, help="Tokens to draft in a round.")] = None,
    ctx: Annotated[
        int | None, typer.Option("--ctx", "-c", min=1, help="Tokens of context. Default: the host's.")
    ] = None,
    known: Annotated[bool, typer.Option("--list", help="Show all hosts that are known.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, tell what would be written.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write down a pair as a host wants to be told: a command line, a preset, a Modelfile, YAML, a folder.

    The pair is verified for that host first. Without -o it goes to standard output.

    Examples:

    - `gemma-mtp export llama-server target.gguf mtp-target.gguf --bench results.json`

    - `gemma-mtp export ollama target.gguf mtp-target.gguf -o Modelfile`

    - `gemma-mtp export --list`
    """
    from gemma_mtp.cli.export_table import print_export, print_hosts
    from gemma_mtp.cli.output import print_json, progress_bar
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.errors import UsageError
    from gemma_mtp.hosts import HOSTS, Wishes, export_pair

    if known:
        print_json({"hosts": [one.to_dict() for one in HOSTS]}, "--list") if json else print_hosts(HOSTS)
        return
    if host is None or target is None or assistant is None:
        raise UsageError("a host, a target and an assistant are needed", hint="gemma-mtp export --list shows the hosts")
    wishes = Wishes(draft_max, bench, ctx, output)
    found = export_pair(host, target, assistant, wishes, progress=progress_bar)
    if not found.report.ok:
        print_json(found.to_dict()) if json else print_report(found.report)
        raise typer.Exit(1)
    written = found.writes and not dry_run
    if written:
        found.write(force=force)
    if json:
        print_json(found.to_dict() | {"written": written})
    else:
        print_export(found, written=written)
