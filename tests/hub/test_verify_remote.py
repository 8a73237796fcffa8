"""`verify` and `inspect` over the Hub: the verdict of the local files, for a few header bytes."""

from __future__ import annotations

import pytest
from local_hub.stub import HubStub

from gemma_mtp.validate import Status, describe_file, verify_pair

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
    remote, local = describe_file(places[1]), describe_file(assistant_gguf("BF16"))
    assert (remote.metadata, remote.tensors, remote.size) == (local.metadata, local.tensors, local.size)
