"""What of a target a DFlash drafter uses: hidden states of some layers, embeddings, head, vocabulary."""

from __future__ import annotations

from collections.abc import Iterator

from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash.parameters import DFlashParameters


def missing_layers(target: Hyperparameters, drafter: DFlashParameters) -> list[int]:
    """The layers, from 0, whose output the drafter reads and llama.cpp cannot give.

    It gives a layer's output as the next one's input, and aborts where there is no next one (src/llama-graph.cpp).
    """
    return [layer for layer in drafter.target_layers if not 0 <= layer < target.layers - 1]


def misfits(target: Hyperparameters, drafter: DFlashParameters) -> Iterator[str]:
    """Why llama.cpp would abort with these two, or read foreign memory: a sentence each."""
    for what, found, wanted in (
        ("width", drafter.hidden, target.hidden),
        ("vocabulary", drafter.vocabulary, target.vocabulary),
    ):
        if found != wanted:
            yield f"{what} is {found:,} in the assistant, {wanted:,} in the target"
    beyond = missing_layers(target, drafter)
    if beyond:
        last = target.layers - 1
        yield f"it reads the output of layer {beyond[0]}, the target's can be read up to the one before {last}"
