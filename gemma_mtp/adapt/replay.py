"""Drafting rounds replayed on held-out signals: acceptance without the target, in seconds.

On what the target wrote itself (greedily, or drawing) the rounds that the runtime would run are walked through: a draft
is accepted if it is the token that stands there. On other texts every position counts, and a draft is right if it is
what the target would choose: there nothing loops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gemma_mtp.adapt.batches import FIRST, Feed
from gemma_mtp.adapt.figures import CHAIN, Counts, Score, total
from gemma_mtp.adapt.head import choices, overlaps
from gemma_mtp.adapt.network import Network
from gemma_mtp.adapt.rounds import Batch, Tensor, accepted_lengths, no_gradients, rounds, steps_of, walk
from gemma_mtp.adapt.signals import ANSWER, GREEDY, SAMPLED, TEXT, Place

#: Tokens that are looked at together.
TOKENS = 2048


@no_gradients
def score(network: Network, feed: Feed, places: Sequence[Place], chain: int = CHAIN) -> Score:
    """The assistant on these pieces."""
    texts = [place for place in places if place.kind in (TEXT, ANSWER)]
    first, expected, overlap, positions = 0.0, 0.0, 0.0, 0
    for _, batch in feed.batches(texts, TOKENS, chain):
        right, shared = _agreement(network, batch, chain)
        positions += right.shape[1]
        first += right[0].sum().item()
        expected += right.cumprod(0).sum().item()
        overlap += shared.sum().item()
    many = max(1, positions)
    return Score(
        first / many,
        expected / many,
        overlap / many,
        positions,
        total(replayed(network, feed, [place for place in places if place.kind == GREEDY], chain)),
        total(replayed(network, feed, [place for place in places if place.kind == SAMPLED], chain)),
    )


def _agreement(network: Network, batch: Batch, chain: int) -> tuple[Tensor, Tensor]:
    """Whether the drafts at each step are the target's choice [chain, positions], and the first one's overlap."""
    assert batch.top_ids is not None
    assert batch.top_logs is not None
    valid = steps_of(batch.valid, FIRST, 0, chain)
    right, shared = [], torch.empty(0)
    for step, y in enumerate(rounds(network, batch, FIRST, chain, network.model.sliding_window)):
        ids = steps_of(batch.top_ids, FIRST, step, chain)[valid]
        y = y[valid]
        right.append(choices(y, network.head) == ids[:, 0])
        if step == 0:
            shared = overlaps(y, network.head, ids, steps_of(batch.top_logs, FIRST, 0, chain)[valid])
    return torch.stack(right).long(), shared


@no_gradients
def replayed(network: Network, feed: Feed, places: Sequence[Place], chain: int = CHAIN) -> list[Counts]:
    """The rounds that the runtime runs over each continuation, which has the length that was asked for."""
    found: dict[Place, Counts] = {}
    for group, batch in feed.batches(places, TOKENS, chain):
        first = min(place.begin for place in group)
        steps = rounds(network, batch, first, chain, network.model.sliding_window)
        drafts = torch.stack([choices(y, network.head) for y in steps])  # [chain, texts, rounds]
        for row, place in enumerate(group):
            said = batch.tokens[row]
            right = [
                drafts[step, row] == said[first + step + 1 : first + step + 1 + drafts.shape[2]]
                for step in range(chain)
            ]
            lengths = accepted_lengths(right)[place.begin - first :].tolist()
            found[place] = _walked(lengths, place, chain)
    return [found[place] for place in places]


def _walked(lengths: list[int], place: Place, chain: int) -> Counts:
    """As `mtp_runtime.generate` counts: the first token comes without a round; the last rounds draft less."""
    drafted, accepted, count = [0] * chain, [0] * chain, 0
    limits = [max(0, min(chain, place.length - position - 2)) for position in range(place.begin, place.length - 1)]
    cut = [min(length, limit) for length, limit in zip(lengths, limits, strict=False)]
    position = 0
    for kept in walk(cut, 0, len(cut)):
        for step in range(limits[position]):
            drafted[step] += 1
            accepted[step] += step < kept
        position += kept + 1
        count += 1
    return Counts(tuple(drafted), tuple(accepted), count)
