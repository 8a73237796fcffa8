"""The pipeline on this machine: what it makes, and when it makes it again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gemma_mtp.convert import Output, convert_checkpoint, convert_dialect, dialect_named
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.make import Job, make, schedule
from gemma_mtp.quantize import quantize_file, read_imatrix

TYPES = ("BF16", "Q8_0", "draft-q4")


@pytest.fixture
def job(checkpoint: Path, tmp_path: Path, target_gguf: Callable[[str], Path]) -> Job:
    return Job(str(checkpoint), TYPES, ("mainline", "ik"), tmp_path / "out", target=str(target_gguf("BF16")))


def taken(job: Job, **options) -> dict[str, str]:
    """Carries out a job: the steps that were taken, with the reason."""
    made = make(schedule(job, **options))
    return {result.step.id: result.reason for result in made.steps if result.reason}


def test_the_files_are_those_of_the_single_commands(job: Job, checkpoint: Path, tmp_path: Path):
    made = make(schedule(job))
    (tmp_path / "single").mkdir()
    outputs = [Output(tmp_path / "single" / f"mtp-tiny-gemma-4-it-{kind}.gguf", kind) for kind in TYPES]
    convert_checkpoint(checkpoint, outputs)
    for output in outputs:
        convert_dialect(output.path, output.path.with_name(f"{output.path.stem}-ik.gguf"), dialect_named("ik"))
    single = {path.name: path.read_bytes() for path in (tmp_path / "single").iterdir()}
    assert {path.name: path.read_bytes() for path in made.files} == single
    assert len(single) == 6


def test_the_checkpoint_is_read_once_for_all_types(job: Job):
    opened, advanced = [], []

    @contextmanager
    def progress(what: str, total: int):
        opened.append((what, total))
        yield advanced.append

    make(schedule(job), progress=progress)
    assert [what for what, _ in opened] == ["converting"]
    assert sum(advanced) == opened[0][1]


def test_what_is_done_is_not_done_again(job: Job):
    assert len(taken(job)) == 12
    before = {path: path.stat().st_mtime_ns for path in job.folder.iterdir()}
    assert taken(job) == {}
    assert {path: path.stat().st_mtime_ns for path in job.folder.iterdir()} == before


def test_only_what_changed_is_done_again(job: Job, checkpoint: Path, tmp_path: Path):
    taken(job)
    out = job.folder
    original = (out / "mtp-tiny-gemma-4-it-Q8_0.gguf").read_bytes()

    (out / "mtp-tiny-gemma-4-it-Q8_0.gguf").unlink()
    assert taken(job) == {"convert mtp-tiny-gemma-4-it-Q8_0.gguf": "the file is gone"}
    (out / "mtp-tiny-gemma-4-it-Q8_0.gguf").write_bytes(original[:-1] + b"x")
    assert taken(job) == {"convert mtp-tiny-gemma-4-it-Q8_0.gguf": "the file was changed"}
    assert (out / "mtp-tiny-gemma-4-it-Q8_0.gguf").read_bytes() == original

    os.utime(out / "mtp-tiny-gemma-4-it-Q8_0.gguf", (1, 1))
    os.utime(checkpoint / "model.safetensors", (1, 1))
    assert taken(job) == {}, "another time is no other content"

    more = dataclasses.replace(job, types=(*TYPES, "Q4_0"), dialects=("mainline",))
    assert set(taken(more)) == {"convert mtp-tiny-gemma-4-it-Q4_0.gguf", "verify mtp-tiny-gemma-4-it-Q4_0.gguf"}

    other = shutil.copyfile(str(job.target), tmp_path / "target.gguf")
    reasons = taken(dataclasses.replace(job, target=str(other)))
    assert set(reasons.values()) == {"target changed"}
    assert {step.split()[0] for step in reasons} == {"verify"}


def test_another_source_makes_everything_anew(job: Job, checkpoint: Path):
    taken(job)
    config = json.loads((checkpoint / "generation_config.json").read_text())
    (checkpoint / "generation_config.json").write_text(json.dumps({**config, "top_k": 7}))
    reasons = taken(job)
    assert reasons["convert mtp-tiny-gemma-4-it-BF16.gguf"] == "generation_config.json changed"


def test_an_interruption_is_continued(job: Job):
    @contextmanager
    def interrupted(what: str, total: int):
        def advance(_: int) -> None:
            raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        make(schedule(job), progress=interrupted)
    assert not list(job.folder.glob("*.gguf"))
    assert taken(job)["convert mtp-tiny-gemma-4-it-Q8_0.gguf"] == "it was interrupted"
    assert taken(job) == {}


def test_files_of_others_are_not_overwritten(job: Job):
    job.folder.mkdir()
    path = job.folder / "mtp-tiny-gemma-4-it-Q8_0.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="did not make it"):
        schedule(job)
    assert path.read_bytes() == b"mine"
    assert len(taken(job, force=True)) == 12


def test_a_pair_that_does_not_fit_stops_the_way(job: Job, assistant_gguf: Callable[[str], Path]):
    wrong = dataclasses.replace(job, target=str(assistant_gguf("BF16")))
    with pytest.raises(BadFileError, match="verification failed") as caught:
        make(schedule(wrong))
    assert caught.value.where == "mtp-tiny-gemma-4-it-BF16.gguf"
    assert {step.split()[0] for step in taken(job)} == {"verify"}, "what was converted is kept"


def test_damaged_notes_are_named(job: Job):
    taken(job)
    notes = job.folder / "mtp-tiny-gemma-4-it.make.json"
    for content in ("{", '{"format": 2}', '{"format": 1, "steps": {"a": 1}, "sources": {}}', "[]"):
        notes.write_text(content)
        with pytest.raises(BadFileError, match="notes of an earlier `make` are damaged"):
            schedule(job)


def test_an_importance_matrix_goes_through_a_16_bit_file(checkpoint: Path, tmp_path: Path):
    job = Job(str(checkpoint), ("Q4_K_M",), folder=tmp_path / "out", imatrix=tmp_path / "imatrix.dat")
    with pytest.raises(UsageError, match="no such importance matrix"):
        schedule(job)
    convert_checkpoint(checkpoint, [Output(tmp_path / "exact.gguf", "BF16")])
    _write_imatrix(tmp_path / "imatrix.dat", tmp_path / "exact.gguf")
    assert list(taken(job)) == [
        "convert mtp-tiny-gemma-4-it-BF16.gguf",
        "quantize mtp-tiny-gemma-4-it-Q4_K_M.gguf",
        "verify mtp-tiny-gemma-4-it-Q4_K_M.gguf",
    ]
    quantize_file(
        tmp_path / "exact.gguf",
        [Output(tmp_path / "single.gguf", "Q4_K_M")],
        importance=read_imatrix(tmp_path / "imatrix.dat"),
    )
    made = job.folder / "mtp-tiny-gemma-4-it-Q4_K_M.gguf"
    assert made.read_bytes() == (tmp_path / "single.gguf").read_bytes()
    _write_imatrix(tmp_path / "imatrix.dat", tmp_path / "exact.gguf", seed=2)
    assert taken(job)["quantize mtp-tiny-gemma-4-it-Q4_K_M.gguf"] == "imatrix changed"


def test_a_gguf_is_a_source_too(checkpoint: Path, tmp_path: Path):
    source = tmp_path / "mtp-tiny-it-BF16.gguf"
    convert_checkpoint(checkpoint, [Output(source, "BF16")])
    job = Job(str(source), ("Q8_0",), ("mainline", "ik"), tmp_path / "out")
    assert [step.split()[0] for step in taken(job)] == ["quantize", "respell", "verify", "verify"]
    quantize_file(source, [Output(tmp_path / "single.gguf", "Q8_0")])
    made = job.folder / "mtp-tiny-it-Q8_0.gguf"
    assert made.read_bytes() == (tmp_path / "single.gguf").read_bytes()
    with pytest.raises(UsageError, match="llama"):
        schedule(Job(str(source.rename(tmp_path / "assistant.gguf"))))


def test_a_target_is_refused(tmp_path: Path, target_gguf: Callable[[str], Path]):
    from gemma_mtp.demo.pair import PAIR

    with pytest.raises(BadFileError, match="this is a target"):
        schedule(Job(str(PAIR / "target")))
    path = shutil.copyfile(target_gguf("BF16"), tmp_path / "mtp-tiny-it-BF16.gguf")
    with pytest.raises(BadFileError, match="no assistant"):
        schedule(Job(str(path)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"types": ("Q9",)}, "no type Q9"),
        ({"dialects": ("klingon",)}, "klingon"),
        ({"push": "alice/{size}"}, "placeholder {size}"),
        ({"push": "alice/{"}, "push: "),
        ({"push": "a b/c"}, "not the name of a repo"),
        ({"collection": "Drafters"}, "no meaning without push"),
        ({"types": ()}, "at least one type"),
    ],
)
def test_a_job_that_cannot_be_meant_is_refused_at_once(options: dict, words: str):
    with pytest.raises(UsageError, match=words):
        Job("nowhere/at-all", **options)


def test_types_are_named_once_and_as_llama_cpp_names_them():
    assert Job("x/y", types=("q8_0", "Q8_0", "DRAFT-Q4")).types == ("Q8_0", "draft-q4")


def _write_imatrix(path: Path, model: Path, seed: int = 1) -> None:
    """An importance matrix in llama.cpp's old format, with random values for every matrix but the embedding."""
    generator = np.random.default_rng(seed)
    with GGUFFile(model) as file:
        widths = {
            t.name: t.shape[-1] for t in file.tensors.values() if len(t.shape) > 1 and t.name != "token_embd.weight"
        }
    raw = struct.pack("<i", len(widths))
    for name, width in widths.items():
        raw += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, width)
        raw += generator.random(width, np.float32).tobytes()
    path.write_bytes(raw)
