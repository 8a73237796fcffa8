"""Our filters and penalties against llama.cpp's own samplers, applied to the same logits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest

from gemma_mtp.mtp_runtime import Sampling
from gemma_mtp.mtp_runtime.candidates import Penalties, candidates, confidence, softmax

OPEN = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
VOCABULARY = 3000


def row(seed: int, spread: float) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(VOCABULARY) * spread).astype(np.float32)


def theirs(logits: np.ndarray, sampling: Sampling, said: Sequence[int] = ()) -> dict[int, float]:
    """Token -> probability, by the chain that llama.cpp's tools build from the same options."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    last = len(said) if sampling.repeat_last_n < 0 else sampling.repeat_last_n
    for sampler in (
        lib.llama_sampler_init_penalties(VOCABULARY, last, *penalties),
        lib.llama_sampler_init_top_k(sampling.top_k),
        lib.llama_sampler_init_top_p(sampling.top_p, 0),
        lib.llama_sampler_init_min_p(sampling.min_p, 0),
        lib.llama_sampler_init_temp(sampling.temperature),
        lib.llama_sampler_init_dist(1),
    ):
        lib.llama_sampler_chain_add(chain, sampler)
    for token in said:
        lib.llama_sampler_accept(chain, token)
    data = (lib.llama_token_data * len(logits))(
        *(lib.llama_token_data(id=token, logit=float(logit), p=0.0) for token, logit in enumerate(logits))
    )
    array = lib.llama_token_data_array(data=data, size=len(logits), selected=-1, sorted=False)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    found = {array.data[place].id: array.data[place].p for place in range(array.size)}
    lib.llama_sampler_free(chain)
    return found


def ours(logits: np.ndarray, sampling: Sampling, said: Sequence[int] = ()) -> dict[int, float]:
    logits = logits.copy()
    if sampling.penalises:
        Penalties(sampling, list(said)).apply(logits, 0)
    kept = candidates(logits, sampling)
    return dict(zip(kept.tokens.tolist(), softmax(kept.logits).tolist(), strict=True))


def agree(logits: np.ndarray, sampling: Sampling, said: Sequence[int] = ()) -> None:
    mine, wanted = ours(logits, sampling, said), theirs(logits, sampling, said)
    assert mine.keys() == wanted.keys()
    assert [mine[token] for token in wanted] == pytest.approx(list(wanted.values()), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.4},
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": VOCABULARY + 5},
        {"top_p": 0.5},
        {"top_p": 0.95},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
        {"top_k": 7, "top_p": 0.6, "temperature": 1.9},
        {"top_p": 0.9, "min_p": 0.1, "temperature": 1.3},
    ],
    ids=str,
)
def test_filters(options: dict, spread: float):
    for seed in range(3):
        agree(row(seed, spread), replace(OPEN, **options))


@pytest.mark.parametrize("last", [-1, 5, 64])
@pytest.mark.parametrize(
    "options",
    [
        {"repeat_penalty": 1.3},
        {"repeat_penalty": 0.8},
        {"presence_penalty": 0.7},
        {"frequency_penalty": 0.3},
        {"repeat_penalty": 1.1, "presence_penalty": -0.4, "frequency_penalty": 0.2, "top_k": 30},
    ],
    ids=str,
)
def test_penalties(options: dict, last: int):
    said = np.random.default_rng(9).integers(0, 40, 100).tolist()
    agree(row(1, 2.0), replace(OPEN, repeat_last_n=last, **options), said)


def test_penalties_of_nothing():
    agree(row(1, 2.0), replace(OPEN, repeat_penalty=1.5, repeat_last_n=0), [1, 2, 3])


@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
def test_the_drafters_confidence(spread: float):
    """llama.cpp's drafter keeps the ten best and compares the first one's probability with p-min."""
    logits = row(4, spread)
    assert confidence(logits) == pytest.approx(max(theirs(logits, replace(OPEN, top_k=10)).values()), rel=1e-5)


@pytest.mark.parametrize("vocabulary", [1, 7, 2048, 8191, 8192, 50_001, 262_144])
@pytest.mark.parametrize("levels", [40, 100_000])
def test_the_confidence_is_found_in_vocabularies_of_all_sizes(vocabulary: int, levels: int):
    """The ten best are searched, not sorted out: they may lie anywhere, the end included, and be equal."""
    for seed in range(5):
        logits = np.random.default_rng(seed).integers(0, levels, vocabulary).astype(np.float32) * np.float32(8 / levels)
        logits[-3:] += 8
        ten = np.sort(logits.astype(np.float64))[-10:]
        assert confidence(logits) == pytest.approx(1 / np.exp(ten - ten[-1]).sum(), rel=1e-6)
