"""What replay and training count with: who reads what, which drafts hold, which pieces go together."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from gemma_mtp.adapt.batches import grouped  # noqa: E402
from gemma_mtp.adapt.head import choices, imitation, overlaps  # noqa: E402
from gemma_mtp.adapt.rounds import accepted_lengths, masks, steps_of, walk  # noqa: E402
from gemma_mtp.adapt.signals import TEXT, Place  # noqa: E402


def test_a_round_reads_what_is_before_it():
    """Sliding layers the last window - 1 of that."""
    seen = masks(6, torch.tensor([1, 5]), 4)
    assert {kind: mask.shape for kind, mask in seen.items()} == dict.fromkeys(("full", "sliding"), (1, 1, 2, 6))
    read = {kind: [row.nonzero().flatten().tolist() for row in mask[0, 0]] for kind, mask in seen.items()}
    assert read == {"full": [[0], [0, 1, 2, 3, 4]], "sliding": [[0], [2, 3, 4]]}


@pytest.mark.parametrize(("last", "wanted"), [(None, [3, 4, 5, 6, 7]), (5, [3, 4, 5])])
def test_a_step_is_fed_from_behind_its_round(last: int | None, wanted: list[int]):
    """The second of three steps: of ten tokens the rounds from 2 on, up to 6, whose last draft stands at the end."""
    assert steps_of(torch.arange(10)[None], 2, 1, 3, last).tolist() == [wanted]


def test_drafts_hold_up_to_the_first_that_does_not():
    right = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=torch.bool)
    assert accepted_lengths(list(right.T)).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("lengths", "begin", "end", "kept"),
    [
        ([2, 9, 9, 0, 1, 9], 0, 6, [2, 0, 1]),
        ([1, 9, 3], 5, 7, [1]),  # the next round would begin at the end
        ([0, 0], 5, 9, [0, 0]),  # of more positions nothing is known
    ],
)
def test_a_generation_goes_from_round_to_round(lengths: list[int], begin: int, end: int, kept: list[int]):
    assert walk(lengths, begin, end) == kept


@pytest.mark.parametrize(
    ("lengths", "tokens", "groups"),
    [
        ([3, 3, 3], 9, [[3, 3, 3]]),
        ([3, 3, 3], 8, [[3, 3], [3]]),
        ([2, 2, 5], 10, [[2, 2], [5]]),  # filled up to the longest they would be 15
        ([5, 2], 10, [[5, 2]]),
        ([20, 1], 10, [[20], [1]]),  # what is too long stands alone
        ([], 10, []),
    ],
)
def test_pieces_are_put_together(lengths: list[int], tokens: int, groups: list[list[int]]):
    places = [Place(Path("x"), 0, length, 0, 0, False, TEXT) for length in lengths]
    assert [[place.length for place in group] for group in grouped(places, tokens)] == groups


def test_what_two_distributions_share(monkeypatch):
    """In chunks of two rows, as a large vocabulary is."""
    monkeypatch.setattr("gemma_mtp.adapt.head.CHUNK", 100)
    torch.manual_seed(1)
    y, head = torch.randn(7, 4), torch.randn(50, 4)
    ids = torch.stack([torch.randperm(50)[:5] for _ in range(7)])
    theirs = torch.rand(7, 5) / 10
    ours = torch.softmax(y @ head.T, -1)
    wanted = [sum(min(ours[row, one], p) for one, p in zip(ids[row], theirs[row], strict=True)) for row in range(7)]
    assert torch.allclose(overlaps(y, head, ids, theirs.log()), torch.tensor(wanted))


def test_of_no_rows_nothing_is_chosen():
    """A batch of texts that are all too short for a round."""
    head, ids, logs = torch.randn(50, 4), torch.zeros(0, 5).long(), torch.zeros(0, 5)
    assert choices(torch.zeros(3, 0, 4), head).shape == (3, 0)
    assert overlaps(torch.zeros(0, 4), head, ids, logs).shape == (0,)


class Largest(TorchDispatchMode):
    """How many elements the largest tensor has that is computed."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("what", [choices, overlaps, imitation])
def test_logits_are_computed_some_rows_at_a_time(what, monkeypatch):
    """Of 262,144 tokens those of a batch would be gigabytes."""
    monkeypatch.setattr("gemma_mtp.adapt.head.CHUNK", 1000)
    y, head, ids, logs = torch.randn(100, 4), torch.randn(50, 4), torch.zeros(100, 5).long(), torch.zeros(100, 5)
    given = {choices: (), overlaps: (ids, logs), imitation: (ids, logs, torch.ones(100))}[what]
    with Largest() as largest:
        what(y, head, *given)
    assert largest.elements == 1000
