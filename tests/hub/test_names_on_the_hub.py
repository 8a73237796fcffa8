"""Wrong names on the Hub, and what is advised for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.local_hub.stub import HubStub
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.hub.download import fetch_checkpoint, fetch_file
from gemma_mtp.hub.source import parse_source
from gemma_mtp.sources.describe import inspect_model

HOSTILE = "a\x1b[31mb\x07[/c]"
REPO = "acme/gemma-4-tiny-it-GGUF"


def test_of_ggufs_the_assistant_is_advised(stub: HubStub):
    """A checkpoint is asked for to convert it, which of GGUF files can be done with an assistant's alone."""
    stub.make_repo(REPO)
    for name in ("gemma-4-tiny-it-BF16.gguf", "mtp-gemma-4-tiny-it-Q8_0.gguf"):
        stub.add_file(REPO, name, b"GGUF")
    with pytest.raises(BadFileError, match="no checkpoint") as caught:
        fetch_checkpoint(parse_source(REPO))
    assert caught.value.hint == f"it has GGUF files; name one, as in hf://{REPO}/mtp-gemma-4-tiny-it-Q8_0.gguf"


def test_a_wrong_name_is_wrong_usage(stub: HubStub):
    stub.make_repo(REPO)
    stub.add_file(REPO, "mtp-gemma-4-tiny-it-Q8_0.gguf", b"GGUF")
    for place in (f"{REPO}:Q4_0", f"hf://{REPO}/other.gguf"):
        with pytest.raises(UsageError, match="the repo has no"):
            inspect_model(place)
    with pytest.raises(UsageError, match="no file other"):
        fetch_file(f"hf://{REPO}/other.gguf")


def test_a_checkpoint_on_the_hub_is_described(stub: HubStub, assistant_gguf: Callable[[str], Path]):
    """As the GGUF that it converts to, by its headers."""
    repo = "acme/gemma-4-tiny-it-assistant"
    stub.make_repo(repo)
    for file in (PAIR / "assistant").iterdir():
        stub.add_file(repo, file.name, file.read_bytes())
    found, whole = inspect_model(repo), inspect_model(assistant_gguf("BF16"))
    assert {tensor.name: tensor.shape for tensor in found.tensors} == {t.name: t.shape for t in whole.tensors}
    assert "a checkpoint, seen as the GGUF it converts to" in found.note


@pytest.mark.parametrize("name", [f"mtp-{HOSTILE}-Q8_0.gguf", f"{HOSTILE}.gguf"])
def test_names_in_a_repo_act_on_no_terminal(stub: HubStub, name: str):
    """Among the files that are offered instead, and as the file that is read."""
    stub.make_repo(REPO)
    stub.add_file(REPO, name, b"GGUF")
    for words in (
        ["inspect", f"{REPO}:Q4_0"],
        ["inspect", REPO],
        ["convert", REPO],
        ["inspect", f"hf://{REPO}/x.gguf"],
    ):
        done = CliRunner().invoke(application(), words)
        assert isinstance(done.exception, SystemExit), done.exception
        assert not set(done.output) & set("\x1b\x07"), done.output
        assert r"\x1b[31m" in done.output


def test_a_servers_words_act_on_no_terminal(stub: HubStub):
    stub.make_repo(REPO)
    stub.fault(
        "GET", f"/api/models/{REPO}", 403, body={"error": HOSTILE}, headers={"X-Error-Message": "x[/b]"}, times=9
    )
    done = CliRunner().invoke(application(), ["inspect", REPO])
    assert done.exit_code == 3
    assert not set(done.output) & set("\x1b\x07")
