"""Replay against the engine, and a training of some steps: its direction, what it leaves alone, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from gemma_mtp.adapt.batches import FIRST, Feed  # noqa: E402
from gemma_mtp.adapt.costs import ROWS  # noqa: E402
from gemma_mtp.adapt.figures import total  # noqa: E402
from gemma_mtp.adapt.head import choices, imitation  # noqa: E402
from gemma_mtp.adapt.network import FROZEN, Network, build, role_name  # noqa: E402
from gemma_mtp.adapt.replay import replayed, score  # noqa: E402
from gemma_mtp.adapt.rounds import rounds  # noqa: E402
from gemma_mtp.adapt.signals import ANSWER, GREEDY, TEXT, Signals  # noqa: E402
from gemma_mtp.adapt.train import Recipe, Trainer, train  # noqa: E402
from gemma_mtp.adapt.weights import open_weights  # noqa: E402
from gemma_mtp.demo.pair import PAIR  # noqa: E402
from gemma_mtp.model.part import Part  # noqa: E402
from gemma_mtp.mtp_runtime import MtpEngine  # noqa: E402
from gemma_mtp.native.settings import ContextSettings  # noqa: E402


@pytest.fixture
def pair(signals: Signals, target_gguf, assistant_gguf) -> Iterator[tuple[Network, Feed]]:
    """The demo assistant as a network, and the lesson, from GGUFs alone."""
    with ExitStack() as stack:
        target = stack.enter_context(open_weights(target_gguf("F32"), Part.TARGET))
        assistant = stack.enter_context(open_weights(assistant_gguf("F32"), Part.ASSISTANT))
        yield build(assistant), Feed(signals, target)


def test_replay_counts_what_the_engine_counts(pair, signals: Signals, target_gguf, assistant_gguf):
    network, feed = pair
    places = signals.some(kinds=(GREEDY,))
    found = replayed(network, feed, places)
    with MtpEngine(
        target_gguf("F32"), assistant_gguf("F32"), context=ContextSettings(size=256, threads=1), draft_max=3
    ) as engine:
        for place, counts in zip(places, found, strict=True):
            tokens = signals.load(place)["tokens"].tolist()
            running = engine.generate(
                tokens[: place.begin], max_tokens=place.length - place.begin, draft_max=3, ignore_end=True
            )
            list(running)
            assert running.tokens == tokens[place.begin :]
            assert list(counts.drafted_at) == running.statistics.drafted_at
            assert list(counts.accepted_at) == running.statistics.accepted_at
            assert counts.rounds == running.statistics.rounds
    assert total(found).accepted > 10


@pytest.mark.parametrize(("many", "length"), [(4, None), (1, FIRST + 4)], ids=["whole texts", "one position"])
def test_a_score_is_the_mean_over_positions(pair, many: int, length: int | None):
    """Counted one by one: drafts are right that the target would choose, up to the first that is not."""
    network, feed = pair
    texts = [place for place in feed.signals.places if place.kind in (TEXT, ANSWER)][:many]
    texts = [replace(place, length=length, begin=0) if length else place for place in texts]
    first, expected, overlap = [], [], []
    for place in texts:
        batch = feed.batch([place], 3)
        rows = torch.stack(list(rounds(network, batch, FIRST, 3, network.model.sliding_window)))[:, 0].detach()
        for position in range(max(FIRST, place.begin), place.length - 3):
            wanted, said = batch.top_ids[0, position : position + 3, 0], rows[:, position - FIRST] @ network.head.T
            right = (said.argmax(-1) == wanted).tolist()
            first.append(right[0])
            expected.append([*right, False].index(False))
            given = batch.top_logs[0, position].exp()
            overlap.append(torch.minimum(torch.softmax(said[0], -1)[batch.top_ids[0, position]], given).sum().item())
    found = score(network, feed, texts)
    assert found.positions == len(first)
    assert (found.first, found.expected) == pytest.approx((np.mean(first), np.mean(expected)))
    assert found.overlap == pytest.approx(np.mean(overlap), abs=1e-5)
    assert found.greedy.rounds == found.sampled.rounds == 0


def test_weights_are_the_same_from_a_checkpoint_and_from_a_gguf(assistant_gguf):
    with (
        open_weights(PAIR / "assistant", Part.ASSISTANT) as folder,
        open_weights(assistant_gguf("BF16"), Part.ASSISTANT) as file,
    ):
        assert folder.slots.keys() == file.slots.keys()
        for name in folder.slots:
            assert np.array_equal(folder.whole(name), file.whole(name)), name
        rows = [5, 0, 2047]
        assert np.array_equal(file.rows("token_embd.weight", rows), file.whole("token_embd.weight")[rows])


def test_a_quantized_assistant_is_read(assistant_gguf):
    with (
        open_weights(assistant_gguf("Q4_0"), Part.ASSISTANT) as packed,
        open_weights(assistant_gguf("F32"), Part.ASSISTANT) as plain,
    ):
        for name in plain.slots:
            one, other = packed.whole(name), plain.whole(name)
            assert np.linalg.norm(one - other) < 0.15 * np.linalg.norm(other), name


def test_the_heads_loss_and_gradient_are_autograds():
    torch.manual_seed(1)
    y, head = torch.randn(7, 16, requires_grad=True), torch.randn(50, 16)
    ids = torch.stack([torch.randperm(50)[:5] for _ in range(7)])
    logs, weights = torch.randn(7, 5).log_softmax(-1), torch.rand(7)
    total_loss = imitation(y, head, ids, logs, weights)
    total_loss.backward()
    found, y.grad = y.grad, None
    said = (y @ head.T).log_softmax(-1).gather(-1, ids)
    loss = -0.5 * (said[:, 0] + (logs.softmax(-1) * said).sum(-1))
    wanted = (loss * weights).sum()
    wanted.backward()
    assert total_loss.item() == pytest.approx(wanted.item())
    assert torch.allclose(found, y.grad, atol=1e-5)


def damaged(network: Network) -> None:
    """As if it were made for another target: its reading of the target's row is off."""
    torch.manual_seed(2)
    weight = network.weights["nextn.pre_projection.weight"]
    weight += 0.7 * weight.std() * torch.randn_like(weight)


