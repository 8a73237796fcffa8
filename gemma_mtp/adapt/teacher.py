"""The teacher: llama.cpp with the target that people run, in a child process. It writes texts and records signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from gemma_mtp.adapt.lesson import AUTO, CALLBACK, STATE, Donor, Lesson, Progress, Recorded
from gemma_mtp.adapt.planning import Planner
from gemma_mtp.adapt.signals import GREEDY, KINDS, SAMPLED, Piece, describe, open_signals, shards, write_shard
from gemma_mtp.adapt.texts import loop_share
from gemma_mtp.errors import BadFileError, LlamaError
from gemma_mtp.native.llama import Context, Model, build_info
from gemma_mtp.native.recording import Tap, cached_layers, forget, saved_state

Array = np.ndarray[Any, Any]

TEACH = f"{__name__}:teach"
#: Tokens of a shard, and bytes of the logits that one decoding may give.
SHARD, LOGITS = 2048, 256 << 20
#: The nodes of llama.cpp's graph (src/models/gemma4.cpp) that go into the KV cache.
NODES = {"k": "Kcur_pos", "v": "Vcur_normed"}


def teach(lesson: Lesson) -> Iterator[Progress | Recorded]:
    """Write what is to be written, record everything, go on where an earlier run ended.

    Raises LlamaError (it cannot be recorded), UsageError, BadFileError.
    """
    with Model(lesson.target, lesson.model) as model:
        planner = Planner(lesson, model)
        yield from planner.prepare()
        pieces, start = planner.pieces(), perf_counter()
        with Recorder(model, lesson) as recorder:
            yield from _record(recorder, lesson, pieces)
            via = recorder.via
    looping = _looping(pieces)
    found = Recorded(
        sum(len(piece.tokens) for piece in pieces),
        planner.written,
        planner.dropped,
        looping,
        via,
        build_info(),
        perf_counter() - start,
    )
    about = {"complete": True, "via": via, "llama.cpp": found.build, "dropped": found.dropped, "looping": looping}
    describe(lesson.folder, {**open_signals(lesson.folder).about, **about})
    yield found


def _record(recorder: Recorder, lesson: Lesson, pieces: Sequence[Piece]) -> Iterator[Progress]:
    done, number = len(open_signals(lesson.folder).places), len(shards(lesson.folder))
    total = sum(len(piece.tokens) for piece in pieces)
    tokens = sum(len(piece.tokens) for piece in pieces[:done])
    waiting: list[Piece] = []
    arrays: list[dict[str, Array]] = []
    for piece in pieces[done:]:
        waiting.append(piece)
        arrays.append(recorder.record(piece.tokens))
        tokens += len(piece.tokens)
        if sum(len(one.tokens) for one in waiting) >= SHARD or piece is pieces[-1]:
            write_shard(lesson.folder, number, waiting, arrays)
            number, waiting, arrays = number + 1, [], []
        yield Progress("recording", tokens, total)


def _looping(pieces: Sequence[Piece]) -> dict[str, float]:
    """The share of what the target wrote of held-out openings that stands in loops."""
    shares = {}
    for name, kind in (("greedy", GREEDY), ("sampled", SAMPLED)):
        found = [loop_share(piece.tokens[piece.begin :]) for piece in pieces if piece.kind == kind]
        shares[name] = sum(found) / len(found) if found else 0.0
    return shares


class Recorder:
    """A context that gives all that the assistant is trained on. via: how keys and values are taken."""

    def __init__(self, model: Model, lesson: Lesson):
        """Raises LlamaError: this llama.cpp gives keys and values in neither way."""
        self._model, self._lesson = model, lesson
        names = {f"{node}-{donor.layer}": donor.width for donor in lesson.donors.values() for node in NODES.values()}
        self._tap = Tap(names)
        self.via = lesson.via
        if self.via == AUTO:
            self.via = CALLBACK if self._nodes_are_seen() else STATE
        self._context = self._opened(self.via)

    def _opened(self, via: str) -> Context:
        rows = max(1, min(512, LOGITS // (4 * self._model.vocabulary)))
        settings = replace(
            self._lesson.context,
            size=self._lesson.length,
            batch=min(rows, self._lesson.length),
            outputs=min(rows, self._lesson.length),
        )
        extra = {"cb_eval": self._tap.callback} if via == CALLBACK else {"swa_full": True}
        context = Context(self._model, settings, **extra)
        context.give_hidden_rows()
        return context

    def _nodes_are_seen(self) -> bool:
        """Whether the graph has the four nodes, with the shapes that the target's keys promise."""
        with self._opened(CALLBACK) as context:
            context.decode([0, 0], 0, 2)
        seen = [self._tap.take(f"{node}-{donor.layer}") for donor in self._donors for node in NODES.values()]
        wanted = [2 * donor.heads for donor in self._donors for _ in NODES]
        return all(rows is not None and len(rows) == count for rows, count in zip(seen, wanted, strict=True))

    @property
    def _donors(self) -> list[Donor]:
        return [self._lesson.donors[kind] for kind in KINDS]

    def record(self, tokens: Sequence[int]) -> dict[str, Array]:
        """The arrays of `signals.ARRAYS` for one piece. Raises LlamaError, BadFileError (not finite)."""
        forget(self._context)
        self._tap.clear()
        parts: list[tuple[Array, Array, Array]] = []
        for start in range(0, len(tokens), self._context.capacity):
            chunk = list(tokens[start : start + self._context.capacity])
            self._context.decode(chunk, start, len(chunk))
            ids, logs = best(self._context.logits(), self._lesson.top)
            parts.append((self._context.hidden().astype(np.float16), ids, logs))
        hidden, ids, logs = (np.concatenate(part) for part in zip(*parts, strict=True))
        cached = self._copied(len(tokens)) if self.via == CALLBACK else self._saved(len(tokens))
        arrays = {"tokens": np.array(tokens, np.int32), "hidden": hidden, "top_ids": ids, "top_logs": logs, **cached}
        bad = next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)
        if bad:
            raise BadFileError(f"the target gives numbers for {bad} that are not finite", where=self._lesson.target)
        return arrays

    def _copied(self, count: int) -> dict[str, Array]:
        found = {}
        for kind, donor in zip(KINDS, self._donors, strict=True):
            for name, node in NODES.items():
                rows = self._tap.take(f"{node}-{donor.layer}")
                if rows is None or len(rows) != count * donor.heads:
                    raise LlamaError(
                        f"{node}-{donor.layer} was computed {0 if rows is None else len(rows)} times, "
                        f"not {count * donor.heads}",
                        where=self._lesson.target,
                        hint="this llama.cpp names its nodes differently",
                    )
                found[f"{kind}_{name}"] = rows.reshape(count, donor.heads, donor.width).astype(np.float16)
        return found

    def _saved(self, count: int) -> dict[str, Array]:
        full, sliding = cached_layers(saved_state(self._context))
        found = {}
        for kind, cache, donor in zip(KINDS, (sliding, full), self._donors, strict=True):
            for name, layers in (("k", cache.keys), ("v", cache.values)):
                if not layers or layers[-1].shape != (count, donor.heads * donor.width):
                    shape = layers[-1].shape if layers else ()
                    raise LlamaError(f"the saved state has {kind} {name} of shape {shape}", where=self._lesson.target)
                found[f"{kind}_{name}"] = layers[-1].reshape(count, donor.heads, donor.width)
        return found

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.close()


def best(logits: Array, k: int) -> tuple[Array, Array]:
    """The k best tokens of each row, the best first (ties: the lowest id), and their log-probabilities.

    logits: float32 [rows, vocabulary]. Returns int32 and float16 [rows, k]. A vocabulary is cut into blocks first: the
    k-th largest of their maxima bounds from below what can be among the k best.
    """
    rows, vocabulary = logits.shape
    k = min(k, vocabulary)
    size = max(1, vocabulary // (4 * k))
    whole = vocabulary // size * size
    peaks = logits[:, :whole].reshape(rows, -1, size).max(2)
    bounds = np.partition(peaks, -k, axis=1)[:, -k] if peaks.shape[1] >= k else np.full(rows, -np.inf, np.float32)
    top = logits.max(1)
    totals = top + np.log(np.exp(logits - top[:, None]).sum(1, dtype=np.float32))
    ids, logs = np.empty((rows, k), np.int32), np.empty((rows, k), np.float16)
    for row in range(rows):
        likely = np.flatnonzero(logits[row] >= bounds[row])
        values = logits[row, likely]
        order = np.argsort(-values, kind="stable")[:k]
        ids[row], logs[row] = likely[order], values[order] - totals[row]
    return ids, logs
