"""The frozen head: losses and choices from what it reads, some rows of logits at a time.

Logits of a whole batch over 262,144 tokens would be gigabytes. The head has no gradient of its own, so a chunk's share
of the gradient is computed together with its loss, and its logits are dropped at once.
"""

from __future__ import annotations

from typing import Any

import torch

from gemma_mtp.adapt.rounds import Tensor, no_gradients

#: Elements of a chunk of logits.
CHUNK = 32 << 20


class _Imitation(torch.autograd.Function):  # type: ignore[misc]
    """Cross-entropy of the head's distribution to `wanted`, summed over rows with `weights`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, head: Tensor, ids: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
        """y: [rows, hidden]. head: [candidates, hidden]. ids, wanted: [rows, k], a distribution over candidates."""
        total = torch.zeros((), dtype=torch.float32, device=y.device)
        gradient = torch.empty_like(y)
        step = max(1, CHUNK // len(head))
        for start in range(0, len(y), step):
            rows = slice(start, start + step)
            logits = (y[rows] @ head.T).float()
            spread = logits.logsumexp(-1)
            said = logits.gather(-1, ids[rows])
            total += ((spread - (wanted[rows] * said).sum(-1)) * weights[rows]).sum()
            slope = torch.softmax(logits, -1).scatter_add_(-1, ids[rows], -wanted[rows])
            gradient[rows] = ((slope * weights[rows, None]).to(head.dtype) @ head).to(y.dtype)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None, None, None


def imitation(y: Tensor, head: Tensor, ids: Tensor, logs: Tensor, weights: Tensor) -> Tensor:
    """Half the cross-entropy to the target's choice, half that to its distribution, summed over the rows by weight.

    y: [rows, hidden]. ids: [rows, k], places in `head` of the target's best tokens, the best first. logs: their
    log-probabilities, of which those that are kept are taken for all. weights: [rows].
    """
    wanted = 0.5 * logs.softmax(-1)
    wanted[:, 0] += 0.5
    total: Tensor = _Imitation.apply(y, head, ids, wanted, weights)
    return total


@no_gradients
def choices(y: Tensor, head: Tensor) -> Tensor:
    """The best token for each row of y [..., hidden]."""
    flat = y.flatten(0, -2)
    step = max(1, CHUNK // len(head))
    parts = [(flat[start : start + step] @ head.T).argmax(-1) for start in range(0, len(flat), step)]
    return torch.cat(parts).view(y.shape[:-1]) if parts else torch.empty(y.shape[:-1], dtype=torch.long)


@no_gradients
def overlaps(y: Tensor, head: Tensor, ids: Tensor, logs: Tensor) -> Tensor:
    """The part that two distributions share, of the target's best tokens: what is accepted of a draft at temperature 1.

    y: [rows, hidden]. ids, logs: [rows, k]. Returns [rows]; what the target gives other tokens is not counted.
    """
    step = max(1, CHUNK // len(head))
    parts = []
    for start in range(0, len(y), step):
        rows = slice(start, start + step)
        said = torch.softmax((y[rows] @ head.T).float(), -1).gather(-1, ids[rows])
        parts.append(torch.minimum(said, logs[rows].exp()).sum(-1))
    return torch.cat(parts) if parts else torch.empty(0)