def test_training_repairs_a_misfit_and_leaves_the_head_alone(pair):
    network, feed = pair
    sound = score(network, feed, feed.signals.some(held=True)).expected
    damaged(network)
    before = {name: weight.clone() for name, weight in network.weights.items()}
    told = []
    outcome = train(network, feed, Recipe(epochs=3, batch=256, seed=3), lambda *said: told.append(said))
    assert outcome.gained
    assert outcome.after.expected > outcome.before.expected + 0.25 * (sound - outcome.before.expected)
    changed = {role_name(name) for name, weight in network.weights.items() if not torch.equal(weight, before[name])}
    assert not changed & (FROZEN | {"token_embd"})
    assert {"attn_q", "ffn_down", "attn_norm", "nextn.pre_projection", "nextn.post_projection"} <= changed
    assert score(network, feed, feed.signals.some(held=True)).expected == pytest.approx(outcome.after.expected)
    assert told[-1][0] == 1
    assert outcome.losses[-1] < outcome.losses[0]


def test_rounds_some_at_a_time_give_the_gradients_of_all_together(pair, monkeypatch):
    network, feed = pair
    places = feed.signals.some(held=False)[:3]
    found = []
    for rows in (10_000, 90):
        monkeypatch.setitem(ROWS, "cpu", rows)
        trainer = Trainer(network, feed, Recipe(rate=0.0), places)
        loss = trainer.step(feed.batch(places, 3))
        norms = [state["exp_avg"].clone() for state in trainer._optimizer.state.values()]
        found.append((loss, torch.cat([norm.flatten() for norm in norms])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)
    assert found[0][1].abs().max() > 1e-4


def test_the_same_seed_gives_the_same_weights(pair):
    network, feed = pair
    start = {name: weight.clone() for name, weight in network.weights.items()}
    runs = []
    for seed in (3, 3):
        with torch.no_grad():
            for name, weight in network.weights.items():
                weight.copy_(start[name])
            damaged(network)
        train(network, feed, Recipe(epochs=1, batch=256, seed=seed))
        runs.append(network.weights["blk.0.attn_q.weight"].detach().clone())
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], start["blk.0.attn_q.weight"])


def test_a_learning_rate_of_nothing_gains_nothing(pair):
    network, feed = pair
    before = {name: weight.clone() for name, weight in network.weights.items()}
    outcome = train(network, feed, Recipe(rate=0.0, epochs=0.3))
    assert not outcome.gained
    assert all(torch.equal(weight, before[name]) for name, weight in network.weights.items())


def test_a_wild_learning_rate_ends_with_the_best_state(pair):
    network, feed = pair
    outcome = train(network, feed, Recipe(rate=1e30, epochs=1))
    assert "lower learning rate" in outcome.ended or not outcome.gained
    assert all(torch.isfinite(weight).all() for weight in network.weights.values())


def test_minutes_are_held(pair):
    network, feed = pair
    outcome = train(network, feed, Recipe(epochs=1000, minutes=1e-4))
    assert "minutes were over" in outcome.ended
    assert outcome.steps <= 2


def test_only_projections_and_norms(pair):
    network, feed = pair
    before = {name: weight.clone() for name, weight in network.weights.items()}
    damaged(network)
    outcome = train(network, feed, Recipe(train="projections", epochs=1))
    assert outcome.gained
    assert torch.equal(network.weights["blk.0.ffn_up.weight"], before["blk.0.ffn_up.weight"])


def test_candidates_of_the_head_train_like_all(pair):
    network, feed = pair
    damaged(network)
    outcome = train(network, feed, Recipe(epochs=1, batch=256, candidates=512))
    assert outcome.gained


def test_choices_in_chunks(monkeypatch):
    monkeypatch.setattr("gemma_mtp.adapt.head.CHUNK", 100)
    y, head = torch.randn(2, 9, 4), torch.randn(50, 4)
    assert torch.equal(choices(y, head), (y @ head.T).argmax(-1))
