"""A GGUF file's description on the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from gemma_mtp.cli.output import human_size, line, print_table, results
from gemma_mtp.cli.terminal import harmless, plain
from gemma_mtp.sources.describe import Description, Entry


def print_description(description: Description) -> None:
    results.print(
        line(
            (description.place, "bold"),
            f": GGUF version {description.version}, {human_size(description.size)}, "
            f"{len(description.tensors)} tensors, {description.parameters:,} parameters",
        )
    )
    metadata = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("key", "type", "value"):
        metadata.add_column(heading, overflow="fold", no_wrap=heading != "value")
    for entry in description.metadata:
        metadata.add_row(plain(entry.key), _type(entry), plain(_shown(entry)))
    print_table(metadata)
    _print_tensors(description)


def print_tensors(description: Description) -> None:
    """The tensors alone, and what each layer takes."""
    _print_tensors(description)
    results.print(", ".join(f"{layer}: {human_size(size)}" for layer, size in description.layers.items()))


def print_value(entry: Entry) -> None:
    """A value as it is; of a list an item a line. A text goes out without a line end of ours, if it has its own."""
    items = entry.value if entry.count is not None else [entry.value]
    for item in items:
        text = str(item)
        print(harmless(text), end="" if text.endswith("\n") else "\n")


def _print_tensors(description: Description) -> None:
    tensors = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("tensor", "shape", "type", "size"):
        tensors.add_column(heading, overflow="fold", no_wrap=heading != "shape")
    for tensor in description.tensors:
        shape = " x ".join(str(length) for length in tensor.shape)
        tensors.add_row(plain(tensor.name), shape, tensor.type.name, human_size(tensor.nbytes))
    print_table(tensors)
    results.print(", ".join(f"{kind}: {human_size(size)}" for kind, size in description.types.items()))


def _type(entry: Entry) -> str:
    return entry.type if entry.count is None else f"{entry.type} x {entry.count:,}"


def _shown(entry: Entry) -> str:
    if entry.count is None:
        return str(entry.value)
    return ", ".join(str(item) for item in entry.value) + (", ..." if entry.count > len(entry.value) else "")
