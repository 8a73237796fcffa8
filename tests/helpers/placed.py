"""The demo pair in every form that a place can name, and the names of the repos that hold it on a local Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header, padded
from gemma_mtp.model.part import Part

#: The repo with both parts, the one without a drafter, the one with split files, and the checkpoints.
PAIR_REPO, LONELY, SPLIT, CHECKPOINTS = (
    "acme/demo-GGUF",
    "acme/gemma-4-E2B-it-GGUF",
    "acme/split-GGUF",
    {Part.TARGET: "acme/demo", Part.ASSISTANT: "acme/demo-assistant"},
)
SPLIT_FILES = {Part.TARGET: "demo-BF16-00001-of-00002.gguf", Part.ASSISTANT: "mtp-demo-BF16-00001-of-00002.gguf"}


def split(source: Path, first: Path) -> list[Path]:
    """The GGUF in two parts, as llama-gguf-split writes them: keys and the first half of the tensors, then the rest."""
    parts = [first, first.with_name(first.name.replace("-00001-", "-00002-"))]
    with GGUFFile(source) as file:
        tensors = list(file.tensors.values())
        for index, path in enumerate(parts):
            own = tensors[: len(tensors) // 2] if index == 0 else tensors[len(tensors) // 2 :]
            keys = {
                "split.no": gv.scalar(gv.ValueType.UINT16, index),
                "split.count": gv.scalar(gv.ValueType.UINT16, 2),
                "split.tensors.count": gv.i32(len(tensors)),
            }
            plans = [TensorPlan(tensor.name, tensor.shape, tensor.type) for tensor in own]
            header = encode_header({**file.metadata, **keys} if index == 0 else keys, plans)
            data = [file.data(tensor).tobytes().ljust(padded(tensor.nbytes), b"\0") for tensor in own]
            path.write_bytes(header + b"".join(data))
    return parts


@dataclass(frozen=True)
class Models:
    """The demo pair's files: (part, "whole" | "split" | "folder") -> the place."""

    folder: Path

    def __getitem__(self, key: tuple[Part, str]) -> Path:
        part, form = key
        if form == "folder":
            return PAIR / part.value
        name = SPLIT_FILES[part] if form == "split" else f"{'mtp-' if part is Part.ASSISTANT else ''}demo-BF16.gguf"
        return self.folder / form / name


#: Every way to name a GGUF: the models and the part -> the place.
GGUFS: dict[str, Callable[[Models, Part], str]] = {
    "local file": lambda models, part: str(models[part, "whole"]),
    "split file": lambda models, part: str(models[part, "split"]),
    "hf:// file": lambda models, part: f"hf://{PAIR_REPO}/{models[part, 'whole'].name}",
    "split hf:// file": lambda _, part: f"hf://{SPLIT}/{SPLIT_FILES[part]}",
    "repo": lambda _, part: PAIR_REPO if part is Part.TARGET else f"{PAIR_REPO}:BF16",
    "repo with a type": lambda _, part: f"{PAIR_REPO}@main:bf16",
    "address": lambda models, part: f"https://huggingface.co/{PAIR_REPO}/blob/main/{models[part, 'whole'].name}",
}
#: Every way to name a checkpoint.
FOLDERS: dict[str, Callable[[Models, Part], str]] = {
    "folder": lambda models, part: str(models[part, "folder"]),
    "checkpoint's repo": lambda _, part: CHECKPOINTS[part],
    "checkpoint at a revision": lambda _, part: f"{CHECKPOINTS[part]}@main",
    "checkpoint's address": lambda _, part: f"https://huggingface.co/{CHECKPOINTS[part]}/tree/main",
}
PLACES = GGUFS | FOLDERS
