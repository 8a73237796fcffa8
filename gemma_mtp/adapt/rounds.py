"""Drafting rounds at all positions of some texts at once: what training, measuring and the demo pair's tool share.

The round at position p begins with the token there and the target's row of p - 1. It reads the target's keys and values
of positions before p, in sliding layers those of the last window - 1, and every step of it stands at p. Step s is fed
with the token at p + s: a draft there matters only if all before it were accepted, and then the tokens that it follows
are the target's own. So teacher forcing is what happens in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

import torch

#: torch.Tensor, of which no types are known where torch is not installed.
Tensor = Any
P = ParamSpec("P")
Result = TypeVar("Result")
#: kind -> keys and values, each [texts, heads, length, width].
Cache = dict[str, tuple[Tensor, Tensor]]


def no_gradients(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function under torch.no_grad, with its types."""
    wrapped: Callable[P, Result] = torch.no_grad()(function)
    return wrapped


@dataclass
class Batch:
    """Texts of one length L (shorter ones are filled up, behind their end) with a target's signals.

    tokens: [B, L]. rows: the target's embedding of each token, as it is fed, [B, L, width]. hidden: [B, L, width].
    cache: keys and values of the donor layers. valid: [B, L], where a round may begin.
    top_ids, top_logs: [B, L, k], the target's best next tokens and their log-probabilities.
    """

    tokens: Tensor
    rows: Tensor
    hidden: Tensor
    cache: Cache
    valid: Tensor
    top_ids: Tensor | None = None
    top_logs: Tensor | None = None

    @property
    def length(self) -> int:
        return int(self.tokens.shape[1])


class Drafts(Protocol):
    """An assistant, as rounds see it."""

    def step(self, fed: Tensor, positions: Tensor, masks: dict[str, Tensor], cache: Cache) -> tuple[Tensor, Tensor]:
        """fed: token row and h, [B, R, 2 * width]. Returns what the head reads [B, R, hidden], and the next h."""


def masks(length: int, positions: Tensor, window: int) -> dict[str, Tensor]:
    """kind -> what a round at each of `positions` [R] may read of `length` cached tokens: bool [1, 1, R, length]."""
    keys = torch.arange(length, device=positions.device)
    past = keys[None] < positions[:, None]
    near = past & (keys[None] > positions[:, None] - window)
    return {"full": past[None, None], "sliding": near[None, None]}


def rounds(
    assistant: Drafts, batch: Batch, first: int, chain: int, window: int, last: int | None = None
) -> Iterator[Tensor]:
    """What the head reads at each of `chain` steps, of the rounds at first .. last - 1: [B, R, hidden].

    last: None: L - chain, behind which there is nothing to compare with.
    """
    last = batch.length - chain if last is None else last
    positions = torch.arange(first, last, device=batch.tokens.device)
    seen = masks(batch.length, positions, window)
    h = batch.hidden[:, first - 1 : last - 1]
    for step in range(chain):
        fed = torch.cat([batch.rows[:, first + step : last + step], h], dim=-1)
        y, h = assistant.step(fed, positions, seen, batch.cache)
        yield y


def steps_of(values: Tensor, first: int, step: int, chain: int, last: int | None = None) -> Tensor:
    """The part of `values` [B, L, ...] that belongs to step `step` of `rounds`, by the position it is fed from."""
    return values[:, first + step : (values.shape[1] - chain if last is None else last) + step]


def accepted_lengths(right: list[Tensor]) -> Tensor:
    """How many drafts of a round hold: [...], from whether each step's is right, [...] bool for each step."""
    return torch.stack(right).long().cumprod(0).sum(0)


def walk(lengths: Any, begin: int, end: int) -> list[int]:
    """The rounds that a generation runs from position `begin` to `end`: the number of drafts accepted in each.

    lengths: accepted drafts of the round at each position, from `begin` on.
    """
    found, position = [], begin
    while position < end and position - begin < len(lengths):
        found.append(int(lengths[position - begin]))
        position += found[-1] + 1
    return found
