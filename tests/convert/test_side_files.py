"""OpenModel files with values of any type: what is meant, a note, or a sentence; never anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, CheckpointError
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.files.safetensors_file import read_header
from gemma_mtp.model.family import read_model
from gemma_mtp.model.gguf_keys import written_keys
from gemma_mtp.sources.card import LISTS, ORIGINS, SAMPLING, TEXTS
from gemma_mtp.sources.checkpoint import place_tensors
from gemma_mtp.sources.metadata import general_metadata
from gemma_mtp.sources.tokenizer import tokenizer_metadata

#: Every JSON type, and what lies beyond the types of a GGUF.
VALUES = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**32, 2**64, 10**400, 1.5, -0.5, 1e39, float("nan"), float("inf"),
    "", "text", "yes", "\ud800", "x" * 5000, [], [1], [-1, "a", None], ["a", "b"], [[["a"]]], [{}], {}, {"a": 1},
    {"name": "a", "template": "b"}, [{"name": "a", "template": "b"}], {"content": "<bos>"}, {"content": 3},
)  # fmt: skip


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def keys_of(folder: Path) -> dict:
    """All keys of the GGUF that the folder converts to; the weights are not read."""
    model = read_model(folder)
    place_tensors(model, folder, {tensor.name: tensor for tensor in read_header(folder / "model.safetensors")})
    notes: list[str] = []
    keys = {
        **general_metadata(model, folder, "some-model-1B", [], notes.append),
        **written_keys(model),
        **tokenizer_metadata(folder, model.vocabulary, notes.append),
    }
    assert all(0 < len(note) < 2000 for note in notes)
    for key, value in keys.items():
        key.encode()
        value.encode()
        value.decode()
    return keys


def holds(folder: Path) -> None:
    """It converts, or is refused with a sentence of a bearable length that names a file."""
    try:
        keys_of(folder)
        return
    except BadFileError as error:
        refusal = error
    assert str(folder) in str(refusal.where)
    assert 0 < len(str(refusal)) < 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo assistant; tests write its side files anew and put them back."""
    return shutil.copytree(PAIR / "assistant", tmp_path_factory.mktemp("side") / "assistant")


@pytest.fixture
def kept(folder: Path) -> Iterator[Path]:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".safetensors"}
    yield folder
    for path in list(folder.iterdir()):
        if path.name in before:
            path.write_bytes(before[path.name])
        elif path.suffix != ".safetensors":
            path.unlink()


FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.json",
    "tokenizer.json",
)
#: Fields that the files of the demo pair do not have.
MORE = {
    "config.json": ["_name_or_path", "sep_token_id", "quantization_config", "global_head_dim"],
    "generation_config.json": [*SAMPLING, "suppress_tokens"],
    "tokenizer_config.json": [
        "chat_template", "extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens",
        "bos_token", "eos_token", "mask_token", "add_eos_token", "add_sep_token", "added_tokens_decoder",
    ],
    "special_tokens_map.json": ["bos_token", "additional_special_tokens", "extra_special_tokens"],
    "chat_template.json": ["chat_template"],
    "tokenizer.json": [],
}  # fmt: skip


def content_of(folder: Path, file: str) -> dict:
    path = folder / file
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("file", FILES)
def test_the_whole_file(file, kept):
    for value in VALUES:
        write_json(kept / file, value)
        holds(kept)


def _tables(content: dict) -> Iterator[dict]:
    """The objects in a file whose fields have names."""
    yield content
    for name in ("text_config", "rope_parameters", "full_attention", "per_layer_config", "3", "model"):
        yield from list(_tables(content[name])) if isinstance(content.get(name), dict) else []


@pytest.mark.parametrize("file", FILES)
def test_every_field(file, kept):
    content = content_of(kept, file)
    for name in MORE[file]:
        content.setdefault(name, None)
    for table in _tables(content):
        for name in list(table):
            before = table[name]
            for value in VALUES[::2] if len(content) > 8 else VALUES:
                table[name] = value
                write_json(kept / file, content)
                holds(kept)
            table[name] = before
    write_json(kept / file, content)
    keys_of(kept)


