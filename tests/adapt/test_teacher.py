"""Signals from llama.cpp: equal to the official implementation's, by either way, in pieces or whole, after a cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.lessons import DOCUMENTS, lesson_of, recorded

from gemma_mtp.adapt.lesson import STATE, Recorded
from gemma_mtp.adapt.signals import ARRAYS, GREEDY, SAMPLED, TEXT, Signals, begin_folder, open_signals, shards
from gemma_mtp.adapt.teacher import best, teach
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, UsageError


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_signals_are_the_official_implementations(signals: Signals):
    torch = pytest.importorskip("torch")
    from transformers import Gemma4ForCausalLM

    model = Gemma4ForCausalLM.from_pretrained(PAIR / "target", dtype=torch.float32).eval()
    rows = same = 0
    for place in signals.places[:6]:
        arrays = signals.load(place)
        ids = torch.from_numpy(arrays["tokens"].astype(np.int64))[None]
        with torch.no_grad():
            out = model.model(input_ids=ids, use_cache=False, return_shared_kv_states=True)
            logits = model(input_ids=ids, use_cache=False).logits[0]
        assert difference(arrays["hidden"], out.last_hidden_state[0].numpy()) < 1e-3
        for kind in ("sliding", "full"):
            for name, tensor in zip("kv", out.shared_kv_states[f"{kind}_attention"], strict=True):
                assert difference(arrays[f"{kind}_{name}"], tensor[0].transpose(0, 1).numpy()) < 1e-3
        rows += len(logits)
        same += int((logits.argmax(-1).numpy() == arrays["top_ids"][:, 0]).sum())
        log = logits.log_softmax(-1).gather(-1, torch.from_numpy(arrays["top_ids"][:, :1].astype(np.int64)))
        assert np.abs(log[:, 0].numpy() - arrays["top_logs"][:, 0].astype(np.float32)).max() < 0.01
    assert same >= 0.999 * rows


def test_the_saved_state_says_the_same_bit_for_bit(target_gguf, tmp_path: Path, signals: Signals):
    saved = recorded(target_gguf("F32"), tmp_path / "s", DOCUMENTS, via=STATE)
    assert saved.about["via"] == "state"
    assert [place.length for place in saved.places] == [place.length for place in signals.places]
    for one, other in zip(saved.places, signals.places, strict=True):
        mine, theirs = saved.load(one), signals.load(other)
        assert all(np.array_equal(mine[name], theirs[name]) for name in ARRAYS)


def test_what_is_recorded_and_what_is_held_out(signals: Signals):
    assert signals.complete
    assert {place.kind for place in signals.some(held=False)} == {TEXT}
    assert len(signals.some(kinds=(GREEDY,))) == len(signals.some(kinds=(SAMPLED,))) == 3
    learnt = {place.document for place in signals.some(held=False)}
    assert not learnt & {place.document for place in signals.some(held=True)}
    assert all(DOCUMENTS[place.document].held == place.held for place in signals.places)


def test_a_greedy_continuation_is_the_targets_best_tokens(signals: Signals):
    """That the writing context, with several sequences, and the recording one see the same text the same way."""
    for place in signals.some(kinds=(GREEDY,)):
        arrays = signals.load(place)
        said = arrays["top_ids"][place.begin - 1 : -1, 0]
        assert (said == arrays["tokens"][place.begin :]).mean() > 0.95


def test_a_recording_that_was_cut_off_goes_on(target_gguf, tmp_path: Path, signals: Signals, monkeypatch):
    monkeypatch.setattr("gemma_mtp.adapt.teacher.SHARD", 300)
    folder, target = tmp_path / "s", target_gguf("F32")
    begin_folder(folder, {"target": target.name})
    running = teach(lesson_of(target, folder, DOCUMENTS))
    while len(shards(folder)) < 2:
        next(running)
    running.close()
    assert not open_signals(folder).complete
    with (folder / "answers.jsonl").open("a") as journal:
        journal.write('\n["greedy 99", [1, 2')  # cut off while it was written
    done, before = len(open_signals(folder).places), [path.stat().st_mtime_ns for path in shards(folder)]
    *_, last = teach(lesson_of(target, folder, DOCUMENTS))
    assert isinstance(last, Recorded)
    assert last.written == 0, "the continuations were in the journal"
    whole = open_signals(folder)
    assert whole.complete
    assert 0 < done < len(whole.places) == len(signals.places)
    assert [path.stat().st_mtime_ns for path in shards(folder)[: len(before)]] == before
    for one, other in zip(whole.places, signals.places, strict=True):
        assert all(np.array_equal(whole.load(one)[name], signals.load(other)[name]) for name in ARRAYS)


def test_other_texts_do_not_go_into_the_same_folder(tmp_path: Path):
    begin_folder(tmp_path / "s", {"target": "a", "texts": "1"})
    with pytest.raises(UsageError, match="differ in: texts"):
        begin_folder(tmp_path / "s", {"target": "a", "texts": "2"})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        begin_folder(tmp_path / "full", {})


def test_a_damaged_shard_is_named(tmp_path: Path):
    begin_folder(tmp_path, {})
    (tmp_path / "shard-00000.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(BadFileError, match=r"shard-00000.*damaged"):
        open_signals(tmp_path)


@pytest.mark.parametrize(("vocabulary", "k"), [(2048, 64), (1000, 7), (40, 64), (262, 32)])
def test_the_best_tokens(vocabulary: int, k: int):
    logits = np.random.default_rng(1).normal(size=(9, vocabulary)).astype(np.float32)
    logits[0, 5] = logits[0, 9] = logits[0].max() + 1
    ids, logs = best(logits, k)
    wanted = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    assert np.array_equal(ids, wanted)
    whole = np.take_along_axis(logits - np.log(np.exp(logits).sum(1, keepdims=True)), wanted, 1)
    assert np.allclose(logs, whole, atol=1e-2)


def test_the_budget_is_held(signals: Signals):
    texts = signals.some(kinds=(TEXT,))
    assert sum(place.length for place in texts) <= 1500
    assert sum(place.length for place in texts if place.held) <= 450
