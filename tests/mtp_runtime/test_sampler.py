"""Samplers: what each promises, counted over many draws on small vocabularies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime import Sampling, noise
from gemma_mtp.mtp_runtime.candidates import candidates, softmax, top
from gemma_mtp.mtp_runtime.sampler import Matching, Rejecting, make_sampler

OPEN = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
DRAWS = 10_000


def logits(seed: int, size: int = 12, spread: float = 1.5) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """The statistic, and what it stays under in all but one of a million cases (Wilson and Hilferty's formula)."""
    expected = probabilities * counts.sum()
    likely = expected > 0
    assert not counts[~likely].any()
    freedom = likely.sum() - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * np.sqrt(2 / (9 * freedom))) ** 3
    return float((((counts - expected) ** 2)[likely] / expected[likely]).sum()), float(limit)


def is_drawn_from(tokens: list[int], probabilities: np.ndarray) -> None:
    statistic, limit = chi_square(np.bincount(tokens, minlength=len(probabilities)), probabilities)
    assert statistic < limit


def dense(sampling: Sampling, row: np.ndarray) -> np.ndarray:
    kept = candidates(row, sampling)
    probabilities = np.zeros(len(row))
    probabilities[kept.tokens] = softmax(kept.logits)
    return probabilities


SHAPES = [
    pytest.param(OPEN, id="open"),
    pytest.param(replace(OPEN, temperature=0.6), id="cool"),
    pytest.param(replace(OPEN, temperature=1.7, top_k=5), id="hot-top-k"),
    pytest.param(replace(OPEN, top_p=0.8, min_p=0.1), id="top-p-min-p"),
    pytest.param(replace(OPEN, top_k=2), id="two"),
]


@pytest.mark.no_cover
@pytest.mark.parametrize("sampling", SHAPES)
def test_matching_draws_the_targets_distribution(sampling: Sampling):
    row, sampler = logits(1), Matching(sampling, 7, (), None)
    is_drawn_from([sampler.choose(row, index) for index in range(DRAWS)], dense(sampling, row))


@pytest.mark.no_cover
def test_the_drafter_draws_its_own_distribution_by_the_same_noise_and_mostly_agrees():
    target, drafter = logits(1), logits(1) + 0.3 * logits(2)
    sampler = Matching(OPEN, 0, (), None)
    chosen = [sampler.choose(target, index) for index in range(DRAWS)]
    proposed = [sampler.propose(drafter, index) for index in range(DRAWS)]
    is_drawn_from(proposed, softmax(drafter.astype(np.float64)))
    agreement = np.mean(np.equal(chosen, proposed))
    independent = float(softmax(target) @ softmax(drafter))
    best = float(np.minimum(softmax(target), softmax(drafter)).sum())  # no coupling agrees more often
    assert independent + 0.5 * (best - independent) < agreement <= best + 0.01


@pytest.mark.no_cover
@pytest.mark.parametrize("sampling", SHAPES)
@pytest.mark.parametrize("drafter", [1, 2], ids=["like-the-target", "unlike"])
def test_rejecting_gives_the_targets_distribution_whatever_is_drafted(sampling: Sampling, drafter: int):
    row, guesses = logits(1), logits(1) * 0.5 + logits(drafter) * 0.5
    sampler = Rejecting(sampling, 0, (), None)
    accepted, tokens = 0, []
    for index in range(DRAWS):
        draft = sampler.propose(guesses, index)
        tokens.append(sampler.choose(row, index, draft))
        accepted += tokens[-1] == draft
    p, q = dense(sampling, row), dense(sampling, guesses)
    is_drawn_from(tokens, p)
    assert accepted / DRAWS == pytest.approx(np.minimum(p, q).sum(), abs=0.02)


@pytest.mark.no_cover
def test_rejecting_keeps_the_joint_distribution_of_two_places():
    """The second place's distribution depends on the first token; a draft of two is judged as in a round."""
    first, guess = logits(3, 4), logits(4, 4)
    second, guesses = [logits(10 + token, 4) for token in range(4)], [logits(20 + token, 4) for token in range(4)]
    sampler, pairs = Rejecting(OPEN, 0, (), None), []
    for index in range(0, 2 * DRAWS, 2):
        drafts = [sampler.propose(guess, index)]
        drafts.append(sampler.propose(guesses[drafts[0]], index + 1))
        token = sampler.choose(first, index, drafts[0])
        if token == drafts[0]:
            following = sampler.choose(second[token], index + 1, drafts[1])
        else:  # a new round, with a new draft for the second place
            following = sampler.choose(second[token], index + 1, sampler.propose(guesses[token], index + 1))
        pairs.append(4 * token + following)
    joint = softmax(first)[:, None] * np.array([softmax(row) for row in second])
    is_drawn_from(pairs, joint.ravel())


@pytest.mark.parametrize("mode", ["match", "reject"])
def test_the_seed_decides_and_places_are_independent(mode: str):
    row = logits(1)
    draws = {
        seed: [make_sampler(replace(OPEN, seed=seed, mode=mode), [5], ()).choose(row, index) for index in range(2000)]
        for seed in (1, 2, 2**63)
    }
    again = make_sampler(replace(OPEN, seed=1, mode=mode), [5], ())
    assert [again.choose(row, index) for index in reversed(range(2000))] == draws[1][::-1]
    assert draws[1] != draws[2] != draws[2**63]
    pairs = [12 * one + other for one, other in zip(draws[2], draws[2][1:], strict=False)]
    p = softmax(row)
    statistic, limit = chi_square(np.bincount(pairs, minlength=144), np.outer(p, p).ravel())
    assert statistic < 1.5 * limit  # some cells expect little


