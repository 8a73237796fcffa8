"""`verify` and `inspect` over the Hub: the verdict of the local files, for a few header bytes."""

from __future__ import annotations

import pytest
from helpers.local_hub.stub import HubStub

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.hub.download import fetch_checkpoint
from gemma_mtp.sources.describe import inspect_model
from gemma_mtp.validate import Status, verify_pair

REPO = "acme/tiny-GGUF"


@pytest.fixture
def places(stub: HubStub, target_gguf, assistant_gguf) -> tuple[str, str]:
    stub.make_repo(REPO)
    files = {"tiny-BF16.gguf": target_gguf("BF16"), "mtp-tiny-BF16.gguf": assistant_gguf("BF16")}
    for name, path in files.items():
        stub.add_file(REPO, name, path.read_bytes())
    first, second = files
    return f"hf://{REPO}/{first}", f"hf://{REPO}/{second}"


def test_same_verdict_as_local(places, target_gguf, assistant_gguf):
    local, remote = verify_pair(target_gguf("BF16"), assistant_gguf("BF16")), verify_pair(*places)
    assert remote.ok is local.ok
    assert remote.memory == local.memory
    for mine, theirs in zip(local.results, remote.results, strict=True):
        assert theirs.status in (mine.status, Status.SKIPPED)


def test_data_checks_say_that_they_were_skipped(places):
    skipped = {
        result.id: result.finding.message for result in verify_pair(*places).results if result.status == "skipped"
    }
    assert {"target-finite", "assistant-finite", "rope-factors"} <= skipped.keys()
    assert "only its header was read" in skipped["target-finite"]


def test_says_how_much_was_read(places):
    notes = verify_pair(*places).notes
    assert len(notes) == 2
    assert all("bytes read, in" in note and "request" in note for note in notes)


def test_inspect(places, assistant_gguf):
    remote, local = inspect_model(places[1]), inspect_model(assistant_gguf("BF16"))
    assert (remote.metadata, remote.tensors, remote.size) == (local.metadata, local.tensors, local.size)
    assert "bytes read, in" in remote.note
    assert not local.note


@pytest.fixture
def checkpoints(stub: HubStub) -> tuple[str, str]:
    """The demo pair's checkpoints as repos."""
    for part in ("target", "assistant"):
        stub.make_repo(f"acme/{part}")
        for path in sorted((PAIR / part).iterdir()):
            stub.add_file(f"acme/{part}", path.name, path.read_bytes())
    return "acme/target", "acme/assistant"


def test_checkpoints_on_the_hub(stub: HubStub, checkpoints):
    """Config, tokenizer and headers tell the same as the whole folder; weights are not downloaded."""
    local, remote = verify_pair(PAIR / "target", PAIR / "assistant"), verify_pair(*checkpoints)
    assert remote.ok
    assert remote.memory == local.memory
    for mine, theirs in zip(local.results[2:], remote.results[2:], strict=True):
        if theirs.status is not Status.SKIPPED:
            assert theirs == mine
    weights = [r for r in stub.log if r["path"].endswith(".safetensors") and r["srv"] == "hub"]
    assert len(weights) == 2
    assert all("a checkpoint, seen as the GGUF" in note for note in remote.notes)


def test_a_snapshot_in_the_cache_has_its_repos_name(checkpoints):
    folder = fetch_checkpoint(checkpoints[0]).folder
    report = verify_pair(folder, checkpoints[1])
    assert next(result.finding.target for result in report.results if result.id == "fine-tune") == "Target"


def test_a_checkpoint_and_a_file_of_it(checkpoints, places):
    assert verify_pair(checkpoints[0], places[1]).ok
    assert verify_pair(places[0], checkpoints[1]).ok


def test_a_type_names_the_files_of_a_repo(places):
    """`owner/repo:QUANT`, for both parts of one repo."""
    report = verify_pair(f"{REPO}:BF16", f"{REPO}:BF16")
    assert report.ok
    assert [note.split(":")[1].split("@")[0] for note in report.notes] == [f"//{REPO}"] * 2
    assert "mtp-tiny-BF16.gguf" in report.notes[1]


def test_a_header_takes_one_or_two_range_requests(stub: HubStub, places):
    verify_pair(*places)
    for name in ("/tiny-BF16.gguf", "/mtp-tiny-BF16.gguf"):
        assert 1 <= sum(r["path"].endswith(name) and r["srv"] == "hub" for r in stub.log) <= 2
