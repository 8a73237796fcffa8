"""The commands, from GGUFs to GGUFs, on the demo pair with an assistant that does not fit any more."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command
from helpers.lessons import DOCUMENTS, lesson_of, recorded
from helpers.schemas import checked

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from safetensors.numpy import load_file  # noqa: E402
from safetensors.numpy import save as save_arrays  # noqa: E402

from gemma_mtp.adapt.network import SETS, build  # noqa: E402
from gemma_mtp.adapt.signals import ANSWER  # noqa: E402
from gemma_mtp.adapt.teacher import teach  # noqa: E402
from gemma_mtp.adapt.texts import Document, hold_out  # noqa: E402
from gemma_mtp.adapt.weights import open_weights  # noqa: E402
from gemma_mtp.adapt.writing import write_gguf  # noqa: E402
from gemma_mtp.cli.main import application  # noqa: E402
from gemma_mtp.files.gguf_reader import GGUFFile  # noqa: E402
from gemma_mtp.files.scratch import scratch_folder  # noqa: E402
from gemma_mtp.model.part import Part  # noqa: E402
from gemma_mtp.publish.assistant_file import read_assistant  # noqa: E402
from gemma_mtp.publish.card import write_card  # noqa: E402
from gemma_mtp.publish.facts import Facts  # noqa: E402
from gemma_mtp.quantize import read_imatrix  # noqa: E402
from gemma_mtp.validate import verify_pair  # noqa: E402

SMALL = ["--length", "200", "--openings", "6", "--continuation", "24", "-t", "1"]


def run(*words: object) -> int:
    code = application()([str(word) for word in words], standalone_mode=False)
    return int(code or 0)


@pytest.fixture(scope="session")
def misfit(assistant_gguf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo assistant with a pre_projection that is off, as a BF16 GGUF: what another target makes of it."""
    path = tmp_path_factory.mktemp("misfit") / "mtp-misfit-BF16.gguf"
    with open_weights(assistant_gguf("BF16"), Part.ASSISTANT) as weights:
        network = build(weights)
        torch.manual_seed(2)
        weight = network.weights["nextn.pre_projection.weight"]
        weight += 2.5 * weight.std() * torch.randn_like(weight)
        network.train(SETS["body"])
        write_gguf(weights, network, path, {})
    return path


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "functions.jsonl"
    path.write_text("".join(f"{json.dumps({'text': document.text})}\n" for document in DOCUMENTS))
    return path


@pytest.fixture(scope="session")
def adapted(misfit, texts, target_gguf, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """What `adapt` makes of it, with a Q8_0 target, in two types, and its report."""
    folder = tmp_path_factory.mktemp("adapted")
    words = ["adapt", target_gguf("Q8_0"), misfit, "--text", texts, "-o", folder, "--type", "Q8_0"]
    words += [
        "--type",
        "Q4_0",
        "--type",
        "BF16",
        "--tokens",
        "3k",
        "--epochs",
        "2",
        "--held-out",
        "0.2",
        "--signals",
        folder / "signals",
        "--json",
        *SMALL,
    ]
    out = command(*words)
    assert out.returncode == 0, out.stderr
    return folder, checked(out.stdout)


def test_gguf_in_gguf_out(adapted, target_gguf, misfit):
    folder, report = adapted
    files = sorted(folder.glob("*.gguf"))
    assert [path.name for path in files] == [f"mtp-target-{kind}.gguf" for kind in ("BF16", "Q4_0", "Q8_0")]
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".gguf") == ["signals"]
    replay, loop = report["replay"], report["loop"]
    assert replay["after"]["first"] > replay["before"]["first"] + 0.03
    assert loop["after"]["greedy"]["acceptance"] > loop["before"]["greedy"]["acceptance"]
    assert report["gain"]["tokens_a_round"] > 2 * report["gain"]["standard_error"] > 0
    for path in files:
        assert verify_pair(target_gguf("Q8_0"), path).ok
    with open_weights(misfit, Part.ASSISTANT) as old, open_weights(files[0], Part.ASSISTANT) as new:
        for name in ("blk.0.layer_output_scale.weight", "rope_freqs.weight"):
            assert np.array_equal(old.whole(name), new.whole(name))
        assert not np.array_equal(old.whole("blk.0.attn_norm.weight"), new.whole("blk.0.attn_norm.weight"))


