"""Which of several GPUs has which layer: llama.cpp's rule, with its own single precision.

From src/llama.cpp (`llama_prepare_model_devices`: which devices a model uses) and src/llama-model.cpp (`load_tensors`:
"calculate the split points", `get_layer_buft_list`) of the version that pyproject.toml pins.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from gemma_mtp.errors import UsageError
from gemma_mtp.native.placement import CPU, NONE
from gemma_mtp.native.settings import ModelSettings

_NUMBER = re.compile(r"\d+$")


def named(model: ModelSettings) -> tuple[str, ...]:
    """The devices that are named for a target, in order; none if none is, or no GPU is wanted."""
    return () if model.device in (None, NONE) else tuple(model.device.split(","))


def count(model: ModelSettings) -> int:
    """How many GPUs there must be for these settings to mean something, at least one."""
    if names := named(model):
        return len(names)
    others = [*(model.device_draft or NONE).split(","), *(device for _, device in model.overrides)]
    numbers = [int(found[0]) for name in others if (found := _NUMBER.search(name)) and not name.startswith(CPU)]
    return max(1, len(model.tensor_split), model.main_gpu + 1, *(number + 1 for number in numbers))


def require_count(model: ModelSettings, there: int) -> None:
    """Raises UsageError: these settings are for more GPUs than there are, or for fewer names than GPUs."""
    if (wanted := count(model)) > there or (named(model) and wanted != there):
        raise UsageError(
            f"these settings are for {wanted} GPUs, and the memory of {there} is named",
            hint="name each GPU's memory, in llama.cpp's order: --vram 12GB,8GB",
        )


def number(device: str, names: Sequence[str], there: int) -> int:
    """Which GPU a device's name means: by the names that are known, or by the number at its end."""
    if device in names:
        return names.index(device)
    found = _NUMBER.search(device)
    return min(int(found[0]), there - 1) if found else 0


def used(model: ModelSettings, names: Sequence[str], there: int) -> list[int]:
    """The numbers of the GPUs that a model is split over, in order. names: what the target's are called."""
    if model.device == NONE:
        return []
    mine = [number(one, names, there) for one in named(model)] or list(range(there))
    return [mine[min(model.main_gpu, len(mine) - 1)]] if model.split_mode == NONE else mine


def shares(model: ModelSettings, mine: Sequence[int], free: Sequence[float]) -> list[float]:
    """What part of the model each of these GPUs gets: as said, or else by their free memory."""
    said = [*model.tensor_split, *[0.0] * len(mine)][: len(mine)]
    return said if any(said) else [free[one] for one in mine]


def by_layer(
    layers: int, model: ModelSettings, names: Sequence[str], free: Sequence[float]
) -> tuple[list[int | None], list[tuple[int, float]]]:
    """For each layer and, as the last one, the output the number of its GPU (None: main memory); each GPU's share.

    free: memory of each GPU. The shares are normalized.
    """
    mine = used(model, names, len(free))
    if not mine:
        return [None] * (layers + 1), []
    parts = np.array(shares(model, mine, free), np.float32)
    points = np.cumsum(parts, dtype=np.float32) / np.sum(parts, dtype=np.float32)
    wanted = layers + 1 if model.gpu_layers < 0 else min(model.gpu_layers, layers + 1)
    first = layers + 1 - wanted
    found: list[int | None] = [None] * first
    for position in range(wanted):
        where = bisect_right(points.tolist(), float(np.float32(position) / np.float32(wanted)))
        found.append(mine[min(where, len(mine) - 1)])
    return found, [(one, float(part)) for one, part in zip(mine, parts / parts.sum(), strict=True)]
