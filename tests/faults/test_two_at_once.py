"""Two processes that write the same output, download the same file, fill the same cache."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.left_behind import assert_sound, finished, fresh, unfinished
from helpers.local_hub.fixtures import WRITE_TOKEN
from helpers.local_hub.stub import HubStub

from gemma_mtp.hub.cache import RepoCache

BLOB = b"what the Hub has"
ETAG = "a" * 40
COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path: Path) -> RepoCache:
    cache = RepoCache(tmp_path / "hub" / "models--acme--x")
    cache.blobs.mkdir(parents=True)
    cache.blob(ETAG).write_bytes(BLOB)
    return cache


LINKS = """
    import sys
    from pathlib import Path
    from gemma_mtp.hub.cache import RepoCache
    cache = RepoCache(Path(sys.argv[1]))
    for number in range(300):
        pointer = cache.link("c" * 40, f"folder/{number}.bin", "a" * 40)
        assert pointer.read_bytes() == b"what the Hub has", number
        cache.remember("main", f"{number % 2:040}")
        assert cache.recall("main") in ("0" * 40, "0" * 39 + "1"), number
"""


def test_the_same_links_and_notes(cache: RepoCache):
    words = [sys.executable, "-c", textwrap.dedent(LINKS), str(cache.root)]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert not list(cache.root.rglob(".*"))


def test_a_dangling_link_is_replaced(cache: RepoCache):
    pointer = cache.snapshot(COMMIT) / "x.bin"
    pointer.parent.mkdir(parents=True)
    pointer.symlink_to("nowhere")
    assert cache.link(COMMIT, "x.bin", ETAG).read_bytes() == BLOB


def test_a_copy_is_whole_or_not_there(cache: RepoCache, monkeypatch: pytest.MonkeyPatch):
    """Where links are impossible, a copy that was cut off must not pass for the file."""

    def refused(*_: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(os, "symlink", refused)
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cache.link(COMMIT, "x.bin", ETAG)
    assert not list(cache.snapshot(COMMIT).iterdir())
    monkeypatch.setattr(os, "fsync", real)
    pointer = cache.link(COMMIT, "x.bin", ETAG)
    assert not pointer.is_symlink()
    assert pointer.read_bytes() == BLOB
    assert [path.name for path in pointer.parent.iterdir()] == ["x.bin"]


def test_a_cache_that_is_complete_need_not_be_written(cache: RepoCache, monkeypatch: pytest.MonkeyPatch):
    """A cache on a read-only disk is filled by another machine."""
    cache.remember("main", COMMIT)
    cache.link(COMMIT, "x.bin", ETAG)

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("symlink", "link", "replace", "fsync", "write"):
        monkeypatch.setattr(os, name, refused)
    assert cache.link(COMMIT, "x.bin", ETAG).is_symlink()
    cache.remember("main", COMMIT)


REPO = "google/tiny-gemma-4-it-assistant"


@pytest.fixture
def hub(tmp_path: Path, sources: Path):
    with HubStub(tmp_path / "stub") as stub:
        stub.make_repo(REPO)
        for path in sorted((sources / "checkpoint").iterdir()):
            stub.add_file(REPO, path.name, path.read_bytes())
        yield stub


def environment(hub: HubStub, home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    changes = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0"}
    return {**changes, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}


def test_the_same_download(hub: HubStub, sources: Path, tmp_path: Path):
    """Into one empty cache, whose files come once, and the same output: one of them may be told that it exists."""
    work = fresh(sources, tmp_path / "work")
    words = [sys.executable, "-m", "gemma_mtp", "convert", REPO, "-o", "out.gguf", "--type", "Q8_0"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment(hub, tmp_path / "home")}
    both = [
        subprocess.Popen(words, cwd=work, env=variables, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    assert 0 in {code for _, code in ends}, ends
    assert all(code == 0 or (code == 2 and "exists already" in said) for said, code in ends), ends
    assert [path.name for path in finished(work)] == ["out.gguf"]
    assert_sound(work)
    assert not unfinished(work)
    weights = [one for one in hub.log if one["method"] == "GET" and "model.safetensors" in one["path"]]
    assert len([one for one in weights if one["srv"] == "cdn"]) == 1
