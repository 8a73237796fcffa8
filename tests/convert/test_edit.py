"""`edit` changes keys and nothing else; `diff` and `inspect KEY` see exactly that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from helpers.commands import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.convert.edit import Changes, edit_file
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.sources.describe import value_of
from gemma_mtp.validate.differences import differences


@pytest.fixture(scope="module")
def target(target_gguf) -> Path:
    return target_gguf("Q8_0")


def tensors(path: Path) -> dict[str, bytes]:
    return {one.name: np.asarray(one.data).tobytes() for one in GGUFReader(path).tensors}


def test_keys_change_and_weights_do_not(target, tmp_path):
    new = tmp_path / "new.gguf"
    settings = ("general.name=Another", "gemma4.rope.freq_base=2000.5", "my.flag=bool:true", "my.text=plain: text")
    done = edit_file(target, new, Changes(settings, ("general.size_label",)))
    assert tensors(new) == tensors(target)
    fields = GGUFReader(new).fields
    assert fields["general.name"].contents() == "Another"
    assert fields["gemma4.rope.freq_base"].contents() == 2000.5
    assert fields["my.flag"].contents() is True
    assert fields["my.text"].contents() == "plain: text"
    assert "general.size_label" not in fields
    assert set(done.changed) == {"general.name", "gemma4.rope.freq_base", "my.flag", "my.text", "general.size_label"}
    assert done.changed["my.flag"] == (None, "BOOL True")


def test_a_template_goes_in_and_comes_out_whole(target, tmp_path):
    template = tmp_path / "t.jinja"
    template.write_text("{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}ünï" * 50, encoding="utf-8")
    edit_file(target, tmp_path / "new.gguf", Changes(chat_template=template))
    shown = command("inspect", tmp_path / "new.gguf", "tokenizer.chat_template")
    assert shown.stdout.removesuffix("\n") == template.read_text(encoding="utf-8")


def test_nothing_changed_is_the_same_file(target, tmp_path):
    edit_file(target, tmp_path / "new.gguf", Changes())
    assert (tmp_path / "new.gguf").read_bytes() == target.read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(("general.name",)), "no change"),
        (Changes(("gemma4.block_count=many",)), "UINT32"),
        (Changes(("gemma4.block_count=-1",)), "UINT32"),
        (Changes(("gemma4.block_count=99999999999",)), "UINT32"),
        (Changes(("tokenizer.ggml.tokens=a",)), "list"),
        (Changes(unset=("general.nme",)), "no key"),
        (Changes(("split.count=uint16:2",)), "writer's"),
        (Changes(("new.key=int:x",)), "INT32"),
        (Changes(("general.name=\udc80",)), "UTF-8"),
    ],
)
def test_what_cannot_be_said(changes, words, target, tmp_path):
    with pytest.raises(UsageError) as error:
        edit_file(target, tmp_path / "new.gguf", changes)
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        Changes(unset=("gemma4.block_count",)),
        Changes(("gemma4.block_count=9",)),
        Changes(("general.architecture=llama",)),
    ],
)
def test_what_llama_cpp_could_not_use_is_not_written(changes, target, tmp_path):
    with pytest.raises(BadFileError):
        edit_file(target, tmp_path / "new.gguf", changes)
    assert list(tmp_path.iterdir()) == []


def test_never_in_place_unless_told_so(target, tmp_path):
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(target.read_bytes())
    assert command("edit", mine, "--set", "general.name=x").returncode == 2
    assert command("edit", mine, "-o", mine, "--set", "general.name=x").returncode == 2
    assert mine.read_bytes() == target.read_bytes()
    assert command("edit", mine, "--in-place", "--set", "general.name=x").returncode == 0
    assert value_of(mine, "general.name").value == "x"
    assert tensors(mine) == tensors(target)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(text=st.text())
def test_any_text_comes_out_as_it_went_in(text, target, tmp_path):
    edit_file(target, tmp_path / "any.gguf", Changes((f"general.name={text}",)), force=True)
    assert value_of(tmp_path / "any.gguf", "general.name").value == text


def test_differences_are_those_that_were_made(target, tmp_path):
    new = tmp_path / "new.gguf"
    edit_file(target, new, Changes(("general.name=x",)))
    found = differences(str(target), str(new))
    assert [(one.what, one.name, one.right) for one in found.found] == [("key", "general.name", "STRING x")]
    raw = bytearray(new.read_bytes())
    raw[-1] ^= 1
    new.write_bytes(raw)
    assert [(one.what, "1 of" in (one.right or "")) for one in differences(str(target), str(new)).found] == [
        ("key", False),
        ("tensor", True),
    ]


def test_a_file_does_not_differ_from_itself(target, assistant_gguf):
    same = differences(str(target), str(target))
    assert (same.found, same.not_compared) == ((), 0)
    assert same.keys > 20
    other = differences(str(target), str(assistant_gguf("Q8_0")))
    assert other.keys + sum(one.what == "key" and one.left is not None for one in other.found) == same.keys


def test_types_that_differ_are_told(target, target_gguf):
    found = differences(str(target), str(target_gguf("BF16"))).found
    assert any(
        one.what == "tensor" and one.left and "Q8_0" in one.left and "BF16" in (one.right or "") for one in found
    )


def test_the_commands(target, assistant_gguf, tmp_path):
    assert command("diff", target, target).returncode == 0
    other = command("diff", target, assistant_gguf("Q8_0"), "--json")
    assert other.returncode == 1
    assert json.loads(other.stdout)["differences"]
    assert command("inspect", target, "general.architecture").stdout == "gemma4\n"
    assert command("inspect", target, "tokenizer.ggml.tokens").stdout.count("\n") > 2000
    wrong = command("inspect", target, "general.architectur")
    assert wrong.returncode == 2
    assert "general.architecture" in wrong.stderr


def test_tensors_by_size(target):
    found = json.loads(command("inspect", target, "--sort", "size", "--json").stdout)
    sizes = [tensor["bytes"] for tensor in found["tensors"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(found["bytes_by_layer"].values()) == sum(sizes)
    assert "blk.0" in found["bytes_by_layer"]
    table = command("inspect", target, "--tensors", "--sort", "size").stdout
    assert "general.architecture" not in table
    assert table.index("token_embd.weight") < table.index("blk.0.attn_norm.weight")