def test_the_file_tells_where_it_comes_from(adapted, target_gguf):
    folder, report = adapted
    with GGUFFile(folder / "mtp-target-Q8_0.gguf") as file:
        said = {key: value.decode() for key, value in file.metadata.items() if "adapt" in key or "base_model" in key}
    assert said["general.base_model.count"] == 2
    assert said["gemma_mtp.adapt.tokens"] == report["tokens"]
    assert len(said["gemma_mtp.adapt.target.sha256"]) == 64
    assert said["gemma_mtp.adapt.before"][0] < said["gemma_mtp.adapt.after"][0]
    file = read_assistant(folder / "mtp-target-Q8_0.gguf")
    assert file.adapted
    card = write_card(Facts("me/repo", [file]), None)
    assert "## Adapted" in card
    assert f"{file.adapted.after[0]:.1%}" in card
    assert said["gemma_mtp.adapt.target.sha256"] in card


def test_the_head_keeps_its_bytes(adapted, misfit):
    """In a type that it has already."""
    with GGUFFile(misfit) as old, GGUFFile(adapted[0] / "mtp-target-BF16.gguf") as new:
        name = "token_embd.weight"
        assert old.data(old.tensors[name]).tobytes() == new.data(new.tensors[name]).tobytes()


def test_questions_that_a_base_model_goes_on_with(target_gguf, tmp_path: Path):
    """Written side by side, from the journal when asked again; answers that loop are dropped and counted."""
    asked = [
        Document("q", messages=(("user", f"def {name}(self, path):\n    "),)) for name in ("read", "write", "open", "x")
    ]
    documents = tuple(hold_out(asked, 0.25, 1))
    changes = {"tokens": 400, "answer": 30, "openings": 2, "continuation": 12}
    signals = recorded(target_gguf("Q8_0"), tmp_path / "s", documents, **changes)
    written = signals.some(kinds=(ANSWER,))
    assert {place.held for place in written} == {True, False}
    assert len(written) + signals.about["dropped"] == 4
    assert all(place.begin > 4 and place.length - place.begin <= 30 for place in written)
    *_, again = teach(lesson_of(target_gguf("Q8_0"), tmp_path / "s", documents, **changes))
    assert again.written == 0


def test_signals_with_shuffled_labels_teach_nothing(adapted, tmp_path: Path, target_gguf, capfd, assistant_gguf):
    """The target's words in any order: the loop is no better than before, so there is no file, and exit code 1."""
    source, folder = adapted[0] / "signals", tmp_path / "signals"
    folder.mkdir()
    (folder / "signals.json").write_bytes((source / "signals.json").read_bytes())
    random = np.random.default_rng(1)
    for shard in source.glob("shard-*.safetensors"):
        arrays = load_file(shard)
        mixed = random.permutation(len(arrays["top_ids"]))
        arrays |= {name: np.ascontiguousarray(arrays[name][mixed]) for name in ("top_ids", "top_logs")}
        (folder / shard.name).write_bytes(save_arrays(arrays))
    words = ["--signals", folder, "-o", tmp_path / "x.gguf", "--epochs", "1", *SMALL]
    assert run("adapt", target_gguf("Q8_0"), assistant_gguf("BF16"), *words) == 1
    assert "no file was written" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["signals"]


def test_a_rate_of_nothing_gains_nothing(adapted, misfit, tmp_path: Path, target_gguf, capfd):
    words = ["--signals", adapted[0] / "signals", "--rate", "0", "-o", tmp_path / "x.gguf", "--epochs", "0.2", *SMALL]
    assert run("adapt", target_gguf("Q8_0"), misfit, *words) == 1
    assert "did not rise" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_signals_of_another_target_are_refused(adapted, misfit, tmp_path: Path, target_gguf, capfd):
    words = ["--signals", adapted[0] / "signals", "-o", tmp_path / "x.gguf", *SMALL]
    assert run("adapt", target_gguf("Q4_0"), misfit, *words) == 2
    assert "another target" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_at_any_stage_nothing_has_a_final_name(misfit, texts, tmp_path: Path, target_gguf):
    """And the next run removes what was left, and takes up the signals."""
    out, signals = tmp_path / "mtp-x-Q8_0.gguf", tmp_path / "signals"
    words = ["adapt", target_gguf("Q8_0"), misfit, "--text", texts, "-o", out, "--signals", signals]
    words += ["--tokens", "2k", "--held-out", "0.2", *SMALL]
    shards = []
    for stage in ("recording", "training", "measuring"):
        child = subprocess.Popen(
            [sys.executable, "-m", "gemma_mtp", *map(str, words)], stderr=subprocess.PIPE, text=True
        )
        for line in child.stderr:
            if line.startswith(stage):
                break
        child.kill()
        child.communicate()
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["signals"]
        assert len(list(tmp_path.glob(".*"))) == 1
        shards.append({path.name: path.stat().st_mtime_ns for path in signals.glob("shard-*")})
    assert shards[1] == shards[2]
    assert shards[0].items() <= shards[1].items()
    with scratch_folder(tmp_path):
        assert len(list(tmp_path.glob(".*"))) == 1
    assert not list(tmp_path.glob(".*"))


