"""Each file of the cache is read to be hashed once, in sight; then only if it changed, or if that is asked for."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest
from helpers.local_hub.stub import HubStub

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.hub import download
from gemma_mtp.hub.cache import NOTES, RepoCache
from gemma_mtp.hub.download import fetch_checkpoint, fetch_file

REPO = "acme/gemma-4-tiny-it-assistant"
WEIGHTS = bytes(range(256)) * 12_000
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture
def repo(stub: HubStub) -> str:
    stub.make_repo(REPO)
    for name, content in FILES.items():
        stub.add_file(REPO, name, content)
    return REPO


class Shown:
    """A progress display that remembers what it showed."""

    def __init__(self):
        self.opened: list[tuple[str, int]] = []
        self.bytes = 0

    @contextmanager
    def __call__(self, what: str, total: int):
        self.opened.append((what, total))
        yield self._advance

    def _advance(self, count: int) -> None:
        self.bytes += count


def bytes_read(action) -> int:
    """What this process read from files meanwhile, as the kernel counts it."""
    before = _rchar()
    action()
    return _rchar() - before


def _rchar() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


needs_proc = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel counts no bytes")


@needs_proc
def test_a_second_use_reads_no_blob(repo: str):
    fetch_checkpoint(repo)
    assert bytes_read(lambda: fetch_checkpoint(repo)) < len(WEIGHTS) // 4


@needs_proc
def test_a_download_is_not_read_again_to_be_hashed(stub: HubStub, repo: str):
    served = 2 * len(WEIGHTS)  # by the local Hub, in this process: from its disk and through the socket
    assert bytes_read(lambda: fetch_checkpoint(repo)) < served + len(WEIGHTS) // 2


@needs_proc
def test_deep_reads_all_again(repo: str):
    fetch_checkpoint(repo)
    assert bytes_read(lambda: fetch_checkpoint(repo, deep=True)) >= len(WEIGHTS)
    assert bytes_read(lambda: fetch_file(f"hf://{repo}/model.safetensors", deep=True)) >= len(WEIGHTS)


def test_what_another_tool_downloaded_is_hashed_once_and_seen(stub: HubStub, repo: str):
    for name in FILES:
        huggingface_hub.hf_hub_download(repo, name, endpoint=stub.endpoint)
    first, second, deep = Shown(), Shown(), Shown()
    fetch_checkpoint(repo, progress=first)
    total = sum(map(len, FILES.values()))
    assert first.opened == [(f"hashing {repo} in the cache", total)]
    assert first.bytes == total
    fetch_checkpoint(repo, progress=second)
    assert second.opened == []
    fetch_checkpoint(repo, progress=deep, deep=True)
    assert deep.opened == first.opened


def damage(path: Path, keep_time: bool) -> None:
    blob = path.resolve()
    before = blob.stat()
    content = bytearray(blob.read_bytes())
    content[1000] ^= 1
    blob.write_bytes(content)
    if keep_time:
        os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_change_of_the_file_is_noticed_by_its_time(repo: str):
    weights = fetch_checkpoint(repo).folder / "model.safetensors"
    damage(weights, keep_time=False)
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_change_behind_the_time_is_noticed_and_mended_by_deep(repo: str):
    weights = fetch_checkpoint(repo).folder / "model.safetensors"
    damage(weights, keep_time=True)
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() != WEIGHTS
    assert (fetch_checkpoint(repo, deep=True).folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "notes",
    [
        b"",
        b"{",
        b"[]",
        b'{"compared": []}',
        b'{"compared": {"x": 1}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"7",
        b'"compared"',
    ],
)
def test_damaged_notes_are_made_anew(repo: str, notes: bytes):
    folder = fetch_checkpoint(repo).folder
    path = RepoCache.of(repo).root / NOTES
    path.write_bytes(notes)
    shown = Shown()
    assert fetch_checkpoint(repo, progress=shown).folder == folder
    assert [what for what, _ in shown.opened] == [f"hashing {repo} in the cache"]
    assert len(json.loads(path.read_bytes())["compared"]) == 2
    assert not [left for left in path.parent.iterdir() if left.name.endswith(".part")]


def test_a_cache_without_notes_works_all_the_same(repo: str):
    fetch_checkpoint(repo)
    path = RepoCache.of(repo).root / NOTES
    path.unlink()
    path.mkdir()
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_huggingface_hub_is_not_disturbed_by_the_notes(repo: str):
    fetch_checkpoint(repo)
    found = huggingface_hub.scan_cache_dir()
    assert [cached.repo_id for cached in found.repos] == [repo]
    assert not found.warnings


def test_a_resumed_download_is_hashed_from_its_beginning(stub: HubStub, repo: str):
    cache = RepoCache.of(repo)
    etag = download.look_up(download.parse_source(repo)).files["model.safetensors"].etag
    cache.blobs.mkdir(parents=True)
    cache.partial(etag).write_bytes(b"x" * 1000)
    with pytest.raises(EnvironmentProblem, match="arrived with other content"):
        fetch_checkpoint(repo)
    cache.partial(etag).write_bytes(WEIGHTS[:1000])
    shown = Shown()
    assert (fetch_checkpoint(repo, progress=shown).folder / "model.safetensors").read_bytes() == WEIGHTS
    assert shown.bytes == sum(total for _, total in shown.opened)
    stub.ranges = False
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS
