"""`verify`'s verdict on one file beside the real loader's, and where it is stricter, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS, model_keys, model_tensors, plan_of, vocabulary

from gemma_mtp.errors import GGUFError
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan, padded
from gemma_mtp.native.child import converse
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import Status
from gemma_mtp.validate.checks import attachment
from gemma_mtp.validate.checks import vocabulary as vocabulary_checks
from gemma_mtp.validate.findings import Result
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.verify import check_file

#: Smaller than the other tests' models: there are some thousand files.
SMALL = {
    "layers": 2,
    "sliding": (True, False),
    "intermediate": 32,
    "heads": 2,
    "kv_heads_sliding": 1,
    "head_dim_sliding": 16,
    "head_dim_full": 32,
}
HYPERS = {
    "target": replace(TARGET, hidden=32, **SMALL),
    "assistant": replace(ASSISTANT, hidden=16, backbone=32, shared_kv_layers=2, **SMALL),
}
#: Files that are on the disk at a time.
BATCH = 128

Name = TypeVar("Name")


def small_model(part: str) -> tuple[dict[str, Value], list[TensorPlan], bytes]:
    """Keys, tensors, and the tensors' data of a sound file."""
    keys, tensors = {**model_keys(HYPERS[part]), **vocabulary(WORDS)}, model_tensors(HYPERS[part], 0)
    plans = [plan_of(name, kind, data) for name, (kind, data) in tensors.items()]
    data = b"".join(
        np.ascontiguousarray(data).tobytes().ljust(padded(plan.nbytes), b"\0")
        for plan, (_, data) in zip(plans, tensors.values(), strict=True)
    )
    return keys, plans, data


def reasons(path: Path, part: str) -> list[str]:
    """Why `verify` refuses a file, whatever it is paired with, each after its check's name; nothing if it is sound."""
    try:
        with open_model(path, part) as side:
            alone = check_file(side, "target-finite", "assistant-finite")
            found = [f"{result.id}: {fault}" for result in alone.errors for fault in _faults(side, result)]
            if found:
                return found
            pair = Pair(target=side, assistant=side)  # what is only asked of two files, and judges one
            needed = {"tokenizer": vocabulary_checks.tokenizer_model(pair)}
            if part == "target":
                needed["donor-layers"] = attachment.donor_layers(side)
            return [f"{name}: {one.message}" for name, one in needed.items() if one.status is Status.ERROR]
    except GGUFError as error:
        return [f"file: {error.what}"]


def _faults(side: OpenModel, result: Result) -> Sequence[str]:
    """What a finding sums up."""
    if result.id.endswith("-keys"):
        return side.keys.faults or (str(side.model),)
    if result.id.endswith("-tokenizer"):
        return (*side.common_faults, *side.token_faults)
    return [result.finding.message]


def verdicts(
    part: str, files: Iterable[tuple[object, bytes]], folder: Path
) -> Iterator[tuple[object, list[str], bool]]:
    """(name, `reasons`, whether llama.cpp can use it) of each file, given by a name and its bytes.

    The files are written, judged by both and removed in batches.
    """
    waiting = iter(files)
    with closing(converse("helpers.load_many:usable", part == "target")) as loader:
        next(loader)
        while batch := list(islice(waiting, BATCH)):
            paths = [folder / f"{number}.gguf" for number in range(len(batch))]
            for path, (_, content) in zip(paths, batch, strict=True):
                path.write_bytes(content)
            ours = [reasons(path, part) for path in paths]
            theirs = loader.send([str(path) for path in paths])
            for path in paths:
                path.unlink()
            yield from zip((name for name, _ in batch), ours, theirs, strict=True)
