"""A bad checkpoint ends in one clear sentence and leaves no file behind."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.bad_checkpoints import edit_config, edit_header, edit_tensors, poison

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.errors import BadFileError


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lie(folder: Path) -> None:
    """The header claims to be longer than the file."""
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:])


def move(records: dict, name: str, by: int) -> None:
    records[name]["data_offsets"] = [offset + by for offset in records[name]["data_offsets"]]


def to_fp8(folder: Path) -> None:
    """One matrix with a byte for each number, as a quantizer would leave it, and no word of it in config.json."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", content)[0]
    first, last = json.loads(content[8:start])[DOWN]["data_offsets"]
    half = (last - first) // 2
    path.write_bytes(content[: start + first] + content[start + first + half :])

    def change(records: dict) -> None:
        for name, record in records.items():
            if name != "__metadata__" and record["data_offsets"][0] > first:
                move(records, name, -half)
        records[DOWN] = {"dtype": "F8_E4M3", "shape": records[DOWN]["shape"], "data_offsets": [first, last - half]}

    edit_header(folder, change)


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tokenizer(folder: Path, change) -> None:
    edit_json(folder / "tokenizer.json", change)


def add_centroid_head(folder: Path, ordering: np.ndarray) -> None:
    edit_config(folder, use_ordered_embeddings=True, num_centroids=64, centroid_intermediate_top_k=4)
    head = {
        "masked_embedding.centroids.weight": np.zeros((64, 256), np.float32),
        "masked_embedding.token_ordering": ordering.astype(np.int64),
    }
    edit_tensors(folder, lambda tensors: tensors.update(head))


def index_of(folder: Path, file: str) -> None:
    """An index that says where one tensor is, in the place of the file that would be taken without asking it."""
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    text = json.dumps({"weight_map": {"model.norm.weight": file}})
    (folder / "model.safetensors.index.json").write_text(text)


DOWN = "model.layers.0.mlp.down_proj.weight"
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
    "MLX": (lambda folder: edit_config(folder, quantization={"bits": 4}), "MLX-quantized weights"),
    "MLX by its tensors": (
        lambda folder: edit_tensors(folder, lambda tensors: tensors.update({f"{DOWN[:-7]}.scales": np.ones(4, "f4")})),
        "quantized already",
    ),
    "GPTQ by its tensors": (
        lambda folder: edit_tensors(folder, lambda tensors: tensors.update({f"{DOWN[:-7]}.qweight": np.ones(4, "i4")})),
        "quantized already",
    ),
    "FP8": (
        to_fp8,
        r"down_proj\.weight has dtype F8_E4M3; F32, F16 and BF16 can be converted",
    ),
    "integers": (
        lambda folder: edit_header(folder, lambda records: records[DOWN].update(dtype="U16")),
        "has dtype U16; F32, F16 and BF16 can be converted",
    ),
    "overlapping tensors": (
        lambda folder: edit_header(folder, lambda records: move(records, DOWN, -64)),
        "not a whole safetensors file",
    ),
    "a tensor outside the file": (
        lambda folder: edit_header(folder, lambda records: move(records, DOWN, 1 << 40)),
        "not a whole safetensors file",
    ),
    "an index to elsewhere": (lambda folder: index_of(folder, "../model.safetensors"), "which is not in the folder"),
    "an index without the rest": (lambda folder: index_of(folder, "model-2.safetensors"), "which is not in the folder"),
    "an expert of a model without": (
        lambda folder: edit_tensors(
            folder,
            lambda tensors: tensors.update({"model.layers.0.experts.0.up_proj.weight": np.ones((4, 4), np.float32)}),
        ),
        r"1 tensors unknown: model\.layers\.0\.experts\.0\.up_proj\.weight",
    ),
    "a token ordering that is no permutation": (
        lambda folder: add_centroid_head(folder, np.zeros(2048)),
        "not a permutation of the 2,048 token ids",
    ),
    "a token ordering that is too short": (
        lambda folder: add_centroid_head(folder, np.arange(2047)),
        r"token_ordering is \[2047\], not \[2048\]",
    ),
    "no centroids": (
        lambda folder: edit_config(folder, use_ordered_embeddings=True, num_centroids=64),
        r"2 tensors missing: masked_embedding\.centroids\.weight",
    ),
    "a tokenizer that is too small": (
        lambda folder: edit_tokenizer(folder, lambda it: it["model"]["vocab"].popitem()),
        r"the tokenizer has 2,047 tokens, the embedding 2,048 rows",
    ),
    "a tokenizer with a gap": (
        lambda folder: edit_tokenizer(folder, lambda it: it["model"]["vocab"].update({"the": 1 << 30})),
        "has the id 1073741824",
    ),
    "another kind of tokenizer": (
        lambda folder: edit_tokenizer(folder, lambda it: it["model"].update(type="Unigram")),
        "not a byte-fallback BPE",
    ),
    "merges of the wrong kind": (
        lambda folder: edit_tokenizer(folder, lambda it: it["model"].update(merges=[1, 2])),
        "the merges are damaged",
    ),
    "merges of three": (
        lambda folder: edit_tokenizer(folder, lambda it: it["model"].update(merges=[["a", "b"], ["a", "b", "c"]])),
        "the merges are damaged",
    ),
    "merges of numbers": (
        lambda folder: edit_tokenizer(folder, lambda it: it["model"].update(merges=[["a", 1]])),
        "the merges are damaged",
    ),
    "half a character in a token": (
        lambda folder: edit_tokenizer(folder, lambda it: it["added_tokens"][0].update(content="\ud83d")),
        r"tokenizer\.json: is not JSON",
    ),
    "half a character in the chat template": (
        lambda folder: edit_json(folder / "tokenizer_config.json", lambda it: it.update(chat_template="a\udcff")),
        "a text in it has '.udcff', which is not Unicode",
    ),
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
