"""What is known of drafting, from one start to the next."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory
from helpers.generations import finished

from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.mtp_runtime.experience import Experience
from gemma_mtp.mtp_runtime.memory import SAMPLE, SCHEMA, Memory, Winner
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings

LEARNED = Experience({0: (1.0, 1.1), 4: (1.5,)}, 0.25, 0.6)
WINNER = Winner(4, 0.5, 1.25)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path / "cache"))
    for name, byte in (("target", b"t"), ("assistant", b"a")):
        (tmp_path / name).write_bytes(byte * (3 * SAMPLE))
    return tmp_path / "target", tmp_path / "assistant"


def memory(files: tuple[Path, Path], **settings: object) -> Memory:
    return Memory(*files, replace(ContextSettings(threads=2), **settings), ModelSettings())


def test_what_is_kept_is_found_again(files: tuple[Path, Path]):
    assert memory(files).experience() is None
    assert memory(files).winner("python") is None
    memory(files).keep_experience(LEARNED)
    memory(files).keep_winner("python", WINNER)
    memory(files).keep_experience(replace(LEARNED, share=0.5), 0.25)
    assert memory(files).experience() == LEARNED
    assert memory(files).experience(0.25) == replace(LEARNED, share=0.5)
    assert memory(files).experience(0.5) is None
    assert memory(files).winner("python") == WINNER
    assert memory(files).winner("cpp") is None
    assert [path.name for path in memory(files).path.parent.iterdir()] == [memory(files).path.name]


def test_another_pair_or_setting_is_another_file(files: tuple[Path, Path]):
    one = memory(files).path
    assert memory(files, size=99, batch=7, outputs=3).path == one
    others = [
        memory(files, threads=1),
        memory(files, cache_k="q8_0"),
        Memory(*files, ContextSettings(threads=2), ModelSettings(gpu_layers=3)),
        memory(files[::-1]),
    ]
    renamed = files[0].rename(files[0].with_name("renamed"))
    assert memory((renamed, files[1])).path == one
    renamed.write_bytes(b"u" + renamed.read_bytes()[1:])
    others.append(memory((renamed, files[1])))
    renamed.write_bytes(renamed.read_bytes()[:-1] + b"v")
    others.append(memory((renamed, files[1])))
    assert len({one, *(other.path for other in others)}) == 7


GOOD = {"learned": {"0": {"costs": {"0": [1.0]}, "change": 0.0, "share": 0.5}}, "winners": {}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1, 2]",
        b'{"schema": "another"}',
        json.dumps({**GOOD, "schema": SCHEMA, "learned": []}).encode(),
        json.dumps({**GOOD, "schema": SCHEMA, "learned": {"0": {"costs": {"0": [1.0]}, "share": 0.5}}}).encode(),
        json.dumps(
            {**GOOD, "schema": SCHEMA, "learned": {"0": {"costs": {"0": [-1.0]}, "change": 0.0, "share": 0.5}}}
        ).encode(),
        json.dumps(
            {**GOOD, "schema": SCHEMA, "learned": {"0": {"costs": {"900": [1.0]}, "change": 0.0, "share": 0.5}}}
        ).encode(),
        json.dumps(
            {**GOOD, "schema": SCHEMA, "learned": {"0": {"costs": {"0": [1.0]}, "change": 0.0, "share": 7}}}
        ).encode(),
        b'{"schema": "%s", "learned": {"0": {"costs": {"0": [NaN]}, "change": 0, "share": 0.5}}}' % SCHEMA.encode(),
        b'{"schema": "%s", "winners": {"python": {"draft_max": "4", "p_min": 0, "speedup": 1}}}' % SCHEMA.encode(),
        b'{"schema": "%s", "winners": {"python": {"draft_max": 4, "p_min": 0, "speedup": true}}}' % SCHEMA.encode(),
        b'{"schema": "%s", "winners": 5, "learned": 5}' % SCHEMA.encode(),
    ],
)
def test_a_damaged_file_counts_as_none_and_is_replaced(files: tuple[Path, Path], content: bytes):
    known = memory(files)
    known.path.parent.mkdir()
    known.path.write_bytes(content)
    assert known.experience() is None
    assert known.winner("python") is None
    known.keep_winner("python", WINNER)
    known.keep_experience(LEARNED)
    assert (known.winner("python"), known.experience()) == (WINNER, LEARNED)


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_knowledge(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(files[0] / "below a file"))
    memory(files).keep_experience(LEARNED)
    assert memory(files).experience() is None


def keep_often(files: tuple[Path, Path], number: int) -> None:
    for count in range(20):
        memory(files).keep_experience(replace(LEARNED, share=number / 10 + count / 1000))


def test_programs_that_keep_at_the_same_time_leave_a_whole_file(files: tuple[Path, Path]):
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=keep_often, args=(files, number)) for number in range(3)]
    for one in running:
        one.start()
    while any(one.is_alive() for one in running):
        assert memory(files).path.exists() <= (memory(files).experience() is not None)
        running[0].join(0.02)
    assert [one.exitcode for one in running] == [0, 0, 0]
    assert memory(files).experience().costs == LEARNED.costs
    assert len(list(memory(files).path.parent.iterdir())) == 1


def test_an_engine_begins_with_what_the_one_before_learned_and_says_the_same(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path))
    pair = target_gguf("F32"), assistant_gguf("F32")
    known = Memory(*pair, SETTINGS, ModelSettings())
    texts = []
    for _ in range(2):
        with MtpEngine(*pair, context=SETTINGS, model=ModelSettings()) as engine:
            texts.append(finished(engine, PROMPT, drafting=Drafting(8, auto=True)).tokens)
            texts.append(finished(engine, PROMPT, draft_max=0).tokens)
        assert known.experience() is not None
    assert all(text == texts[0] for text in texts)
    assert 0 in known.experience().costs
    assert known.experience(0.5) is None
