"""What a llama-server of upstream's makes of a preset.ini on the Hub, beside the drafters and in a repo of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.llama_running import free_port
from helpers.local_hub.stub import HubStub

TARGET, DRAFTER, PRESETS = "bob/tiny-it-GGUF", "alice/tiny-it-assistant-GGUF", "alice/tiny-it"
PRESET = f"""[tiny-it]
hf-repo = {TARGET}:Q8_0
hf-repo-draft = {DRAFTER}:Q8_0
spec-type = draft-mtp
load-on-startup = true
"""


@pytest.fixture
def hub(pair, tmp_path: Path) -> Iterator[HubStub]:
    with HubStub(tmp_path / "hub", resolve_cache=False) as stub:
        for repo, name, file in zip(
            (TARGET, DRAFTER), ("tiny-it-Q8_0.gguf", "mtp-tiny-it-Q8_0.gguf"), pair, strict=True
        ):
            stub.make_repo(repo)
            stub.add_file(repo, name, file.read_bytes(), lfs=True)
        yield stub


def downloads(stub: HubStub, llama_server: str, tmp_path: Path, *words: str) -> str:
    """The paths that a server with these words asks the Hub for, until it has both models or goes on without."""
    environment = {**os.environ, "HF_ENDPOINT": stub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    environment.update(NO_PROXY="127.0.0.1,localhost", HF_HUB_OFFLINE="")
    environment.pop("HF_HUB_OFFLINE")
    command = [llama_server, *words, "--host", "127.0.0.1", "--port", str(free_port())]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(1500):
                time.sleep(0.2)
                if b"load_model: loading model" in (tmp_path / "log").read_bytes() or process.poll() is not None:
                    break
        finally:
            process.kill()
            process.wait()
    return "\n".join(str(record) for record in stub.log)


DRAFTER_FILE = "mtp-tiny-it-Q8_0.gguf"


def test_without_a_preset_the_drafter_is_found(hub, llama_server, tmp_path):
    words = ("-hf", f"{TARGET}:Q8_0", "-hfd", f"{DRAFTER}:Q8_0", "--spec-type", "draft-mtp", "-c", "512")
    assert DRAFTER_FILE in downloads(hub, llama_server, tmp_path, *words)


def test_a_preset_beside_the_drafter_hides_it(hub, llama_server, tmp_path):
    hub.add_file(DRAFTER, "preset.ini", PRESET.encode())
    words = ("-hf", f"{TARGET}:Q8_0", "-hfd", f"{DRAFTER}:Q8_0", "--spec-type", "draft-mtp", "-c", "512")
    assert DRAFTER_FILE not in downloads(hub, llama_server, tmp_path, *words)


def test_a_preset_in_its_own_repo_brings_both(hub, llama_server, tmp_path):
    hub.make_repo(PRESETS)
    hub.add_file(PRESETS, "preset.ini", PRESET.encode())
    asked = downloads(hub, llama_server, tmp_path, "-hf", PRESETS)
    assert DRAFTER_FILE in asked
    assert b"draft-mtp" in (tmp_path / "log").read_bytes()
