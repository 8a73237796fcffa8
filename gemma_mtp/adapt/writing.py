"""The adapted assistant as files: GGUFs of all wanted types in one pass, and Google's layout of a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_mtp.adapt.weights import Weights
from gemma_mtp.convert import provenance
from gemma_mtp.errors import UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.ggml import GGMLType, native
from gemma_mtp.quantize import Output, quantize_file
from gemma_mtp.quantize.floats import narrowed

if TYPE_CHECKING:
    from gemma_mtp.adapt.network import Network


def write_gguf(source: Weights, network: Network, path: Path, keys: Mapping[str, Value]) -> None:
    """The source's file with the trained tensors in BF16 (norms in F32) and `keys` beside its own.

    What is not trained keeps its bytes. Raises EnvironmentProblem (no room).
    """
    trained = {name for name, weight in network.weights.items() if weight.requires_grad}
    side, slots = source.side, source.slots
    plans = []
    for tensor in side.tensors.values():
        kind = tensor.type
        if tensor.name in trained:
            kind = GGMLType.F32 if slots[tensor.name].role.plain else GGMLType.BF16
        plans.append(TensorPlan(tensor.name, tensor.shape, kind))
    dropped = (provenance.REPO, provenance.REVISION, provenance.FILES, provenance.HASHES)
    own = {
        key: value
        for key, value in side.metadata.items()
        if key not in dropped and not key.startswith("general.base_model.")
    }
    with GGUFWriter(path, {**own, **keys}, plans, force=True) as writer:
        for plan in plans:
            if plan.name not in trained:
                writer.write_next([source.stored(plan.name)[1].tobytes()])
                continue
            numbers = network.weights[plan.name].detach().cpu().numpy()
            writer.write_next([narrowed(native(plan.type), numbers.astype("<f4")).tobytes()])


def parents(assistant: Weights, target: Weights) -> dict[str, Value]:
    """`general.base_model.*` of an adapted assistant: the assistant that it was, and the target that it is for."""
    keys: dict[str, Value] = {"general.base_model.count": gv.u32(2)}
    for number, side in enumerate((assistant.side, target.side)):
        at = f"general.base_model.{number}"
        keys[f"{at}.name"] = gv.string(side.text("general.name") or Path(side.place).stem)
        repo = side.text(provenance.REPO)
        url = f"https://huggingface.co/{repo}" if repo else side.text("general.repo_url")
        if url:
            keys[f"{at}.repo_url"] = gv.string(url)
    return keys


def quantized(source: Path, outputs: Sequence[Output], folder: Path, threads: int | None) -> dict[Path, Path]:
    """Each output's file in `folder`, made in one reading: final name -> where it is."""
    inside = [replace(output, path=folder / f"{n}-{output.path.name}") for n, output in enumerate(outputs)]
    quantize_file(source, inside, allow_requantize=True, force=True, threads=threads)
    return {output.path: made.path for output, made in zip(outputs, inside, strict=True)}


def write_checkpoint(source: Path, network: Network, folder: Path) -> None:
    """Google's layout: the source folder's config and tokenizer beside the adapted weights, in the source's types.

    Raises UsageError: the source is no folder, or the output exists.
    """
    import torch
    from safetensors.torch import save_file

    from gemma_mtp.sources.checkpoint import open_checkpoint

    check_checkpoint(source, folder)
    checkpoint = open_checkpoint(source)
    tensors = {}
    for slot, tensor in checkpoint.tensors.items():
        weight = network.weights.get(slot.mainline_name)
        if weight is not None and weight.requires_grad:
            numbers = weight.detach().cpu()
            tensors[tensor.name] = (numbers.bfloat16() if tensor.dtype == "BF16" else numbers).contiguous()
            continue
        data = torch.from_numpy(checkpoint.data(tensor).copy())
        tensors[tensor.name] = data.view(torch.bfloat16) if tensor.dtype == "BF16" else data
    with scratch_folder(folder.absolute().parent) as place:
        made = place / folder.name
        made.mkdir()
        for path in source.iterdir():
            if path.is_file() and path.suffix in (".json", ".jinja", ".model", ".txt"):
                shutil.copy(path, made)
        (made / "model.safetensors.index.json").unlink(missing_ok=True)
        save_file(tensors, made / "model.safetensors", metadata={"format": "pt"})
        made.replace(folder)


def check_checkpoint(source: Path, folder: Path) -> None:
    """Raises UsageError if no checkpoint can be written there from this source."""
    if not source.is_dir():
        raise UsageError(
            "a checkpoint needs the config and the tokenizer of another, and a GGUF has neither",
            where=source,
            hint="name the assistant's checkpoint folder, or leave --safetensors out",
        )
    if folder.exists():
        raise UsageError("this exists already", where=folder, hint="name a new folder")
