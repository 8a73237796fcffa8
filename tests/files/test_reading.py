"""Files that are no files, may not be read, or become shorter while they are read: a sentence, never a signal."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gemma_mtp.convert import pipeline, respell
from gemma_mtp.convert.respell import convert_dialect
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, EnvironmentProblem, GGUFError, SafetensorsError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import LARGEST_HEADER, GGUFFile, is_gguf
from gemma_mtp.files.hashing import content_hash, sha256_of
from gemma_mtp.files.reading import PIECE, SourceFile
from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint, read_header
from gemma_mtp.model.dialects import DIALECTS
from gemma_mtp.quantize import Output, engine, quantize_file, read_imatrix
from gemma_mtp.sources.opening import open_model

#: Everything that opens a file which a user names.
READERS: dict[str, Callable[[Path], object]] = {
    "gguf": GGUFFile,
    "safetensors": read_header,
    "imatrix": read_imatrix,
    "hash": sha256_of,
    "content hash": lambda path: content_hash(path, "0" * 40),
}


def odd_places(folder: Path) -> dict[str, Path]:
    """Names that are no regular file, or cannot be opened."""
    os.mkfifo(folder / "fifo")
    (folder / "to-fifo").symlink_to("fifo")
    (folder / "circle").symlink_to("circle")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    server.close()
    return {
        "a folder": folder,
        "a pipe": folder / "fifo",
        "a link to a pipe": folder / "to-fifo",
        "a circle": folder / "circle",
        "a socket": folder / "socket",
        "zeros without end": Path("/dev/zero"),
        "nothing there": folder / "missing",
        "below a file": folder / "socket" / "below",
        "a name that is too long": folder / ("x" * 300),
        "a zero byte": folder / "a\0b",
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file(reader: str, tmp_path: Path):
    """No waiting, no traceback: the file's name and what is wrong with it."""
    for what, path in odd_places(tmp_path).items():
        with pytest.raises(BadFileError) as caught:
            READERS[reader](path)
        assert "no file" in caught.value.what or "cannot be read" in caught.value.what, what
        assert str(path).replace("\0", "\\0") in caught.value.where
        assert not is_gguf(path)


@pytest.mark.parametrize("content", [b"", b"abc", b"GGU", b"GGUF", b"\0" * 9])
@pytest.mark.parametrize("reader", ["gguf", "safetensors", "imatrix"])
def test_hardly_any_bytes(reader: str, content: bytes, tmp_path: Path):
    (tmp_path / "small").write_bytes(content)
    with pytest.raises(BadFileError) as caught:
        READERS[reader](tmp_path / "small")
    assert caught.value.where == str(tmp_path / "small")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("reader", READERS)
def test_may_not_be_read(reader: str, tmp_path: Path):
    (tmp_path / "mine").write_bytes(b"GGUF")
    (tmp_path / "mine").chmod(0)
    with pytest.raises(BadFileError, match="Permission denied"):
        READERS[reader](tmp_path / "mine")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reads fail")
def test_a_read_that_fails_is_the_machine_s_fault():
    """The first page of a process's memory cannot be read: a real EIO."""
    with (
        SourceFile("/proc/self/mem") as file,
        pytest.raises(EnvironmentProblem, match=os.strerror(errno.EIO)) as caught,
    ):
        file.read(0, 10)
    assert caught.value.exit_code == 3
    assert "disk" in (caught.value.hint or "")


def test_a_closed_file_reads_nothing(tmp_path: Path):
    """Its descriptor may be another file's by now."""
    (tmp_path / "a").write_bytes(b"GGUF")
    file = SourceFile(tmp_path / "a")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(0, 4)