def test_measuring(misfit, assistant_gguf, target_gguf, capfd):
    sizes = ["--openings", "3", "--continuation", "24", "-t", "1"]
    target, sound = target_gguf("Q8_0"), assistant_gguf("BF16")
    assert run("adapt", "--measure", target, misfit, sound, *sizes, "--json") == 0
    said = checked(capfd.readouterr().out)
    off, right = said["measured"]
    assert off["texts"] == right["texts"] == 3
    assert off["greedy"]["acceptance"] < right["greedy"]["acceptance"]
    assert "not known" in " ".join(said["verdict"])
    assert run("adapt", "--measure", target, sound, *sizes, "--original", target_gguf("F32")) == 0
    out = capfd.readouterr().out
    assert "nothing is lost that adapting could repair" in out
    assert "tokens a round" in out


def test_an_estimate_reads_headers_alone(misfit, target_gguf, capfd):
    assert run("adapt", target_gguf("Q8_0"), misfit, "--dry-run", "--tokens", "10k", "--json") == 0
    said = checked(capfd.readouterr().out)
    assert said["tokens"] == 10_000
    assert said["minutes"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tokens", "many"], "no number of tokens"),
        ([], "nothing to learn from"),
        (["--text", "{texts}", "-o", "{there}"], "exists already"),
        (["--text", "{texts}", "-o", "{new}", "--safetensors", "{new}.d"], "a checkpoint needs"),
        (["--text", "{texts}", "-o", "{new}", "--type", "Q99"], "Q99"),
        (["--prompts", "{questions}", "-o", "{new}"], "no chat template"),
    ],
)
def test_wrong_usage(words, told, misfit, texts, target_gguf, tmp_path: Path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.gguf").write_text("mine")
    talk = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    lines = [json.dumps({"messages": talk}), json.dumps({"messages": [{"role": "user", "content": "Why?"}]})]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    names = {"texts": texts, "there": tmp_path / "there.gguf", "new": tmp_path / "new.gguf"}
    names["questions"] = tmp_path / "questions.jsonl"
    words = [word.format(**names) for word in words]
    assert run("adapt", target_gguf("Q8_0"), misfit, *words, *SMALL) == 2
    assert told in capfd.readouterr().err
    assert (tmp_path / "there.gguf").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["questions.jsonl", "there.gguf"]


def test_an_importance_matrix(assistant_gguf, target_gguf, tmp_path: Path):
    """Of a single text, for nothing is held out: nothing is measured."""
    source = assistant_gguf("BF16")
    (tmp_path / "one.txt").write_text("\n".join(document.text for document in DOCUMENTS))
    words = ["--text", tmp_path / "one.txt", "-o", tmp_path / "i.gguf", "--tokens", "2k", "--length", "200", "-t", "1"]
    assert run("imatrix", target_gguf("Q8_0"), source, *words) == 0
    matrix = read_imatrix(tmp_path / "i.gguf")
    with GGUFFile(source) as file:
        shapes = {name: tensor.shape for name, tensor in file.tensors.items() if len(tensor.shape) == 2}
    assert matrix.entries.keys() == shapes.keys()
    assert all(len(matrix.entries[name]) == shapes[name][-1] for name in shapes)
    assert all((values > 0).any() and (values >= 0).all() for values in matrix.entries.values())
    assert run("quantize", source, tmp_path / "q.gguf", "IQ2_S", "--imatrix", tmp_path / "i.gguf") == 0


def test_a_type_that_needs_a_matrix_names_the_command_that_makes_it(
    assistant_gguf, target_gguf, texts, tmp_path: Path, capfd
):
    """The hint, followed as printed, with its stand-ins for the files' names."""
    names = {
        "TARGET.gguf": target_gguf("Q8_0"),
        "ASSISTANT.gguf": assistant_gguf("BF16"),
        "TEXTS.jsonl": texts,
        "IMATRIX.gguf": tmp_path / "i.gguf",
    }
    asked = ["quantize", names["ASSISTANT.gguf"], tmp_path / "q.gguf", "IQ2_S"]
    assert run(*asked) == 2
    words = shlex.split(capfd.readouterr().err.split("`")[1])
    assert run(*[names.get(word, word) for word in words[1:]], "--tokens", "1k", "--length", "200", "-t", "1") == 0
    assert run(*asked, "--imatrix", names["IMATRIX.gguf"]) == 0
