"""A push and a download, killed or without a disk at a moment: the Hub has all or nothing, the next run succeeds."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.forked import Forked
from helpers.left_behind import assert_sound, contents, fresh, unfinished
from helpers.local_hub.fixtures import WRITE_TOKEN
from helpers.local_hub.stub import HubStub

from gemma_mtp.files.hashing import sha256_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing can be forked there")

SOURCE = "google/tiny-gemma-4-it-assistant"
PUSHED = ("mtp-tiny-F32.gguf", "mtp-tiny-Q8_0.gguf")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> Iterator[HubStub]:
    with HubStub(tmp_path_factory.mktemp("stub")) as stub:
        stub.make_repo(SOURCE)
        for path in sorted((sources / "checkpoint").iterdir()):
            stub.add_file(SOURCE, path.name, path.read_bytes())
        yield stub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def online(hub: HubStub, home: Path) -> Iterator[Forked]:
    changes = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0"}
    with Forked({**changes, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}) as process:
        yield process


@pytest.fixture
def work(sources: Path, tmp_path: Path, online: Forked) -> Path:
    folder = fresh(sources, tmp_path / "work")
    (folder / PUSHED[0]).symlink_to(sources / "a.gguf")
    made = online.run(["quantize", PUSHED[0], PUSHED[1], "Q8_0"], folder)
    assert made.code == 0, made.err
    return folder


def pushed(hub: HubStub, repo: str) -> set[str]:
    """The files that the repo shows; each must be there whole."""
    commits = hub.repos[repo]["commits"] if repo in hub.repos else []
    tree = commits[-1]["tree"] if commits else {}
    return {name for name in tree if name.endswith(".gguf")}


def test_a_push_that_is_killed(hub: HubStub, online: Forked, work: Path):
    """At the bytes that it sends: the repo shows both files or none, and a second push completes it."""
    words = ["push", *PUSHED, "--collection", "Drafters", "--repo"]
    whole = online.run([*words, "alice/whole-GGUF"], work, on=("send",))
    assert whole.code == 0, whole.err
    assert pushed(hub, "alice/whole-GGUF") == set(PUSHED)
    tried = random.Random(3).sample(range(1, whole.moments + 1), 5)
    for moment in (*tried, whole.moments):
        hub.collections.clear()
        for name in PUSHED:
            hub.blob_path(sha256_of(work / name)).unlink(missing_ok=True)  # what the Hub has is not sent again
        repo = f"alice/killed-{moment}-GGUF"
        died = online.run([*words, repo], work, "kill", moment, ("send",))
        assert died.code == -9, died
        assert pushed(hub, repo) in (set(), set(PUSHED))
        again = online.run([*words, repo], work)
        assert again.code == 0, (moment, again.err)
        assert pushed(hub, repo) == set(PUSHED)
        tree = hub.repos[repo]["commits"][-1]["tree"]
        for name in PUSHED:
            assert hub.blob_path(tree[name]["sha"]).read_bytes() == (work / name).read_bytes()
        assert [item["id"] for one in hub.collections.values() for item in one["items"]] == [repo]


CONVERT = ["convert", SOURCE, "-o", "out.gguf", "--type", "Q8_0"]


def emptied(home: Path) -> None:
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def moments_of(online: Forked, work: Path, home: Path) -> tuple[int, dict[str, str]]:
    emptied(home)
    whole = online.run(CONVERT, work)
    assert whole.code == 0, whole.err
    wanted = contents(work)
    (work / "out.gguf").unlink()
    return whole.moments, wanted


def test_a_download_that_is_killed(online: Forked, work: Path, home: Path):
    """The cache is gone on with, and nothing in it passes for a file that it is not."""
    total, wanted = moments_of(online, work, home)
    for moment in random.Random(4).sample(range(1, total + 1), 5):
        emptied(home)
        died = online.run(CONVERT, work, "kill", moment)
        assert died.code == -9, died
        again = online.run(CONVERT, work)
        assert again.code == 0, (moment, again.err)
        assert contents(work) == wanted
        (work / "out.gguf").unlink()
        assert not [path for path in home.rglob("*") if path.name.endswith((".part", ".partial"))], moment


def test_a_download_onto_a_disk_that_gets_full(online: Forked, work: Path, home: Path):
    total, _ = moments_of(online, work, home)
    for moment in range(1, total + 1, 7):
        emptied(home)
        ended = online.run(CONVERT, work, "ENOSPC", moment)
        assert ended.code in (0, 3), (moment, ended)  # notes that cannot be kept are no reason to fail
        assert "Traceback" not in ended.err
        assert ended.code == 0 or "error: " in ended.err
        assert_sound(work)
        assert not unfinished(work)
        (work / "out.gguf").unlink(missing_ok=True)
