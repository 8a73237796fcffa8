"""`gemma-mtp fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import (
    Batch,
    CacheType,
    Ctx,
    FlashAttention,
    GpuLayers,
    Json,
    Placement,
    takes_pair,
    takes_placement,
)

if TYPE_CHECKING:
    from gemma_mtp.bench.fit import Fit


@takes_pair
@takes_placement
def fit(
    target: Annotated[
        str, typer.Argument(help="The target: a GGUF, or a place on the Hub, of which the header is read.")
    ],
    assistant: Annotated[
        str | None, typer.Argument(help="Its assistant, likewise. Left out: without drafting.")
    ] = None,
    vram: Annotated[
        list[str] | None,
        typer.Option("--vram", help="The GPU's memory, as 16GB (the default); of several as 12GB,8GB."),
    ] = None,
    ram: Annotated[str | None, typer.Option("--ram", help="Main memory, as 32GB. Default: enough.")] = None,
    ctx: Ctx = 4096,
    batch: Batch = 512,
    gpu_layers: GpuLayers = -1,
    flash_attention: FlashAttention = "auto",
    cache_type: CacheType = "f16",
    placement: Placement | None = None,
    json: Json = False,
) -> None:
    """Tell how much of a pair goes where, whether it fits, and if not the smallest change that makes it fit.

    From the headers alone, so before a download too. Exit code 1: it does not fit as asked.

    - `gemma-mtp fit target-Q4_K_M.gguf mtp-target-Q8_0.gguf --vram 16GB --ctx 32768`
    - `gemma-mtp fit target-Q4_K_M.gguf mtp-target-Q8_0.gguf --vram 12GB,8GB -dev CUDA0,CUDA1`
    - `gemma-mtp fit hf://owner/repo/target.gguf owner/assistant-GGUF:Q8_0 --vram 24GB --json`
    """
    from gemma_mtp.bench.fit import fit as found_fit
    from gemma_mtp.bench.fit import parse_size, parse_sizes
    from gemma_mtp.cli.output import print_json
    from gemma_mtp.native.placement import belonging
    from gemma_mtp.native.settings import ContextSettings, ModelSettings

    context = ContextSettings(
        ctx,
        batch,
        cache_k=cache_type,
        cache_v=cache_type,
        flash_attention=flash_attention,
        **belonging(placement or {}, ContextSettings),
    )
    found = found_fit(
        target,
        assistant,
        vram=parse_sizes(vram or ["16GB"]),
        ram=parse_size(ram) if ram else None,
        context=context,
        model=ModelSettings(gpu_layers, **belonging(placement or {}, ModelSettings)),
    )
    print_json(found.to_dict()) if json else print_fit(found)
    raise typer.Exit(0 if found.fits else 1)


def print_fit(found: Fit) -> None:
    """The table by device, the verdict, and the command."""
    from gemma_mtp.cli.output import human_size, line, results
    from gemma_mtp.validate.devices import told

    results.print(
        line(f"{'':8}{'weights':>10}{'KV cache':>10}{'compute':>10}{'in all':>10}{'drafter':>10}{'room':>10}")
    )
    for name, room in found.room.items():
        share = found.devices.on(name)
        sizes = (share.weights, share.cache, share.compute, share.total, share.drafter)
        columns = [*map(human_size, sizes), "?" if room is None else human_size(room)]
        results.print(line(f"{name:8}" + "".join(f"{text:>10}" for text in columns)))
    if found.fits:
        results.print("it fits")
    elif found.change:
        sums = ", ".join(f"{human_size(found.asked.on(name).total)} {told(name)}" for name in found.room)
        results.print(line(f"as asked it does not fit ({sums})"))
        results.print(line(f"it fits with {found.change} (the table's figures)"))
    else:
        results.print("it does not fit, whatever is changed: take smaller files, or a shorter context")
    for command in filter(None, (found.prepare, found.command)):
        results.print(line(command))
    results.print(line(found.note))