@pytest.mark.parametrize("place", ["vocab", "id", "content", "merge", "added"])
def test_inside_of_the_tokenizer(place, kept):
    for value in VALUES:
        content = content_of(PAIR / "assistant", "tokenizer.json")
        token = next(iter(content["model"]["vocab"]))
        if place == "vocab":
            content["model"]["vocab"][token] = value
        elif place == "merge":
            content["model"]["merges"][0] = value
        elif place == "added":
            content["added_tokens"][0] = value
        else:
            content["added_tokens"][0][place] = value
        write_json(kept / "tokenizer.json", content)
        holds(kept)


@pytest.mark.parametrize("name", sorted({*TEXTS, *LISTS, *ORIGINS, "some_field"}))
def test_every_field_of_the_card(name, kept):
    for value in VALUES:
        if value not in ("\ud800", 10**400):
            (kept / "README.md").write_text(f"---\n{yaml.safe_dump({name: value})}---\n# A drafter\n")
            keys_of(kept)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_in_any_place(data, kept):
    file = data.draw(st.sampled_from(FILES[:-1]))
    content = content_of(PAIR / "assistant", file)
    table = data.draw(st.sampled_from(list(_tables(content))))
    table[data.draw(st.sampled_from([*table, *MORE[file]]))] = data.draw(JSON)
    before = (kept / file).read_bytes() if (kept / file).exists() else None
    write_json(kept / file, content)
    holds(kept)
    if before is None:
        (kept / file).unlink()
    else:
        (kept / file).write_bytes(before)


def converted(folder: Path, path: Path) -> tuple[dict, tuple[str, ...]]:
    done = convert_checkpoint(folder, [Output(path, "BF16")], name="drafter", force=True)
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}, done.notes


MEANT = {
    "tags: [gemma, 4]": ("general.tags", ["gemma", "4"]),
    "tags: [yes, no, gemma]": ("general.tags", ["yes", "no", "gemma"]),
    "tags: [gemma, ]": ("general.tags", ["gemma"]),
    "tags: gemma": ("general.tags", ["gemma"]),
    "version: 1.10": ("general.version", "1.10"),
    "model_name: 2026-05-01": ("general.name", "2026-05-01"),
    "model_name: 31": ("general.name", "31"),
    "model_creator: [a, b]": ("general.author", "a, b"),
    "license: [apache-2.0, mit]": ("general.license", "apache-2.0,mit"),
    "language: [en, no]": ("general.languages", ["en", "no"]),
}


@pytest.mark.parametrize("line", MEANT)
def test_what_a_card_means(line, assistant_folder, tmp_path):
    key, wanted = MEANT[line]
    (assistant_folder / "README.md").write_text(f"---\n{line}\n---\n# A drafter\n")
    keys, notes = converted(assistant_folder, tmp_path / "a.gguf")
    assert keys[key] == wanted
    assert not notes


@pytest.mark.parametrize(
    ("line", "key"),
    [("license: {name: gemma}", "license"), ("tags: [gemma, {a: b}]", "tags"), ("base_model: [[a]]", "base_model")],
)
def test_what_no_card_can_mean_is_told(line, key, assistant_folder, tmp_path):
    (assistant_folder / "README.md").write_text(f"---\n{line}\n---\n")
    _, notes = converted(assistant_folder, tmp_path / "a.gguf")
    assert any(note.startswith(f"README.md: {key} is ") for note in notes)


def test_front_matter_that_is_no_yaml(assistant_folder, tmp_path):
    (assistant_folder / "README.md").write_text("---\nlicense: a\ntags: [a\n---\n")
    with pytest.raises(CheckpointError, match=r"README\.md: the front matter is not YAML.*line 3"):
        converted(assistant_folder, tmp_path / "a.gguf")


