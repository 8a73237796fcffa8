"""The training loop: chains of drafts from cached signals, the best held-out state kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import torch

from gemma_mtp.adapt.batches import FIRST, Feed, grouped
from gemma_mtp.adapt.costs import ROWS, candidate_count, step_flops
from gemma_mtp.adapt.figures import CHAIN, Score
from gemma_mtp.adapt.head import imitation
from gemma_mtp.adapt.network import SETS, Network
from gemma_mtp.adapt.replay import score
from gemma_mtp.adapt.rounds import Batch, Tensor, no_gradients, rounds, steps_of
from gemma_mtp.adapt.signals import ANSWER, TEXT, Place
from gemma_mtp.errors import UsageError

#: Share of the training between two looks at the held-out texts; looks without a better one after which it stops.
LOOK, PATIENCE = 0.05, 8
WARM_UP, CLIP, BETAS = 0.05, 1.0, (0.9, 0.98)
#: Held-out tokens that a look takes.
LOOKED_AT = 8192
#: Weights of the body up to this count -> the learning rate. The first was found on the demo pair, the others are
#: what others train real ones with.
RATES = ((5e6, 2e-3), (5e7, 3e-4), (float("inf"), 1e-4))


@dataclass(frozen=True)
class Recipe:
    """How to train. rate: None: by the size of the body. epochs: over the training pieces. batch: tokens of a step,
    None: by the number of tokens. minutes: None: without limit. candidates: of the head; None: by device, 0: all."""

    train: str = "body"
    rate: float | None = None
    epochs: float = 2.0
    minutes: float | None = None
    batch: int | None = None
    seed: int = 1
    chain: int = CHAIN
    device: str = "cpu"
    candidates: int | None = None


@dataclass
class Outcome:
    """before, after: on all held-out signals. rise: of the expected drafts of a round, at the looks. ended: why it
    stopped. trained: weights. seconds: of all steps. flops: of a step, on average."""

    before: Score
    after: Score
    rise: float = 0.0
    steps: int = 0
    positions: int = 0
    trained: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    flops: float = 0.0
    peak_memory: int = 0
    ended: str = "all texts were seen"
    losses: list[float] = field(default_factory=list)

    @property
    def gained(self) -> bool:
        return self.rise > 0


Tell = Callable[[float, float, Score], None]


def train(network: Network, feed: Feed, recipe: Recipe, tell: Tell = lambda *_: None) -> Outcome:
    """Train the network; afterwards it is in its best held-out state, which may be the one that it came in.

    tell: hears of the share that is done, the loss and the score after each look. Raises UsageError: nothing to learn.
    """
    learnt, held = feed.signals.some(held=False), feed.signals.some(held=True)
    looked_at = _some_tokens([place for place in held if place.kind in (TEXT, ANSWER)], LOOKED_AT)
    if not learnt or not looked_at:
        raise UsageError("there are no texts to learn from, or none to measure on", where=feed.signals.folder)
    before = score(network, feed, held, recipe.chain)
    start = score(network, feed, looked_at, recipe.chain).expected
    trainer = Trainer(network, feed, recipe, learnt)
    outcome = Outcome(before, before, trained=trainer.count, rate=trainer.rate)
    best, looked, idle = trainer.state(), 0.0, 0
    for batch in trainer.batches():
        loss = trainer.step(batch)
        outcome.steps, outcome.positions = trainer.steps, trainer.positions
        outcome.losses.append(loss)
        if not np.isfinite(loss):
            outcome.ended = f"the loss was {loss} at step {trainer.steps}: a lower learning rate may help"
            break
        if trainer.done - looked < LOOK and trainer.done < 1:
            continue
        looked = trainer.done
        found = score(network, feed, looked_at, recipe.chain)
        tell(trainer.done, loss, found)
        if found.expected - start > outcome.rise:
            outcome.rise, best, idle = found.expected - start, trainer.state(), 0
        else:
            idle += 1
        if idle >= PATIENCE:
            outcome.ended = f"{PATIENCE} looks at the held-out texts were no better"
            break
    else:
        if trainer.late:
            outcome.ended = f"the {recipe.minutes:g} minutes were over"
    trainer.restore(best)
    outcome.after = score(network, feed, held, recipe.chain) if outcome.gained else before
    outcome.seconds, outcome.flops, outcome.peak_memory = trainer.seconds, trainer.flops, trainer.peak_memory
    return outcome


class Trainer:
    """Weights, optimizer and clock. done: the share of the work, by texts or by time, whichever is more. kept: rows
    that the head is cut to, 0: all."""

    def __init__(self, network: Network, feed: Feed, recipe: Recipe, places: list[Place]):
        self._network, self._feed, self._recipe, self._places = network, feed, recipe, places
        self._weights = network.train(SETS[recipe.train])
        self.count = sum(weight.numel() for weight in self._weights.values())
        body = sum(weight.numel() for weight in network.train(SETS["body"]).values())
        network.train(SETS[recipe.train])
        self.rate = next(rate for most, rate in RATES if body <= most) if recipe.rate is None else recipe.rate
        self._optimizer = torch.optim.AdamW(self._weights.values(), lr=self.rate, betas=BETAS, weight_decay=0.0)
        tokens = sum(place.length for place in places)
        self._batch = recipe.batch or max(256, min(2048, tokens // 64))
        self._all = max(1.0, recipe.epochs * tokens)
        self._seen, self._start = 0, monotonic()
        self.steps = self.positions = self.peak_memory = 0
        self.seconds = self.flops = 0.0
        self._head = network.head.bfloat16() if recipe.device == "cuda" else network.head
        self._random = np.random.default_rng(recipe.seed)
        self.kept = candidate_count(recipe.candidates, recipe.device, len(network.head))

    @property
    def done(self) -> float:
        return min(1.0, max(self._seen / self._all, self._time_share))

    @property
    def _time_share(self) -> float:
        return (monotonic() - self._start) / (60 * self._recipe.minutes) if self._recipe.minutes else 0.0

    @property
    def late(self) -> bool:
        return self._time_share >= 1

    def batches(self) -> Iterator[Batch]:
        """The pieces in random order, again and again, until all is done."""
        while True:
            mixed = [self._places[index] for index in self._random.permutation(len(self._places))]
            for group in grouped(mixed, self._batch):
                if self._seen >= self._all or self.late:
                    return
                self._seen += sum(place.length for place in group)
                batch = self._feed.batch(group, self._recipe.chain)
                if batch.valid.any():
                    yield batch

    def step(self, batch: Batch) -> float:
        """One step of the optimizer. Returns the loss, nats a draft."""
        begin, recipe = monotonic(), self._recipe
        rows = int(steps_of(batch.valid, FIRST, 0, recipe.chain).sum())
        head, ids = self._candidates(batch)
        last, size = batch.length - recipe.chain, max(1, ROWS[recipe.device] // len(batch.tokens))
        loss = 0.0
        for start in range(FIRST, last, size):
            some = self._loss(batch, start, min(start + size, last), head, ids) / (rows * recipe.chain)
            some.backward()
            loss += float(some.detach())
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * self._schedule()
        torch.nn.utils.clip_grad_norm_(self._weights.values(), CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.positions += rows
        self._account(batch, monotonic() - begin, len(head))
        return loss

    def _loss(self, batch: Batch, first: int, last: int, head: Tensor, ids: Tensor) -> Tensor:
        """Of the rounds at first .. last - 1, summed over their drafts. Only they are kept in memory for gradients."""
        chain, network = self._recipe.chain, self._network
        valid = steps_of(batch.valid, first, 0, chain, last)
        weights = torch.ones(int(valid.sum()), device=batch.tokens.device)
        half = torch.autocast("cuda", torch.bfloat16) if self._recipe.device == "cuda" else nullcontext()
        loss: Any = 0.0
        assert batch.top_logs is not None
        with half:
            drafted = rounds(network, batch, first, chain, network.model.sliding_window, last)
            for depth, y in enumerate(drafted):
                best, logs = (steps_of(part, first, depth, chain, last)[valid] for part in (ids, batch.top_logs))
                loss = loss + imitation(y[valid], head, best, logs, weights)
        return loss

    def _schedule(self) -> float:
        """Warm-up, then down to nothing in a line."""
        return min((self.steps + 1) / max(1, WARM_UP * self._all / self._batch), max(0.02, 1 - self.done))

    def _candidates(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The head's rows that count in this step, and the target's tokens as places among them."""
        assert batch.top_ids is not None
        if not self.kept:
            return self._head, batch.top_ids
        needed = torch.unique(batch.top_ids)
        others = torch.arange(len(self._head), device=needed.device)[: self.kept]
        chosen = torch.unique(torch.cat([needed, others]))
        return self._head[chosen], torch.searchsorted(chosen, batch.top_ids)

    def _account(self, batch: Batch, seconds: float, head: int) -> None:
        self.seconds += seconds
        count = len(batch.tokens) * (batch.length - FIRST - self._recipe.chain)
        flops = step_flops(self._network.model, count, batch.length, self._recipe.chain, head)
        self.flops += (flops - self.flops) / self.steps
        if self._recipe.device == "cuda":
            self.peak_memory = torch.cuda.max_memory_allocated()
        else:
            from gemma_mtp.native.stats import peak_memory

            self.peak_memory = peak_memory()

    def state(self) -> dict[str, Tensor]:
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self._weights.items()}

    @no_gradients
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(state[name])


def _some_tokens(places: list[Place], most: int) -> list[Place]:
    """Pieces of all kinds, evenly, of about so many tokens in all."""
    whole = sum(place.length for place in places)
    count = max(1, min(len(places), round(len(places) * most / max(1, whole))))
    return [places[index * len(places) // count] for index in range(count)] if places else []
