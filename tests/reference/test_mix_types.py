"""Which type each tensor gets in models of many makes, against what llama_model_quantize says it would give."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.llama_quantize import Planned, Refused, planned_types
from helpers.quantize_models import keys_of, model_of, plans_of, sliding_pattern, untied, write_plans

from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.part import Part
from gemma_mtp.quantize import FILE_TYPES
from gemma_mtp.quantize.mixes import mix_types, needs_importance

MODELS = 8
Made = tuple[Path, dict[str, Value], list[TensorPlan]]


def drawn(number: int) -> tuple[Hyperparameters, bool]:
    """What the rules ask about differs from model to model: layers, heads to a key-value head, experts, widths. And
    whether its output matrix is its own."""
    choose = random.Random(number)
    layers = (90, 7, 16, 17, 31, 40)[number] if number < 6 else choose.randint(4, 40)
    experts = (0, 8, 4, 3, 0, 8, 1, 2)[number % 8]
    widths = {"hidden": 256, "intermediate": 512}
    if number % 3 == 2:
        widths = {"hidden": choose.choice((96, 160, 320)), "intermediate": choose.choice((72, 192, 288))}
    model = model_of(
        Part.TARGET,
        layers,
        kv_heads_full=1 if choose.random() < 0.5 else None,
        values_are_keys=choose.random() < 0.3,
        heads=8,
        kv_heads_sliding=choose.choice((1, 2, 4, 8)),
        sliding=sliding_pattern(layers),
        **widths,
    )
    if experts:
        model = replace(model, experts=experts, experts_used=1, expert_intermediate=choose.choice((256, 96)))
    return model, choose.random() < 0.5


def apart(plan: TensorPlan) -> list[TensorPlan]:
    """Experts' gates and ups as the two tensors that older converters write."""
    return (
        [replace(plan, name=plan.name.replace("gate_up", part)) for part in ("gate", "up")]
        if "gate_up" in plan.name
        else [plan]
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Made]:
    folder = tmp_path_factory.mktemp("drawn")

    @cache
    def make(number: int) -> Made:
        model, has_output = drawn(number)
        keys, plans = keys_of(model), plans_of(model)
        if has_output:
            plans += untied(model)
        if number % 2:
            plans = [part for plan in plans for part in apart(plan)]
        return write_plans(folder / f"{number}.gguf", keys, plans, number), keys, plans

    return make


def _planned(path: Path, name: str, matrix: dict[str, np.ndarray] | None) -> Planned | None:
    """None where llama.cpp refuses a width."""
    try:
        return planned_types(path, FILE_TYPES[name].number, matrix)
    except Refused as refused:
        if "no tensor type fallback" not in str(refused):
            raise
        return None


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("name", FILE_TYPES)
def test_types_are_llama_cpps(name: str, importance: bool, made: Callable[[int], Made]):
    for number in range(MODELS):
        path, keys, plans = made(number)
        # That there is a matrix is what the rules ask; what is in it matters to the numbers alone.
        matrix = {plans[1].name: np.ones(plans[1].shape[-1], np.float32)} if importance else None
        theirs = _planned(path, name, matrix)
        if theirs is None:
            with pytest.raises(UsageError, match="no multiple"):
                mix_types(FILE_TYPES[name], keys, plans, importance)
            continue
        ours = mix_types(FILE_TYPES[name], keys, plans, importance)
        given = {plan.name: kind for plan, kind in zip(plans, ours, strict=True)}
        differing = {one: (given[one].name, kind.name) for one, kind in theirs.types.items() if given[one] != kind}
        assert given.keys() == theirs.types.keys()
        assert not differing, (number, differing)
        if not importance:
            wanting = [plan.name for plan in plans if needs_importance(name, plan, given[plan.name])]
            assert bool(wanting) == theirs.needs_importance, (number, wanting)
