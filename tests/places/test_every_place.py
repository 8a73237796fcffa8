"""One grammar of places: every command takes every place that makes sense, and says what to do about the others."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from helpers.placed import FOLDERS, GGUFS, LONELY, PAIR_REPO, PLACES, SPLIT_FILES, Models
from helpers.servers import serving
from typer.testing import CliRunner, Result

from gemma_mtp.cli.main import application
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.hub.cache import RepoCache
from gemma_mtp.model.part import Part
from gemma_mtp.sources.pairs import pair_files

pytestmark = pytest.mark.usefixtures("hub")

every_gguf = pytest.mark.parametrize("place", GGUFS)
every_folder = pytest.mark.parametrize("place", FOLDERS)
LITTLE = ("-p", "def", "-n", "3", "-t", "1", "-c", "128")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files without a folder's name are written."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def call(*words: str | Path) -> Result:
    done = CliRunner().invoke(application(), [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def good(*words: str | Path) -> str:
    done = call(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*words: str | Path) -> str:
    done = call(*words)
    assert done.exit_code in (1, 2), done.output
    return " ".join(done.output.split())


# ------------------------------------------------------------------ what only reads


@pytest.mark.parametrize("place", PLACES)
def test_inspect(place: str, models: Models):
    shown = json.loads(good("inspect", PLACES[place](models, Part.ASSISTANT), "--json"))
    with GGUFFile(models[Part.ASSISTANT, "whole"]) as file:
        assert {tensor["name"] for tensor in shown["tensors"]} == file.tensors.keys()
    architecture = next(entry for entry in shown["metadata"] if entry["key"] == "general.architecture")
    assert architecture["value"] == "gemma4-assistant"


@pytest.mark.parametrize("place", PLACES)
def test_verify(place: str, models: Models):
    named = PLACES[place]
    report = json.loads(good("verify", named(models, Part.TARGET), named(models, Part.ASSISTANT), "--json"))
    assert report["verdict"]


@every_gguf
def test_quantize_list(place: str, models: Models):
    offers, expected = (
        json.loads(good("quantize", "--list", where, "--json"))
        for where in (GGUFS[place](models, Part.ASSISTANT), models[Part.ASSISTANT, "whole"])
    )
    assert offers == expected


@every_folder
@pytest.mark.parametrize("words", [("quantize", "--list"), ("quantize",)])
def test_a_checkpoint_is_not_quantized_but_converted(place: str, words: tuple[str, ...], models: Models):
    said = refused(*words, FOLDERS[place](models, Part.ASSISTANT), "Q8_0")
    assert "this is a checkpoint, and a GGUF is needed" in said
    assert "`gemma-mtp convert " in said


# ------------------------------------------------------------------ what writes


@every_folder
def test_convert_a_checkpoint(place: str, models: Models, elsewhere: Path):
    good("convert", FOLDERS[place](models, Part.ASSISTANT), "--type", "F16")
    name = "mtp-assistant-F16.gguf" if place == "folder" else "mtp-demo-F16.gguf"
    assert [path.name for path in elsewhere.iterdir()] == [name]


@every_gguf
def test_convert_a_gguf_to_another_dialect(place: str, models: Models, elsewhere: Path):
    place = GGUFS[place](models, Part.ASSISTANT)
    if "00001-of" in place:
        assert "llama-gguf-split --merge" in refused("convert", place, "--dialect", "ik")
        return
    good("convert", place, "--dialect", "ik")
    assert [path.name for path in elsewhere.iterdir()] == ["mtp-demo-BF16-ik.gguf"]


@every_gguf
def test_quantize(place: str, models: Models, elsewhere: Path):
    good("quantize", models[Part.ASSISTANT, "whole"], elsewhere / "expected.gguf", "Q8_0", "-t", "1")
    named = GGUFS[place](models, Part.ASSISTANT)
    good("quantize", named, elsewhere / "found.gguf", "Q8_0", "-t", "1")
    assert (elsewhere / "found.gguf").read_bytes() == (elsewhere / "expected.gguf").read_bytes()


@pytest.mark.parametrize("place", ["hf:// file", "split hf:// file", "repo with a type"])
def test_what_is_made_of_a_file_on_the_hub_lies_here(place: str, models: Models, elsewhere: Path):
    good("quantize", GGUFS[place](models, Part.ASSISTANT), "F16", "draft-q8", "-t", "1")
    assert {path.name for path in elsewhere.iterdir()} == {"mtp-demo-F16.gguf", "mtp-demo-draft-q8.gguf"}


@pytest.mark.parametrize("place", PLACES)
def test_make(place: str, models: Models, elsewhere: Path):
    named = PLACES[place](models, Part.ASSISTANT)
    if "00001-of" in named:
        assert "llama-gguf-split --merge" in refused("make", named, "--dialect", "ik")
        return
    good("make", named, "--type", "BF16") if place in FOLDERS else good("make", named, "--dialect", "ik")
    made = [path.name for path in elsewhere.glob("*.gguf")]
    assert made
    assert all(name.startswith("mtp-assistant" if place == "folder" else "mtp-demo") for name in made)


@pytest.mark.parametrize("place", PLACES)
def test_push_target(place: str, models: Models):
    named = PLACES[place](models, Part.TARGET)
    file = models[Part.ASSISTANT, "whole"]
    plan = json.loads(good("push", file, "--repo", "alice/drafters", "--target", named, "--dry-run", "--json"))
    assert plan["files"]


@pytest.mark.parametrize("place", PLACES)
def test_push_sends_whole_files_of_this_machine(place: str, models: Models):
    if place == "local file":
        return
    said = refused("push", PLACES[place](models, Part.ASSISTANT), "--repo", "alice/drafters", "--dry-run")
    what = "this is a checkpoint" if place == "folder" else "this is a part of" if place == "split file" else "already"
    assert what in said
    assert "hint:" in said


# ------------------------------------------------------------------ what decodes


@every_gguf
def test_run(place: str, models: Models):
    named = GGUFS[place]
    plain = json.loads(good("run", models[Part.TARGET, "whole"], "--no-draft", *LITTLE, "--json"))
    drafted = json.loads(good("run", named(models, Part.TARGET), named(models, Part.ASSISTANT), *LITTLE, "--json"))
    assert drafted["text"] == plain["text"]
    assert drafted["drafted"]


@every_folder
@pytest.mark.parametrize("words", [("run", *LITTLE), ("bench",), ("serve",), ("verify", "--run")])
def test_checkpoints_are_not_decoded_but_converted(place: str, words: tuple[str, ...], models: Models):
    named = FOLDERS[place]
    said = refused(words[0], named(models, Part.TARGET), named(models, Part.ASSISTANT), *words[1:])
    assert "this is a checkpoint, and a GGUF is needed" in said
    assert "gemma-mtp convert" in said


@pytest.mark.parametrize("place", ["local file", "split file", "repo", "hf:// file", "address"])
def test_without_an_assistant_the_one_beside_the_target_is_taken(place: str, models: Models):
    done = call("run", GGUFS[place](models, Part.TARGET), *LITTLE)
    assert done.exit_code == 0, done.output
    taken = SPLIT_FILES[Part.ASSISTANT] if place == "split file" else "mtp-demo-BF16.gguf"
    assert f"drafting with {taken}, which lies beside the target" in done.stderr


def test_bench_with_what_lies_beside_the_target(models: Models):
    words = ("--draft-max", "1", "--no-auto", "-n", "2", "-r", "1", "--category", "code", "-c", "512", "-t", "1")
    found = json.loads(good("bench", PAIR_REPO, *words, "--json"))
    assert found["assistant"]["file"] == "mtp-demo-BF16.gguf"
    assert (found["target"]["type"], found["assistant"]["type"]) == ("BF16", "BF16")


def test_a_repo_without_a_drafter_says_how_to_get_one():
    for command in ("run", "bench", "serve"):
        said = refused(command, LONELY)
        assert "the repo has no drafter (mtp-*.gguf) for gemma-4-E2B-it-BF16.gguf" in said
        assert "gemma-mtp convert google/gemma-4-E2B-it-assistant" in said
    assert not RepoCache.of(LONELY).blobs.exists()  # nothing was downloaded for that


def test_a_folder_without_a_drafter_says_how_to_get_one(models: Models, tmp_path: Path):
    target = tmp_path / "gemma-4-31B-it-Q4_0.gguf"
    target.write_bytes(models[Part.TARGET, "whole"].read_bytes())
    said = refused("run", target, *LITTLE)
    assert "its folder has no drafter" in said
    assert "gemma-mtp convert google/gemma-4-31B-it-assistant" in said


def test_a_folder_of_ggufs_is_told_from_a_checkpoint(models: Models):
    folder = models[Part.TARGET, "whole"].parent
    for words in (("inspect",), ("convert",), ("run", "--no-draft", "-p", "x"), ("quantize", "--list")):
        said = refused(words[0], folder, *words[1:])
        assert "this folder holds GGUF files and no checkpoint" in said
        assert "demo-BF16.gguf, mtp-demo-BF16.gguf" in said


# ------------------------------------------------------------------ the cache


def test_a_second_start_asks_the_hub_once_and_reads_no_blob_again(hub, models: Models, monkeypatch: pytest.MonkeyPatch):
    good("run", PAIR_REPO, *LITTLE)
    before = len(hub.log)
    done = call("run", PAIR_REPO, *LITTLE)
    assert "downloading" not in done.stderr
    assert "hashing" not in done.stderr
    assert len(hub.log) == before + 1


def test_offline_with_what_the_cache_has(hub, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    online = pair_files(PAIR_REPO)
    pair_files(LONELY, drafting=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.log)
    assert pair_files(PAIR_REPO) == online
    said = refused("run", LONELY, *LITTLE)
    assert "what the cache has of the repo (HF_HUB_OFFLINE is set) has no drafter" in said
    assert len(hub.log) == before


@pytest.mark.parametrize("place", ["split file", "repo", "address"])
def test_serve_with_what_lies_beside_the_target(place: str, hub, models: Models, tmp_path: Path, monkeypatch):
    pytest.importorskip("xllamacpp")
    for name, value in {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }.items():
        monkeypatch.setenv(name, value)
    with serving(GGUFS[place](models, Part.TARGET)) as served:
        served.process.send_signal(signal.SIGINT)
        _, said = served.process.communicate(timeout=60)
        assert "which lies beside the target" in said
