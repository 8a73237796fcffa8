"""A GGUF file's description on the terminal."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from gemma_mtp.cli.output import human_size, results
from gemma_mtp.validate import Description
from gemma_mtp.validate.describe import Entry


def print_description(description: Description) -> None:
    results.print(
        f"[bold]{escape(description.place)}[/]: GGUF version {description.version}, {human_size(description.size)}, "
        f"{len(description.tensors)} tensors, {description.parameters:,} parameters",
        soft_wrap=True,
    )
    metadata = Table("key", "type", "value", box=box.SIMPLE_HEAD, pad_edge=False)
    for entry in description.metadata:
        metadata.add_row(escape(entry.key), _type(entry), escape(_shown(entry)))
    results.print(metadata)
    tensors = Table("tensor", "shape", "type", "size", box=box.SIMPLE_HEAD, pad_edge=False)
    for tensor in description.tensors:
        shape = " x ".join(str(length) for length in tensor.shape)
        tensors.add_row(escape(tensor.name), shape, tensor.type.name, human_size(tensor.nbytes))
    results.print(tensors)
    results.print(", ".join(f"{kind}: {human_size(size)}" for kind, size in description.types.items()))


def _type(entry: Entry) -> str:
    return entry.type if entry.count is None else f"{entry.type} x {entry.count:,}"


def _shown(entry: Entry) -> str:
    if entry.count is None:
        return str(entry.value)
    return ", ".join(str(item) for item in entry.value) + (", ..." if entry.count > len(entry.value) else "")
