"""`verify FILE --from SOURCE` with a source on the Hub: downloaded once, and named with the commit that was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.hub_checkpoints import add_checkpoint
from helpers.local_hub.stub import HubStub
from helpers.schemas import checked
from typer.testing import CliRunner

from gemma_mtp.cli.main import application

REPO, GGUF_REPO = "google/tiny-gemma-4-it-assistant", "acme/tiny-GGUF"


@pytest.fixture
def repos(stub: HubStub, assistant_gguf: Callable[[str], Path]) -> HubStub:
    """The checkpoint, with a later commit that has other weights, and the 16-bit GGUF of the first."""
    add_checkpoint(stub, REPO)
    stub.make_repo(GGUF_REPO)
    stub.add_file(GGUF_REPO, "mtp-tiny-BF16.gguf", assistant_gguf("BF16").read_bytes())
    return stub


def head(stub: HubStub, repo: str) -> str:
    return stub.repos[repo]["commits"][-1]["oid"]


def verify(path: Path, source: str, code: int = 0) -> dict:
    done = CliRunner().invoke(application(), ["verify", str(path), "--from", source, "--json"])
    assert done.exit_code == code, done.output
    return checked(done.stdout)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (REPO, f"{REPO}@COMMIT"),
        (f"{REPO}@main", f"{REPO}@COMMIT"),
        (f"{GGUF_REPO}:BF16", f"{GGUF_REPO}@COMMIT:BF16"),
        (f"hf://{GGUF_REPO}/mtp-tiny-BF16.gguf", f"hf://{GGUF_REPO}@COMMIT/mtp-tiny-BF16.gguf"),
    ],
)
def test_a_source_on_the_hub(repos: HubStub, assistant_gguf: Callable[[str], Path], place: str, named: str):
    found = verify(assistant_gguf("Q4_K_M"), place)
    repo = REPO if REPO in place else GGUF_REPO
    wanted = named.replace("COMMIT", head(repos, repo))
    assert found["origin"]["holds"]
    assert found["origin"]["source"] == wanted
    assert found["verdict"].endswith(f"has the bytes of Q4_K_M of {wanted}.")
    asked = len(repos.log)
    assert verify(assistant_gguf("Q4_K_M"), wanted)["origin"]["holds"], "what it says can be asked for"
    assert not [one for one in repos.log[asked:] if one["srv"] == "cdn"], "nothing is downloaded twice"


def test_another_revision_is_another_source(repos: HubStub, assistant_gguf: Callable[[str], Path]):
    first = head(repos, REPO)
    tree = repos.repos[REPO]["commits"][-1]["tree"]
    weights = bytearray(repos.blob_path(tree["model.safetensors"]["sha"]).read_bytes())
    weights[-1] ^= 1
    repos.add_file(REPO, "model.safetensors", bytes(weights))
    found = verify(assistant_gguf("BF16"), REPO, code=1)
    differs = [one["name"] for one in found["origin"]["tensors"] if one["wanted"] != one["found"]]
    assert len(differs) == 1
    assert found["verdict"].startswith(f"This assistant is not what it is said to be: not BF16 of {REPO}@")
    assert verify(assistant_gguf("BF16"), f"{REPO}@{first}")["origin"]["holds"]


def test_no_such_source(repos: HubStub, assistant_gguf: Callable[[str], Path]):
    for place, code in (("google/none", 3), (f"{REPO}@none", 3), (f"{GGUF_REPO}:Q8_0", 2)):
        done = CliRunner().invoke(application(), ["verify", str(assistant_gguf("BF16")), "--from", place])
        assert done.exit_code == code, (place, done.output)
        assert done.stdout == ""
