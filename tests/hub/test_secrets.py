"""No secret is left behind by any command, whether it succeeds or fails: not on a stream, in a file, or on the Hub."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import commands
from helpers.local_hub.stub import HubStub

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import GemmaMtpError
from gemma_mtp.redaction import redact

USER, PASSWORD, TOKEN = "alicesuser", "s3cretPassw0rd", "hf_" + "q" * 34
IN_ARGUMENT = "argumentS3cret"
SECRETS = (PASSWORD, TOKEN, IN_ARGUMENT)
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CHECKPOINT, GGUFS, REPO = "google/tiny-it-assistant", "acme/tiny-GGUF", "alice/tiny-it-assistant-GGUF"
FILE = "mtp-tiny-it-BF16.gguf"
ADDRESS = f"https://bob:{IN_ARGUMENT}@huggingface.co/{CHECKPOINT}"

#: What is run, and how it may end.
COMMANDS: dict[str, tuple[list[str], int | None]] = {
    "push": (["push", FILE, "--repo", REPO, "--collection", "Drafters", "--json"], 0),
    "push again": (["push", FILE, "--repo", REPO], 0),
    "push dry": (["push", FILE, "--repo", REPO, "--dry-run"], 0),
    "verify": (["verify", f"hf://{GGUFS}/target.gguf", f"hf://{GGUFS}/{FILE}", "--json"], 0),
    "verify --hub": (["verify", f"hf://{GGUFS}/target.gguf", FILE, "--hub", GGUFS, "--json"], 0),
    "convert": (["convert", CHECKPOINT, "--json", "--force"], 0),
    "make": (["make", CHECKPOINT, "--type", "BF16", "-o", "out", "--push", "alice/made-GGUF", "--json"], 0),
    "make --all": (["make", "--all", "google", "--type", "BF16", "-o", "out", "--dry-run", "--json"], 0),
    "missing repo": (["convert", "google/missing"], 3),
    "missing file": (["convert", f"hf://{GGUFS}/missing.gguf"], 2),
    "somebody else's": (["push", FILE, "--repo", "bob/x"], 3),
    "address": (["convert", ADDRESS], 2),
    "address of a file": (["verify", f"{ADDRESS}/blob/main/x.gguf?token={IN_ARGUMENT}", FILE], 2),
    "scheme": (["verify", f"hf://bob:{IN_ARGUMENT}@host/x", FILE], 2),
    "parameter": (["convert", f"hf.example/x?access_token={IN_ARGUMENT}"], 1),
    "repo": (["push", FILE, "--repo", ADDRESS], 2),
    "base model": (["push", FILE, "--repo", REPO, "--base-model", ADDRESS], 2),
    "collection": (["push", FILE, "--repo", REPO, "--collection", f"https://b:{IN_ARGUMENT}@h/c"], 2),
    "target": (["push", FILE, "--repo", REPO, "--target", ADDRESS], 2),
    "make, address": (["make", ADDRESS, "--json"], 2),
    "jobs": (["make", "jobs.toml", "--json"], 2),
    "token for a repo": (["convert", TOKEN], 1),
    **{
        name: ([name, f"{ADDRESS}?token={IN_ARGUMENT}", *more], None)
        for name, more in {
            "run": [FILE, "-p", "x"],
            "bench": [FILE],
            "serve": [FILE],
            "inspect": [],
            "quantize": ["out.gguf", "Q8_0"],
        }.items()
    },
}
#: What the Hub does meanwhile: method, path, fault.
TROUBLE: dict[str, tuple[str, str, dict]] = {
    "refuses": ("*", "/", {"status": 403, "body": {"error": f"{BASIC} and Bearer {TOKEN} may not"}}),
    "fails": ("*", "/", {"status": 500, "body": {"error": f"at http://{USER}:{PASSWORD}@proxy/?token={TOKEN}"}}),
    "hangs up": ("*", "/", {"drop_after": 1}),
    "is a page": ("*", "/", {"status": 200, "body": b"<html>log in</html>"}),
}
#: Short pauses between its attempts.
QUICK = "from gemma_mtp.hub import client; client.DELAYS = (0.01,)"
#: Other values of HF_ENDPOINT, and how a command ends with them.
ENDPOINTS = {
    "nobody there": (f"http://{USER}:{PASSWORD}@127.0.0.1:9", 3),
    "no port": (f"http://{USER}:{PASSWORD}@127.0.0.1:port", 2),
    "slash in the password": (f"http://{USER}:{PASSWORD}/x@127.0.0.1:9", 2),
    "no scheme": (f"{USER}:{PASSWORD}@127.0.0.1:9", 2),
    "no host": (f"http://{USER}:{PASSWORD}@", 2),
    "odd host": (f"http://{USER}:{PASSWORD}@\u2603-.\u2603\u0300\u200d:9", 3),
    "parameter": ("http://127.0.0.1:9/?token=" + PASSWORD, 3),
}


@pytest.fixture
def work(stub: HubStub, tmp_path: Path, assistant_gguf, target_gguf) -> Path:
    """A folder with an assistant and jobs, and the same on the Hub."""
    stub.tokens[BASIC] = {"name": "alice", "orgs": [], "role": "write"}
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copyfile(assistant_gguf("BF16"), folder / FILE)
    (folder / "jobs.toml").write_text(f'[[job]]\nsource = "{ADDRESS}"\n')
    for repo in (CHECKPOINT, GGUFS):
        stub.make_repo(repo)
    for path in sorted((PAIR / "assistant").iterdir()):
        if path.is_file():
            stub.add_file(CHECKPOINT, path.name, path.read_bytes())
    stub.add_file(GGUFS, "target.gguf", target_gguf("BF16").read_bytes())
    stub.add_file(GGUFS, FILE, (folder / FILE).read_bytes())
    return folder


@pytest.fixture
def run(stub: HubStub, work: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def command(
        arguments: list[str], endpoint: str | None = None, before: str = QUICK
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "HF_HOME": str(work / "hf"),
            "NO_PROXY": "127.0.0.1,localhost",
            "HF_ENDPOINT": endpoint or stub.endpoint.replace("://", f"://{USER}:{PASSWORD}@"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "GEMMA_MTP_HUB_TIMEOUT": "120",
        }
        return commands.command(*arguments, env=environment, cwd=work, before=before)

    return command


def assert_nothing_left(work: Path, stub: HubStub, done: subprocess.CompletedProcess[str]) -> None:
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    for secret in SECRETS:
        assert secret not in output
        for path in work.rglob("*"):
            assert secret not in str(path)
            if path.is_file() and path.name != "jobs.toml":
                assert secret.encode() not in path.read_bytes(), path
        for blob in (stub.root / "blobs").iterdir():
            assert secret.encode() not in blob.read_bytes()
    assert not [record for record in stub.log if any(secret in record.get("body", "") for secret in SECRETS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_a_command_leaves_has_no_secret(name: str, run, work: Path, stub: HubStub):
    arguments, code = COMMANDS[name]
    done = run(arguments)
    assert done.returncode == code or (code is None and done.returncode in (1, 2, 3)), done.stderr
    assert_nothing_left(work, stub, done)


@pytest.mark.parametrize("name", ["push", "verify", "convert", "make"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_nor_has_what_it_leaves_when_the_hub_fails(name: str, trouble: str, run, work: Path, stub: HubStub):
    method, path, fault = TROUBLE[trouble]
    stub.fault(method, path, times=999, **{"status": None, **fault})
    done = run(COMMANDS[name][0])
    assert done.returncode == 3, done.stderr
    assert_nothing_left(work, stub, done)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_nor_when_the_address_of_the_hub_is_wrong(endpoint: str, run, work: Path, stub: HubStub):
    address, code = ENDPOINTS[endpoint]
    for name in ("push", "verify"):
        done = run(COMMANDS[name][0], address, QUICK if code == 3 else "")
        assert done.returncode == code, done.stderr
        assert_nothing_left(work, stub, done)


def test_an_address_stays_readable():
    assert redact(f"http://{USER}:{PASSWORD}@host:8080/a/b?x=1&token=abc") == "http://***@host:8080/a/b?x=1&token=***"
    for harmless in (
        "hf://owner/repo@main/f.gguf",
        "hf_model.gguf",
        "HF_ENDPOINT",
        "https://h/a@b",
        "a@b",
        "token = 7",
    ):
        assert redact(harmless) == harmless


def test_every_error_hides_secrets_in_each_of_its_parts():
    error = GemmaMtpError(f"no {TOKEN}", where=ADDRESS, hint=f"write {ADDRESS}?token={IN_ARGUMENT}")
    for text in (str(error), error.what, error.where, error.hint):
        assert not any(secret in text for secret in SECRETS)
