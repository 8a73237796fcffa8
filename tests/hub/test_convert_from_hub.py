"""`gemma-mtp convert` from the Hub, as a command: what it makes, what it keeps, what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.local_hub.stub import HubStub

from gemma_mtp.convert.provenance import FILES, HASHES, REPO, REVISION
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.hashing import sha256_of

REPO_NAME = "google/gemma-4-tiny-it-assistant"
CARD = b"---\nlicense: apache-2.0\nbase_model: google/gemma-4-tiny-it\n---\n# A card\n"


@pytest.fixture
def repo(stub: HubStub) -> str:
    stub.make_repo(REPO_NAME)
    for path in (PAIR / "assistant").iterdir():
        stub.add_file(REPO_NAME, path.name, path.read_bytes())
    stub.add_file(REPO_NAME, "README.md", CARD)
    return REPO_NAME


def convert(stub: HubStub, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    home = {"HF_ENDPOINT": stub.endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1,localhost"}
    kept = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    return command("convert", *arguments, cwd=folder, env={**kept, **home, **environment})


def test_a_repo(stub: HubStub, repo: str, tmp_path: Path):
    done = convert(stub, tmp_path, repo, "--type", "Q8_0", "--type", "Q4_0")
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in tmp_path.glob("*.gguf"))
    assert made == ["mtp-gemma-4-tiny-it-Q4_0.gguf", "mtp-gemma-4-tiny-it-Q8_0.gguf"]
    with GGUFFile(tmp_path / "mtp-gemma-4-tiny-it-Q8_0.gguf") as file:
        found = {key: value.decode() for key, value in file.metadata.items() if not key.startswith("tokenizer")}
    assert (found[REPO], found[REVISION]) == (repo, stub.repos[repo]["commits"][-1]["oid"])
    hashes = dict(zip(found[FILES], found[HASHES], strict=True))
    assert hashes["model.safetensors"] == sha256_of(PAIR / "assistant" / "model.safetensors")
    assert hashes["config.json"] == sha256_of(PAIR / "assistant" / "config.json")
    assert found["general.license"] == "apache-2.0"
    assert found["general.base_model.0.repo_url"] == "https://huggingface.co/google/gemma-4-tiny-it"
    before = len(stub.log)
    again = convert(stub, tmp_path, repo, "--type", "Q6_K", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert len(stub.log) == before


def test_a_gguf_of_another_dialect(stub: HubStub, assistant_gguf, tmp_path: Path):
    made = convert(stub, tmp_path, str(assistant_gguf("Q8_0")), "-o", "old.gguf", "--dialect", "atomic")
    assert made.returncode == 0, made.stderr
    stub.make_repo("AtomicChat/old")
    stub.add_file("AtomicChat/old", "gemma-4-tiny-it-assistant.Q8_0.gguf", (tmp_path / "old.gguf").read_bytes())
    done = convert(stub, tmp_path, "hf://AtomicChat/old/gemma-4-tiny-it-assistant.Q8_0.gguf", "-o", "new.gguf")
    assert done.returncode == 0, done.stderr
    with GGUFFile(tmp_path / "new.gguf") as new, GGUFFile(assistant_gguf("Q8_0")) as first:
        assert new.metadata == first.metadata
        assert list(new.tensors) == list(first.tensors)
        for name, tensor in new.tensors.items():
            assert new.data(tensor).tobytes() == first.data(first.tensors[name]).tobytes()


FAILURES = {
    "gated": ({"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, "gated", "accept"),
    "no such repo": ({"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}}, "no such repo", "spelling"),
    "another content": ({"corrupt": True, "srv": "cdn", "path": "/lfs/"}, "other content", "again"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_sentences(case: str, stub: HubStub, repo: str, tmp_path: Path):
    fault, words, remedy = FAILURES[case]
    fault = dict(fault)
    stub.fault("GET", fault.pop("path", "/api/models/"), fault.pop("status", 200), times=9, **fault)
    done = convert(stub, tmp_path, repo)
    assert done.returncode == 3
    assert words in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.gguf"))