def test_a_place_is_a_place_of_the_text():
    """A text that is continued after its first tokens goes on as it would have."""
    row = logits(1)
    whole, rest = make_sampler(OPEN, [5]), make_sampler(OPEN, [5, 1, 2, 3])
    assert [whole.choose(row, index) for index in range(3, 50)] == [rest.choose(row, index) for index in range(47)]


def test_without_a_seed_every_generation_is_another():
    row, free = logits(1), replace(OPEN, seed=None)
    one, other = (make_sampler(free, [5]) for _ in range(2))
    assert [one.choose(row, index) for index in range(50)] != [other.choose(row, index) for index in range(50)]


@pytest.mark.no_cover
def test_rejecting_takes_a_drafter_that_is_certain():
    """It knows one candidate, the target several: kept or not, what is chosen is distributed as the target's."""
    p, sure = logits(1), np.zeros(12, np.float32)
    sure[int(p.argsort()[-3])] = 100  # not the target's favourite
    sampling, drawn = replace(OPEN, min_p=0.05), []
    sampler = Rejecting(sampling, 5, (), None)
    for index in range(DRAWS):
        draft = sampler.propose(sure.copy(), index)
        assert draft == int(sure.argmax())
        drawn.append(sampler.choose(p, index, draft))
    is_drawn_from(drawn, dense(sampling, p))


@pytest.mark.parametrize("mode", ["match", "reject"])
def test_what_a_mode_promises_of_drafts(mode: str):
    """Matching: the text is the same, whatever was drafted. Rejecting keeps many a draft that would not be drawn."""
    drafted, plain = (make_sampler(replace(OPEN, mode=mode), [5]) for _ in range(2))
    drafts = [drafted.propose(logits(2), index) for index in range(300)]
    text = [drafted.choose(logits(1), index, draft) for index, draft in enumerate(drafts)]
    assert (text == [plain.choose(logits(1), index) for index in range(300)]) == (mode == "match")


def test_penalties_count_from_the_prompt_on():
    """A token that stands in the prompt already is less likely, and the next best wins."""
    best = int(logits(1).argmax())
    for sampling, same in ((Sampling(temperature=0), True), (Sampling(temperature=0, repeat_penalty=10.0), False)):
        assert (make_sampler(sampling, [best]).choose(logits(1), 0) == best) == same


@pytest.mark.parametrize("mode", ["match", "reject"])
@pytest.mark.parametrize("sampling", SHAPES)
def test_banned_tokens_are_never_drawn(mode: str, sampling: Sampling):
    sampler = make_sampler(replace(sampling, mode=mode), [5], banned=[int(logits(1).argmax()), 3])
    assert not {sampler.choose(logits(1), index) for index in range(500)} & {int(logits(1).argmax()), 3}


@pytest.mark.no_cover
def test_a_large_vocabulary_is_drawn_from_as_a_whole():
    """The shortcut for many candidates leaves every token its chance."""
    row = logits(5, 3000, spread=0.5)
    sampler = Matching(OPEN, 0, (), None)
    tokens = np.array([sampler.choose(row, index) for index in range(6000)])
    p = softmax(row.astype(np.float64))
    order = np.argsort(p)
    groups = np.empty(3000, int)
    groups[order] = np.arange(3000) // 150  # from the least to the most probable
    is_drawn_from(groups[tokens].tolist(), np.bincount(groups, weights=p))


@pytest.mark.parametrize("size", [1, 7, 700, 40_000])
@pytest.mark.parametrize("count", [1, 2, 40, 300, 5000, 10**6])
def test_top_is_the_head_of_the_sorted_row(size: int, count: int):
    row = np.round(logits(size, size), 2)  # with ties
    assert top(row, count).tolist() == np.argsort(-row, kind="stable")[:count].tolist()


def test_noise_is_uniform_and_never_its_ends():
    numbers = noise.uniforms(3, 4, 5, np.arange(200_000))
    assert 0 < numbers.min() < numbers.max() < 1
    statistic, limit = chi_square(np.bincount((numbers * 64).astype(int), minlength=64), np.full(64, 1 / 64))
    assert statistic < limit
    assert (noise.gumbels(3, 4, 5, np.arange(200_000)) <= noise.LARGEST_GUMBEL).all()
    # SplitMix64 from 0: the outputs that its authors' program gives.
    first = [int(noise.mix(n * noise.GAMMA & noise.MASK)) for n in (1, 2, 3)]
    assert first == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top-k is -1"),
        ({"top_p": 0}, "top-p is 0"),
        ({"min_p": 2}, "min-p is 2"),
        ({"repeat_penalty": 0}, "repeat-penalty is 0"),
        ({"repeat_last_n": -2}, "repeat-last-n is -2"),
        ({"frequency_penalty": float("inf")}, "frequency-penalty is inf"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"mode": "hope"}, "mode 'hope' is unknown"),
    ],
)
def test_wrong_options_are_told(options: dict, words: str):
    with pytest.raises(UsageError, match=words):
        Sampling(**options)
