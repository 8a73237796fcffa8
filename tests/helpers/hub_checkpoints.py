"""Checkpoints of the demo pair as repos of the local Hub."""

from __future__ import annotations

from helpers.local_hub.stub import HubStub

from gemma_mtp.demo.pair import PAIR

NAME = "tiny-gemma-4-it-assistant"


def add_checkpoint(stub: HubStub, repo: str, part: str = "assistant") -> str:
    stub.make_repo(repo)
    for path in sorted((PAIR / part).iterdir()):
        if path.is_file():
            stub.add_file(repo, path.name, path.read_bytes())
    return repo
