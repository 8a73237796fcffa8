"""What adapting would take here, from two headers and a look at how fast this machine multiplies."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from gemma_mtp.adapt.costs import CARD, CORE, Costs, candidate_count, costs
from gemma_mtp.adapt.figures import CHAIN
from gemma_mtp.adapt.lesson import Lesson, donors
from gemma_mtp.cores import available_cores
from gemma_mtp.errors import BadFileError
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.part import Part
from gemma_mtp.sources.opening import open_model

#: What of a machine's speed in large multiplications training reaches: norms, small matrices and the optimizer slow it.
REACHED = 0.5


def estimate(
    target: str | Path,
    assistant: str | Path,
    tokens: int,
    epochs: float,
    length: int,
    device: str,
    candidates: int | None,
) -> tuple[Costs, str]:
    """The costs, and how the speed was found. Files on the Hub are read by their headers. Raises BadFileError."""
    models = {}
    for place, part in ((target, Part.TARGET), (assistant, Part.ASSISTANT)):
        with open_model(place, part) as side:
            if side.actual_part != part or not isinstance(side.model, Hyperparameters):
                raise BadFileError(f"no Gemma 4 {part} that can be read", where=place)
            models[part] = side.model
    speed, where, how = speed_of(device)
    found = costs(
        models[Part.ASSISTANT],
        donors(models[Part.TARGET]),
        tokens=tokens,
        top=Lesson.top,
        length=length,
        chain=CHAIN,
        epochs=epochs,
        speed=speed,
        candidates=candidate_count(candidates, where, models[Part.ASSISTANT].vocabulary),
    )
    return found, how


def speed_of(device: str) -> tuple[float, str, str]:
    """Operations a second that training reaches, the device, and where the number comes from."""
    if find_spec("torch") is None:
        return CORE * available_cores() * REACHED, "cpu", "PyTorch is not installed: guessed from the cores"
    import torch

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return CARD, "cuda", "guessed: 25 TFLOP a second, as an RTX 3090 reaches"
    a = torch.randn(512, 1024)
    b = torch.randn(1024, 1024)
    a @ b  # the first one starts threads
    start, count = perf_counter(), 0
    while perf_counter() - start < 0.2:
        a @ b
        count += 1
    return count * 2.0 * 512 * 1024 * 1024 / (perf_counter() - start) * REACHED, "cpu", "measured: half of its speed"
