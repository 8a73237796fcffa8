"""The command in a process of its own, configured by nothing but the environment, as users have it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import commands
from helpers.local_hub.fixtures import WRITE_TOKEN
from helpers.local_hub.stub import HubStub

REPO = "alice/tiny-it-assistant-GGUF"
Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def run(stub: HubStub, tmp_path: Path) -> Run:
    """Runs `gemma-mtp ARGUMENTS` in an empty home, with HF_ENDPOINT naming the local Hub."""

    def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(tmp_path / "home"),
            "NO_PROXY": "127.0.0.1,localhost",
            "HF_ENDPOINT": stub.endpoint,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "GEMMA_MTP_HUB_TIMEOUT": "120",
            **variables,
        }
        return commands.command(*arguments, env=environment, cwd=tmp_path)

    return command


@pytest.fixture
def assistant(tmp_path: Path, assistant_gguf: Callable[[str], Path]) -> str:
    shutil.copyfile(assistant_gguf("Q8_0"), tmp_path / "mtp-tiny-it-Q8_0.gguf")
    return "mtp-tiny-it-Q8_0.gguf"


def test_push_with_a_token_in_the_environment(stub: HubStub, run: Run, assistant: str, tmp_path: Path):
    done = run("push", assistant, "--repo", REPO, HF_TOKEN=WRITE_TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{stub.endpoint}/{REPO}"
    entry = stub.repos[REPO]["commits"][-1]["tree"][assistant]
    assert stub.blob_path(entry["sha"]).read_bytes() == (tmp_path / assistant).read_bytes()
    assert WRITE_TOKEN not in done.stdout + done.stderr


def test_push_with_a_token_from_logging_in(stub: HubStub, run: Run, assistant: str, tmp_path: Path):
    token = tmp_path / "home" / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(WRITE_TOKEN)
    assert run("push", assistant, "--repo", REPO).returncode == 0
    assert REPO in stub.repos


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "not logged in"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_environment_problems_exit_with_3_and_no_traceback(run: Run, assistant: str, variables: dict, words: str):
    done = run("push", assistant, "--repo", REPO, **variables)
    assert done.returncode == 3
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_wrong_usage_exits_with_2(run: Run, assistant: str, tmp_path: Path):
    (tmp_path / assistant).rename(tmp_path / "tiny-it-assistant-Q8_0.gguf")
    done = run("push", "tiny-it-assistant-Q8_0.gguf", "--repo", REPO)
    assert done.returncode == 2
    assert "loads it as the target" in done.stderr


def test_the_token_is_in_no_output_no_log_and_no_file(stub: HubStub, run: Run, assistant: str, tmp_path: Path):
    """With everything that can be made to talk made to talk, the Xet library and failures included."""
    talkative = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "RUST_LOG": "trace", "HF_HUB_DISABLE_XET": "0"}
    talkative |= {"HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1", "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms"}
    xet = {"accessToken": "x" * 40, "exp": 4_000_000_000, "casUrl": "http://127.0.0.1:9"}
    stub.fault("GET", "/xet-write-token/", 200, body=xet, times=99)
    stub.fault("POST", "/commit/main", 403, body={"error": f"not with {WRITE_TOKEN}"}, times=1)
    for code in (3, 0):
        done = run("push", assistant, "--repo", REPO, HF_TOKEN=WRITE_TOKEN, **talkative)
        assert done.returncode == code, done.stderr
        assert "curl" in done.stderr, "nothing talked"
        assert WRITE_TOKEN not in done.stdout + done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if WRITE_TOKEN.encode() in path.read_bytes()]