@pytest.mark.parametrize("native", [True, False])
def test_threads_read_what_is_there(native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each at its own place, also where a descriptor has but one."""
    if not native:
        monkeypatch.delattr(os, "preadv", raising=False)
    data = np.random.default_rng(3).integers(0, 256, 3 * PIECE + 17, np.uint8)
    (tmp_path / "a").write_bytes(data.tobytes())
    with SourceFile(tmp_path / "a") as file:
        wrong: list[int] = []

        def check(seed: int) -> None:
            random = np.random.default_rng(seed)
            for _ in range(200):
                start, stop = sorted(random.integers(0, len(data) + 1, 2).tolist())
                if not np.array_equal(file.read(start, stop - start), data[start:stop]):
                    wrong.append(start)

        threads = [threading.Thread(target=check, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert b"".join(map(bytes, file.span(5, len(data) - 5).pieces())) == data[5:].tobytes()
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint whose weights are its own file."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for path in (PAIR / "assistant").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def copied(assistant_gguf, tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(assistant_gguf("BF16").read_bytes())
    return path


def cut_before(monkeypatch: pytest.MonkeyPatch, module: object, name: str, path: Path) -> None:
    """When the function is called, the file has become shorter; then it does what it does."""
    real = getattr(module, name)

    def shortened(*args: object, **options: object) -> object:
        os.truncate(path, path.stat().st_size // 3)
        return real(*args, **options)

    monkeypatch.setattr(module, name, shortened)


def test_a_checkpoint_becomes_shorter(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cut_before(monkeypatch, pipeline, "write_encoded", checkpoint / "model.safetensors")
    with pytest.raises(BadFileError, match="became shorter"):
        pipeline.convert_checkpoint(checkpoint, [Output(tmp_path / "o.gguf", kind) for kind in ("Q8_0",)])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("kind", ["Q8_0", "BF16"])
def test_a_gguf_becomes_shorter(kind: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cut_before(monkeypatch, engine, "write_encoded", copied)
    with pytest.raises(GGUFError, match="became shorter") as caught:
        quantize_file(copied, [Output(tmp_path / "o.gguf", kind)])
    assert caught.value.where == str(copied)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_an_assistant_becomes_shorter(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cut_before(monkeypatch, respell, "spell", copied)
    dialect = next(dialect for dialect in DIALECTS.values() if dialect.architecture != "gemma4-assistant")
    with pytest.raises(GGUFError, match="became shorter"):
        convert_dialect(copied, tmp_path / "o.gguf", dialect)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_a_header_outlives_its_file(copied: Path):
    """Metadata is in memory: cutting the file off does not reach it."""
    with GGUFFile(copied) as file:
        before = {key: value.decode() for key, value in file.metadata.items() if value.item_type is None}
        os.truncate(copied, 0)
        assert {key: value.decode() for key, value in file.metadata.items() if value.item_type is None} == before
        with pytest.raises(GGUFError, match="became shorter"):
            file.data(next(iter(file.tensors.values())))


def test_checks_of_a_file_that_becomes_shorter(copied: Path, checkpoint: Path):
    for place, weights in ((copied, copied), (checkpoint, checkpoint / "model.safetensors")):
        with open_model(place, "assistant") as side:
            os.truncate(weights, 1000)
            with pytest.raises(BadFileError, match="became shorter"):
                side.data(side.tensors["token_embd.weight"])


def test_a_hash_of_a_file_that_becomes_shorter(copied: Path):
    with pytest.raises(BadFileError, match="became shorter"):
        content_hash(copied, "0" * 64, lambda _: os.truncate(copied, 100))


def test_parts_of_a_checkpoint_s_tensor(checkpoint: Path):
    """Any stretch of a tensor is what the whole has there."""
    with open_model(checkpoint, "assistant") as side:
        for tensor in list(side.tensors.values())[:12]:
            whole = side.data(tensor)
            start, stop = tensor.nbytes // 3, tensor.nbytes // 2
            assert np.array_equal(side.read(tensor, start, stop), whole[start:stop]), tensor.name


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path):
    """One string that takes up a large (sparse) file."""
    size = 3 << 30
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", 8, size)
    with (tmp_path / "a.gguf").open("wb") as file:
        file.write(head)
        file.truncate(size + len(head))
    with pytest.raises(GGUFError, match="more than any model's"):
        GGUFFile(tmp_path / "a.gguf")


def test_a_header_that_takes_more_than_one_read(tmp_path: Path):
    from gemma_mtp.files.gguf_writer import GGUFWriter

    text = gv.string("x" * (LARGEST_HEADER // 3))
    with GGUFWriter(tmp_path / "a.gguf", {"long": text, "last": gv.u32(7)}, []):
        pass
    with GGUFFile(tmp_path / "a.gguf") as file:
        assert file.metadata["long"] == text
        assert file.metadata["last"].decode() == 7


def test_a_shard_that_is_no_file(checkpoint: Path):
    """Its index names it, and it is a pipe."""
    (checkpoint / "model.safetensors").unlink()
    os.mkfifo(checkpoint / "model.safetensors")
    with pytest.raises(SafetensorsError):
        SafetensorsCheckpoint(checkpoint)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", [("inspect",), ("quantize", "-o", "o.gguf", "Q8_0"), ("convert", "-o", "o.gguf")])
def test_commands_meet_what_is_no_file(words: tuple[str, ...], tmp_path: Path):
    odd = odd_places(tmp_path)
    for what in ("a pipe", "zeros without end", "a socket"):
        command = [sys.executable, "-m", "gemma_mtp", words[0], str(odd[what]), *words[1:]]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=300, stdin=subprocess.DEVNULL
        )
        assert done.returncode in (1, 2), (what, done)
        assert "error:" in done.stderr, what
        assert "Traceback" not in done.stderr, what
