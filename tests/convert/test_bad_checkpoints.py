"""A bad checkpoint ends in one clear sentence and leaves no file behind."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint


def edit_config(folder: Path, **changes) -> None:
    """Change fields of config.json; dotted names reach into text_config, None removes."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        table = config["text_config"] if key in config["text_config"] else config
        table.pop(key) if value is None else table.update({key: value})
    path.write_text(json.dumps(config))


def edit_tensors(folder: Path, change) -> None:
    """Write model.safetensors again after `change(tensors)`; BF16 becomes F32."""
    store = SafetensorsCheckpoint(folder)
    tensors = {name: (store.data(tensor).astype(np.uint32) << 16).view(np.float32) for name, tensor in store.items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def poison(tensors: dict, value: float) -> None:
    tensors["model.layers.2.mlp.up_proj.weight"][100, 7] = value


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lie(folder: Path) -> None:
    """The header claims to be longer than the file."""
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:])


FAULTS = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"there is no config\.json"),
    "config is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "another architecture": (
        lambda folder: edit_config(folder, architectures=["LlamaForCausalLM"]),
        "LlamaForCausalLM",
    ),
    "no backbone width": (
        lambda folder: edit_config(folder, backbone_hidden_size=None),
        "backbone_hidden_size is missing",
    ),
    "odd number of layers": (lambda folder: edit_config(folder, num_hidden_layers=-1), "num_hidden_layers is"),
    "quantized": (lambda folder: edit_config(folder, quantization_config={"quant_method": "fp8"}), "quantized weights"),
    "cut off": (truncate, "not a whole safetensors file"),
    "lying header": (lie, "not a whole safetensors file"),
    "missing tensor": (
        lambda folder: edit_tensors(folder, lambda tensors: tensors.pop("post_projection.weight")),
        r"1 tensors missing: post_projection\.weight",
    ),
    "unknown tensor": (
        lambda folder: edit_tensors(folder, lambda tensors: tensors.update(extra=np.zeros(4, np.float32))),
        "1 tensors unknown: extra",
    ),
    "misshapen tensor": (
        lambda folder: edit_tensors(
            folder, lambda tensors: tensors.update({"model.norm.weight": np.ones(8, np.float32)})
        ),
        r"model\.norm\.weight is \[8\], not \[256\]",
    ),
    "NaN": (
        lambda folder: edit_tensors(folder, lambda tensors: poison(tensors, np.nan)),
        r"model\.layers\.2\.mlp\.up_proj\.weight",
    ),
    "Inf": (
        lambda folder: edit_tensors(folder, lambda tensors: poison(tensors, np.inf)),
        r"model\.layers\.2\.mlp\.up_proj\.weight",
    ),
    "another tokenizer": (
        lambda folder: edit_config(folder, vocab_size=2047),
        r"model\.embed_tokens\.weight is \[2048, 256\], not \[2047, 256\]",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"there is no tokenizer\.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["BF16", "Q4_0"])
def test_refused(fault, kind, assistant_folder, tmp_path):
    break_it, message = FAULTS[fault]
    break_it(assistant_folder)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(BadFileError, match=message):
        convert_checkpoint(assistant_folder, [Output(folder / "a.gguf", kind)])
    assert not list(folder.iterdir())