def test_ids_that_are_no_tokens(assistant_folder, tmp_path):
    config = content_of(assistant_folder, "config.json")
    config["text_config"] |= {"eos_token_id": -1, "pad_token_id": 10**6}
    write_json(assistant_folder / "config.json", config)
    write_json(assistant_folder / "tokenizer_config.json", {})
    write_json(assistant_folder / "generation_config.json", {"suppress_tokens": [3, -1, "a"], "top_k": 1.5, "top_p": 1})
    keys, notes = converted(assistant_folder, tmp_path / "a.gguf")
    assert not {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"} & set(keys)
    assert keys["tokenizer.ggml.suppress_tokens"] == [3]
    assert keys["general.sampling.top_p"] == 1
    assert "general.sampling.top_k" not in keys
    assert len([note for note in notes if "token_id is" in note]) == 2
    assert len([note for note in notes if note.startswith("generation_config.json")]) == 2


def test_without_a_begin_token_nothing_is_written(assistant_folder, tmp_path):
    """llama.cpp aborts at the first prompt of a Gemma 4 that names none."""
    config = content_of(assistant_folder, "config.json")
    config["text_config"] |= {"bos_token_id": True}
    write_json(assistant_folder / "config.json", config)
    write_json(assistant_folder / "tokenizer_config.json", {})
    with pytest.raises(BadFileError, match="bos_token_id"):
        converted(assistant_folder, tmp_path / "a.gguf")
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize("name", [*FILES, "README.md", "chat_template.jinja"])
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xff"])
def test_marks_and_other_encodings(name, mark, assistant_folder, tmp_path):
    """UTF-8's mark changes nothing; other encodings are named, or are no text."""
    contents = {"README.md": b"---\nlicense: mit\n---\n", "chat_template.jinja": b"{{ messages }}"}
    contents |= {"special_tokens_map.json": b"{}", "chat_template.json": b'{"chat_template": "x"}'}
    path = assistant_folder / name
    if not path.exists():
        path.write_bytes(contents[name])
    plain, _ = converted(assistant_folder, tmp_path / "plain.gguf")
    path.write_bytes(mark + path.read_bytes())
    if mark == b"\xef\xbb\xbf":
        marked, _ = converted(assistant_folder, tmp_path / "marked.gguf")
        own = "gemma_mtp."
        assert {k: v for k, v in marked.items() if own not in k} == {k: v for k, v in plain.items() if own not in k}
    else:
        with pytest.raises(CheckpointError, match=r"is UTF-16|no UTF-8 text|is not JSON") as caught:
            converted(assistant_folder, tmp_path / "marked.gguf")
        assert name in str(caught.value)


def test_the_types_of_what_is_written(assistant_folder, tmp_path):
    (assistant_folder / "README.md").write_text("---\ntags: [yes, 1]\ndatasets: [1, a/b]\nbase_model: 4\n---\n")
    converted(assistant_folder, tmp_path / "a.gguf")
    fields = gguf.GGUFReader(tmp_path / "a.gguf").fields
    assert fields["general.tags"].types[-1] == gguf.GGUFValueType.STRING
    assert fields["general.dataset.0.name"].types == [gguf.GGUFValueType.STRING]
    assert ValueType.STRING in fields["general.base_model.0.name"].types


def test_tokens_are_named_once_in_special_tokens_map(assistant_folder, tmp_path):
    """The older file counts where tokenizer_config.json does not describe its tokens, as in transformers."""
    tokens = content_of(assistant_folder, "tokenizer.json")["model"]["vocab"]
    word = next(token for token in tokens if token.isalpha())
    write_json(assistant_folder / "special_tokens_map.json", {"additional_special_tokens": [word]})
    kinds = {}
    for described in (False, True):
        config = content_of(PAIR / "assistant", "tokenizer_config.json")
        config.pop("added_tokens_decoder", None)
        write_json(
            assistant_folder / "tokenizer_config.json", config | ({"added_tokens_decoder": {}} if described else {})
        )
        keys, _ = converted(assistant_folder, tmp_path / "a.gguf")
        kinds[described] = keys["tokenizer.ggml.token_type"][tokens[word]]
    assert kinds == {False: 3, True: 1}
