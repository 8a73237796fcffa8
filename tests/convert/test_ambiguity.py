"""A folder that can be read in two ways: what is taken is told, and what transformers refuses is refused."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file
from transformers import PreTrainedTokenizerFast

from gemma_mtp.convert import Conversion, Output, convert_checkpoint
from gemma_mtp.errors import BadFileError, CheckpointError
from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint

INDEX = "model.safetensors.index.json"


def convert(folder: Path, path: Path) -> Conversion:
    return convert_checkpoint(folder, [Output(path, "BF16")], name="drafter", force=True)


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    store = SafetensorsCheckpoint(folder)
    return {name: (store.data(tensor).astype("<u4") << 16).view("<f4") for name, tensor in store.items()}


def shard(folder: Path) -> None:
    """model.safetensors becomes two shards and an index."""
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / file)
    weight_map = {name: file for file, own in parts.items() for name in own}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_two_sets_of_weights(assistant_folder, tmp_path):
    """One file and shards with other numbers beside it: transformers takes the file."""
    single = (assistant_folder / "model.safetensors").read_bytes()
    convert(assistant_folder, tmp_path / "single.gguf")
    shard(assistant_folder)
    other = tmp_path / "sharded.gguf"
    assert convert(assistant_folder, other).notes == ()
    tensors = {name: values * 2 for name, values in tensors_of(assistant_folder).items()}
    save_file(tensors, assistant_folder / "model-00001-of-00002.safetensors")
    (assistant_folder / "model.safetensors").write_bytes(single)
    (assistant_folder / "pytorch_model.bin").write_bytes(b"x")
    (note,) = convert(assistant_folder, tmp_path / "both.gguf").notes
    assert "model.safetensors is taken, as transformers does" in note
    assert "pytorch_model.bin" in note
    weights = [
        [bytes(tensor.data) for tensor in gguf.GGUFReader(tmp_path / name).tensors]
        for name in ("single.gguf", "both.gguf")
    ]
    assert weights[0] == weights[1]


def test_shards_that_the_index_does_not_name(assistant_folder, tmp_path):
    shard(assistant_folder)
    save_file({"x": np.zeros(1, "f4")}, assistant_folder / "model-00003-of-00003.safetensors")
    (note,) = convert(assistant_folder, tmp_path / "a.gguf").notes
    assert "not model-00003-of-00003.safetensors" in note


def test_an_index_that_names_a_tensor_no_shard_has(assistant_folder, tmp_path):
    shard(assistant_folder)
    index = json.loads((assistant_folder / INDEX).read_text())
    index["weight_map"]["model.vision_tower.x"] = "model-00001-of-00002.safetensors"
    (assistant_folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(BadFileError, match=r"names 1 tensors that no file has, first model\.vision_tower\.x"):
        convert(assistant_folder, tmp_path / "a.gguf")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}', '{"weight_map": {}}', "\0"]
)
def test_odd_indexes(content, assistant_folder, tmp_path):
    shard(assistant_folder)
    (assistant_folder / INDEX).write_text(content)
    with pytest.raises(BadFileError, match=r"index\.json"):
        convert(assistant_folder, tmp_path / "a.gguf")


def test_an_index_that_is_a_folder(assistant_folder, tmp_path):
    shard(assistant_folder)
    (assistant_folder / INDEX).unlink()
    (assistant_folder / INDEX).mkdir()
    with pytest.raises(BadFileError, match="is a folder"):
        convert(assistant_folder, tmp_path / "a.gguf")


def test_a_header_with_a_name_twice(assistant_folder, tmp_path):
    path = assistant_folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = content[8 : 8 + length].rstrip()
    name = "model.norm.weight"
    record = json.dumps({name: json.loads(header)[name]}).encode()[1:-1]
    header = header[:-1] + b"," + record + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    with pytest.raises(BadFileError, match=r"model\.norm\.weight stands in the header twice|not a whole safetensors"):
        convert(assistant_folder, tmp_path / "a.gguf")


def with_head(folder: Path, change=lambda head: head, tied: bool = True) -> None:
    tensors = tensors_of(folder)
    tensors["lm_head.weight"] = change(tensors["model.embed_tokens.weight"].copy())
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = tied
    (folder / "config.json").write_text(json.dumps(config))


def one_other(head: np.ndarray) -> np.ndarray:
    head[-1, -1] += 1
    return head


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_the_embedding(tied, assistant_folder, tmp_path):
    convert(assistant_folder, tmp_path / "plain.gguf")
    with_head(assistant_folder, tied=tied)
    convert(assistant_folder, tmp_path / "head.gguf")
    plain, head = (gguf.GGUFReader(tmp_path / name).tensors for name in ("plain.gguf", "head.gguf"))
    assert [(t.name, bytes(t.data)) for t in plain] == [(t.name, bytes(t.data)) for t in head]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("change", [one_other, lambda head: head[:-1], lambda head: np.zeros_like(head)])
def test_a_head_of_its_own(change, tied, assistant_folder, tmp_path):
    with_head(assistant_folder, change, tied)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"):
        convert(assistant_folder, tmp_path / "a.gguf")


def test_a_head_that_should_be_there(assistant_folder, tmp_path):
    config = json.loads((assistant_folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (assistant_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"tie_word_embeddings is false, and there is no lm_head\.weight"):
        convert(assistant_folder, tmp_path / "a.gguf")


def test_a_tensor_twice_but_for_its_prefix(assistant_folder, tmp_path):
    tensors = tensors_of(assistant_folder)
    tensors["model.language_model.norm.weight"] = tensors["model.norm.weight"]
    save_file(tensors, assistant_folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"norm\.weight is there a second time, as .*norm\.weight"):
        convert(assistant_folder, tmp_path / "a.gguf")


PLAIN = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
OTHER, TOOLS = PLAIN + "{# other #}", PLAIN + "{# tools #}"


def put_templates(folder: Path, config: object = None, **files: str) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **({"chat_template": config} if config else {})}))
    for name, content in files.items():
        file = folder / {"jinja": "chat_template.jinja", "json": "chat_template.json"}.get(
            name, f"additional_chat_templates/{name}.jinja"
        )
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"chat_template": content}) if name == "json" else content)


def templates_in(path: Path) -> dict[str, str]:
    start = "tokenizer.chat_template"
    fields = gguf.GGUFReader(path).fields
    return {
        key.removeprefix(start).removeprefix(".") or "default": fields[key].contents()
        for key in fields
        if key == start or key.startswith(f"{start}.")
    }


NAMED = [{"name": "default", "template": OTHER}, {"name": "tool_use", "template": TOOLS}]
FORMS = {
    "a text": ({"config": PLAIN}, 0),
    "named": ({"config": NAMED}, 0),
    "the file": ({"jinja": PLAIN}, 0),
    "the file and others": ({"jinja": PLAIN, "tool_use": TOOLS, "rag": OTHER}, 0),
    "the file before the config": ({"config": OTHER, "jinja": PLAIN}, 1),
    "the file before names": ({"config": NAMED, "jinja": PLAIN}, 1),
    "the same twice": ({"config": PLAIN, "jinja": PLAIN}, 0),
    "others alone": ({"config": PLAIN, "tool_use": TOOLS}, 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_templates_are_those_of_transformers(form, assistant_folder, tmp_path):
    given, notes = FORMS[form]
    put_templates(assistant_folder, **given)
    done = convert(assistant_folder, tmp_path / "a.gguf")
    loaded = PreTrainedTokenizerFast.from_pretrained(assistant_folder).chat_template
    assert templates_in(tmp_path / "a.gguf") == (loaded if isinstance(loaded, dict) else {"default": loaded})
    assert len(done.notes) == notes
    files = gguf.GGUFReader(tmp_path / "a.gguf").fields["gemma_mtp.source.files"].contents()
    assert ("chat_template.jinja" in files) == ("jinja" in given)
    assert ("additional_chat_templates/tool_use.jinja" in files) == ("tool_use" in given)


def test_the_processors_template(assistant_folder, tmp_path):
    """chat_template.json, which transformers' tokenizers do not read: after the others, as upstream's converter."""
    put_templates(assistant_folder, json=PLAIN)
    assert convert(assistant_folder, tmp_path / "a.gguf").notes == ()
    assert templates_in(tmp_path / "a.gguf") == {"default": PLAIN}
    put_templates(assistant_folder, OTHER)
    (note,) = convert(assistant_folder, tmp_path / "a.gguf").notes
    assert "tokenizer_config.json is taken" in note
    assert templates_in(tmp_path / "a.gguf") == {"default": OTHER}
    put_templates(assistant_folder, tool_use=TOOLS)
    with pytest.raises(CheckpointError, match="which transformers refuses together"):
        convert(assistant_folder, tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([{"name": "a-b", "template": "x"}, {"name": "a_b", "template": "y"}], "would both be called"),
        ([{"template": "x"}], "no name and template"),
        ([{"name": f"t{n}", "template": "x"} for n in range(100)], "has 100 chat templates"),
    ],
)
def test_refused_templates(config, says, assistant_folder, tmp_path):
    put_templates(assistant_folder, config)
    with pytest.raises(CheckpointError, match=says):
        convert(assistant_folder, tmp_path / "a.gguf")


@pytest.mark.parametrize("kind", ["folder", "pipe", "zero", "UTF-16", "huge"])
@pytest.mark.parametrize("name", ["chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_what_stands_in_a_small_files_place(name, kind, assistant_folder, tmp_path):
    path = assistant_folder / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "UTF-16":
        path.write_text("{}", encoding="utf-16")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=name):
        convert(assistant_folder, tmp_path / "a.gguf")
