"""A value of any type in any key: every command ends in a verdict or a sentence, never in a traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.loader_keys import keys_of
from helpers.tiny_pairs import ASSISTANT, TARGET, Model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.bench.bench import model_file
from gemma_mtp.convert import convert_dialect
from gemma_mtp.demo.heavy import make_heavier
from gemma_mtp.errors import GemmaMtpError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import DTYPES, ValueType
from gemma_mtp.model.dialects import DIALECTS
from gemma_mtp.publish.assistant_file import read_assistant
from gemma_mtp.quantize import Output, quantize_file
from gemma_mtp.quantize.catalogue import offers
from gemma_mtp.sources.describe import inspect_model
from gemma_mtp.sources.pairing import check_runnable
from gemma_mtp.validate import verify_pair

HYPERS = {"target": TARGET, "assistant": ASSISTANT}
OURS = ("mtp.centroids", "mtp.centroids_type", "mtp.token_ordering", "mtp.rope_freqs", "centroid_top_k", "n_centroids")
MORE = (
    *(f"general.{name}" for name in ("tags", "finetune", "basename", "license", "alignment", "quantization_version")),
    *(f"general.{name}" for name in ("base_model.0.name", "base_model.0.organization", "source.repo_url")),
    *("split.no", "split.count", "split.tensors.count", "quantize.recipe", "quantize.overrides", "tokenizer.x"),
    *(f"gemma4-assistant.{name}" for name in OURS),
    *(f"gemma_mtp.{name}" for name in ("repo", "revision", "files", "hashes")),
)
NUMBERS = {kind: dtype for kind, dtype in DTYPES.items() if dtype.kind in "iu"}
EDGES = st.sampled_from([0, 1, 2, 3, 4, 64, 255, 65_535, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1])
FLOATS = st.sampled_from([0.0, 1.0, -1.0, 1e38, float("nan"), float("inf"), -float("inf")])
TEXTS = st.sampled_from(["", "x", "gemma4", "Q8_0", "BF16", "\x1b[31m", "ж" * 50, "1"])


def _number(kind: ValueType, value: int) -> gv.Value:
    return gv.scalar(kind, value % 2 ** (8 * DTYPES[kind].itemsize - 1))


@st.composite
def any_value(draw) -> gv.Value | None:
    kind = draw(st.sampled_from([*ValueType, None]))
    if kind is None:
        return None
    if kind is ValueType.ARRAY:
        item = draw(st.sampled_from([kind for kind in ValueType if kind is not ValueType.ARRAY]))
        count = draw(st.sampled_from([0, 1, 3, 4, 288]))
        if item is ValueType.STRING:
            return gv.strings([draw(TEXTS)] * count)
        if item in (ValueType.FLOAT32, ValueType.FLOAT64):
            return gv.array(item, [draw(FLOATS)] * count)
        return gv.array(item, [draw(EDGES) % 2] * count)
    if kind is ValueType.STRING:
        return gv.string(draw(TEXTS))
    if kind is ValueType.BOOL:
        return gv.boolean(draw(st.booleans()))
    return gv.scalar(kind, draw(FLOATS)) if kind not in NUMBERS else _number(kind, draw(EDGES))


@st.composite
def change(draw) -> tuple[str, dict]:
    part = draw(st.sampled_from(list(HYPERS)))
    names = st.sampled_from([*keys_of(part), *MORE])
    return part, draw(st.dictionaries(names, any_value(), min_size=1, max_size=3))


def _in_every_command(target: Path, assistant: Path, changed: Path, folder: Path) -> None:
    output = folder / "out.gguf"
    with suppress(GemmaMtpError):
        json.dumps(inspect_model(changed).to_dict(), allow_nan=False)
    with suppress(GemmaMtpError):
        json.dumps(verify_pair(target, assistant).to_dict(), allow_nan=False)
    for dialect in DIALECTS.values():
        with suppress(GemmaMtpError):
            convert_dialect(changed, output, dialect, force=True)
    for kind in ("Q8_0", "Q4_K_M", "draft-q4"):
        with suppress(GemmaMtpError):
            quantize_file(changed, [Output(output, kind)], force=True, threads=1)
    with suppress(GemmaMtpError):
        offers(changed)
    with suppress(GemmaMtpError):
        check_runnable(target, assistant)
    with suppress(GemmaMtpError):
        model_file(changed)
    with suppress(GemmaMtpError):
        read_assistant(changed)
    with suppress(GemmaMtpError):
        make_heavier(target, output, 2, force=True)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change())
def test_any_value_in_any_key(tmp_path: Path, change):
    part, keys = change
    paths = {name: tmp_path / f"{name}-Q8_0.gguf" for name in HYPERS}
    for name, path in paths.items():
        Model(HYPERS[name], keys if name == part else {}).write(path)
    _in_every_command(paths["target"], paths["assistant"], paths[part], tmp_path)


@pytest.mark.parametrize(("part", "kind"), [("assistant", "text"), ("target", "array")])
def test_every_key_of_another_type(tmp_path, part, kind):
    """Each key that is read, one after the other, in two types of which one at least is none of its own."""
    value = {
        "text": gv.string("x"),
        "array": gv.strings(["x", "y"]),
    }[kind]
    good = {name: Model(hyper).write(tmp_path / f"{name}.gguf") for name, hyper in HYPERS.items()}
    changed = tmp_path / "mtp-x-Q8_0.gguf"
    for key in (*keys_of(part), *MORE):
        Model(HYPERS[part], {key: value}).write(changed)
        paths = good | {part: changed}
        with suppress(GemmaMtpError):
            inspect_model(changed)
        with suppress(GemmaMtpError):
            verify_pair(paths["target"], paths["assistant"])
        with suppress(GemmaMtpError):
            convert_dialect(changed, tmp_path / "o.gguf", DIALECTS["ik"], force=True)
        with suppress(GemmaMtpError):
            quantize_file(changed, [Output(tmp_path / "o.gguf", "Q4_K_M")], force=True, threads=1)
        with suppress(GemmaMtpError):
            check_runnable(paths["target"], paths["assistant"])


@pytest.mark.parametrize("name", ["x-00001-of-00000.gguf", "x-00000-of-00002.gguf", "x-00003-of-00002.gguf"])
def test_part_numbers_that_cannot_be(tmp_path, name):
    path = Model(TARGET).write(tmp_path / name)
    with pytest.raises(GemmaMtpError, match="its name says part"):
        verify_pair(path, Model(ASSISTANT).write(tmp_path / "a.gguf"))
