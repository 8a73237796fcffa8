"""`gemma-mtp verify` and `gemma-mtp inspect` as commands: exit codes, where output goes, what is shown."""

from __future__ import annotations

import json

import pytest
from helpers.commands import command
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, changed

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.validate.checks import CHECKS


def test_good_pair(good_pair):
    done = command("verify", *good_pair)
    assert done.returncode == 0
    assert "This pair fits together." in done.stdout
    assert "Memory for 1,024 tokens" in done.stdout
    assert "WARNING" not in done.stdout
    assert done.stderr == ""


def test_json(good_pair):
    done = command("verify", *good_pair, "--json")
    content = json.loads(done.stdout)
    keys = {"schema", "ok", "part", "verdict", "notes", "memory", "devices", "run", "reference", "origin", "checks"}
    assert set(content) == keys
    assert len(content["checks"]) == len(CHECKS)
    assert content["memory"]["total"] == sum(content["memory"][side]["total"] for side in ("target", "assistant"))


def test_bad_pair(good_pair, tmp_path):
    other = changed(Model(ASSISTANT), {"sliding_window": 32}).write(tmp_path / "other.gguf")
    done = command("verify", good_pair[0], other)
    assert done.returncode == 1
    assert "ERROR the target's sliding window is 64 tokens" in done.stdout
    assert "what to do: use the assistant that belongs to this target" in done.stdout
    assert json.loads(command("verify", good_pair[0], other, "--json").stdout)["ok"] is False


def test_strict(good_pair, tmp_path):
    qat = changed(Model(TARGET), {"keys": {"general.finetune": gv.string("it-qat")}}).write(tmp_path / "qat.gguf")
    assert command("verify", qat, good_pair[1]).returncode == 0
    assert command("verify", qat, good_pair[1], "--strict").returncode == 1


def test_host(good_pair):
    done = command("verify", *good_pair, "--runtime", "llama.cpp@b10743", "--settings", "-sm tensor -np 2")
    assert done.returncode == 1
    assert "GGML_ASSERT(n_layer_nextn < n_layer_all)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("{bad}", "{good}"), 1, "not a GGUF file"),
        (("{missing}", "{good}"), 1, "no such file"),
        (("{good}", "{good}", "--runtime", "rwkv"), 2, "unknown"),
        (("{good}", "{good}", "--runtime", "vllm"), 2, "no GGUF"),
        (("{good}", "{good}", "--cache-type", "q9"), 2, "choose one of"),
    ],
)
def test_trouble(good_pair, tmp_path, arguments, code, says):
    """A sentence on stderr, no traceback, and the code of its kind."""
    bad = tmp_path / "bad.gguf"
    bad.write_text("not a model")
    names = {"bad": bad, "good": good_pair[0], "missing": tmp_path / "none.gguf"}
    done = command("verify", *(argument.format(**names) for argument in arguments))
    assert done.returncode == code
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect(good_pair):
    done = command("inspect", good_pair[1])
    assert done.returncode == 0
    for words in ("gemma4-assistant", "nextn.pre_projection.weight", "64 x 192", "49 tensors"):
        assert words in done.stdout


def test_inspect_json(good_pair):
    content = json.loads(command("inspect", good_pair[1], "--json").stdout)
    tensors = {tensor["name"]: tensor for tensor in content["tensors"]}
    keys = {entry["key"]: entry for entry in content["metadata"]}
    assert tensors["nextn.pre_projection.weight"]["shape"] == [64, 192]
    assert keys["tokenizer.ggml.tokens"]["count"] == 288
    assert keys["tokenizer.ggml.tokens"]["value"][:2] == ["<pad>", "<eos>"]
    assert content["size"] == good_pair[1].stat().st_size


def test_inspect_odd_values(tmp_path):
    """NaN is no JSON, long text is cut, and nothing in a file can send control characters to a terminal."""
    keys = {
        "odd.nan": gv.f32(float("nan")),
        "odd.long": gv.string("x" * 5000),
        "odd.escape\x1b[2J": gv.string("\x1b[31mred [bold]not bold[/]"),
    }
    path = changed(Model(TARGET), {"keys": keys}).write(tmp_path / "odd.gguf")
    found = {
        entry["key"]: entry["value"] for entry in json.loads(command("inspect", path, "--json").stdout)["metadata"]
    }
    assert found["odd.nan"] == "nan"
    assert found["odd.long"].endswith("(5,000 characters)")
    shown = command("inspect", path).stdout
    assert "\x1b" not in shown
    assert r"\x1b[31mred" in shown
    assert "[bold]not" in shown.replace("\n", " ")
