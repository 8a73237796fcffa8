"""A DFlash drafter's GGUF in another spelling, or with the keys that it should have; its weights' bytes stay.

Forks' files have no tokenizer, for a fork takes the target's; they count layers from 0, as checkpoints do, and name the
mask token among the model's keys. What is missing here is the target's, who knows it: its GGUF or checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.convert.pipeline import Conversion
from gemma_mtp.convert.soundness import require_sound_plan
from gemma_mtp.convert.spelling import NamedTensor
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.model.dflash.parameters import TOKEN_IDS, scale_of
from gemma_mtp.model.dflash.tables import KEYS
from gemma_mtp.model.dialects import Dialect
from gemma_mtp.model.part import Part
from gemma_mtp.sources.borrowed import MASK, PREFIX, borrowed
from gemma_mtp.sources.model import OpenModel

ARCHITECTURE = "general.architecture"
LAYERS, SCALE = "target_layers", "embedding_scale"
WINDOW, PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
#: A fork's keys that mainline has elsewhere, or not at all.
MASK_TOKEN, COUNT, VOCABULARY, TIED = (
    "dflash.mask_token_id",
    "dflash.n_target_layers",
    "vocab_size",
    "tie_word_embeddings",
)


def respell_drafter(
    source: Path, output: Path, dialect: Dialect, *, model: OpenModel, target: OpenModel | None, force: bool = False
) -> Conversion:
    """Write the drafter in the GGUF `source` to `output` in a dialect of its family.

    In mainline's, a missing scale of the target's embeddings is added. target: whose tokenizer a fork's file gets.
    Raises BadFileError (the file is odd), UsageError (it would not change, its target is not named, the output).
    """
    with GGUFFile(source) as file:
        spoken = model.dialect
        assert spoken is not None
        plain = _into_mainline(file.metadata, spoken, target, source)
        mainline = model.family.mainline
        if dialect is mainline:
            metadata = _completed(plain, file, mainline)
        elif TOKEN_IDS in file.tensors:
            raise BadFileError(f"{TOKEN_IDS}: {dialect.name}'s form has no room for a head that knows some tokens")
        else:
            metadata = _from_mainline(plain, mainline, dialect)
        names = {name: _respelled_name(name, spoken, dialect) for name in file.tensors}
        if metadata == dict(file.metadata) and all(name == new for name, new in names.items()):
            raise UsageError(
                f"this file is {dialect.name} already, and lacks nothing: there is nothing to convert",
                where=str(source),
                hint="use it as it is; `gemma-mtp quantize` changes its type",
            )
        check_output(output, force)
        tensors = [
            NamedTensor(TensorPlan(names[name], tensor.shape, tensor.type), file.span(tensor))
            for name, tensor in file.tensors.items()
        ]
        if dialect is mainline:
            require_sound_plan(Part.ASSISTANT, output, metadata, [tensor.plan for tensor in tensors])
        with GGUFWriter(output, metadata, [tensor.plan for tensor in tensors], force=force) as writer:
            for tensor in tensors:
                writer.write_next(tensor.pieces())
    notes = _told(plain, metadata) if dialect is mainline else ()
    return Conversion(str(spoken.architecture), {output: writer.size}, notes=notes)


def _respelled_name(name: str, spoken: Dialect, dialect: Dialect) -> str:
    roles = {new: role for role, new in spoken.tensors.items() if new}
    role = roles.get(name, name.removesuffix(".weight"))
    return dialect.tensors.get(role) or (f"{role}.weight" if role in roles.values() else name)


def _into_mainline(
    metadata: Mapping[str, Value], spoken: Dialect, target: OpenModel | None, where: Path
) -> dict[str, Value]:
    """A file's keys in mainline's spelling, with a tokenizer. Raises BadFileError, UsageError."""
    if spoken.name == "mainline":
        return dict(metadata)
    if target is None:
        raise UsageError(
            "this drafter's file has no tokenizer, for its own runtime takes the target's",
            where=str(where),
            hint="name the target, a GGUF or a checkpoint: --target TARGET",
        )
    prefix = f"{spoken.architecture}."
    back = {new: old for old, new in spoken.keys.items() if new}
    keys: dict[str, Value] = {}
    for key, value in metadata.items():
        tail = key.removeprefix(prefix)
        if tail == key:
            keys[key] = value
        elif tail not in (MASK_TOKEN, COUNT, VOCABULARY, TIED):
            keys[f"dflash.{back.get(tail, tail)}"] = value
    keys[ARCHITECTURE] = gv.string("dflash")
    keys[f"dflash.{LAYERS}"] = _moved(keys.get(f"dflash.{LAYERS}"), 1, where)
    keys.setdefault("dflash.context_length", gv.u32(target.hyper.context))
    if f"dflash.{WINDOW}" in keys:
        count = _integer(keys, "dflash.block_count", where)
        # Lucebox: all layers slide but the last.
        keys[f"dflash.{PATTERN}"] = gv.array(ValueType.BOOL, [layer < count - 1 for layer in range(count)])
    mask = metadata.get(prefix + MASK_TOKEN)
    return _in_order({**keys, **borrowed(target), **({} if mask is None else {MASK: mask})})


def _in_order(keys: Mapping[str, Value]) -> dict[str, Value]:
    """As convert writes them: what comes before the model's keys, those as in their table, the tokenizer's, the rest.

    So a file that became a fork's is the same again when it comes back.
    """
    places = {f"dflash.{key.name}": place for place, key in enumerate(KEYS)}
    own = [key for key in keys if key.startswith("dflash.")]
    others = [key for key in keys if not key.startswith(("dflash.", PREFIX))]
    first = next((place for place, key in enumerate(keys) if key in own), len(others))
    before = [key for key in list(keys)[:first] if key in others]
    ordered = [
        *before,
        *sorted(own, key=lambda key: places.get(key, len(places))),
        *(key for key in keys if key.startswith(PREFIX)),
        *(key for key in others if key not in before),
    ]
    return {key: keys[key] for key in ordered}


def _from_mainline(plain: Mapping[str, Value], mainline: Dialect, dialect: Dialect) -> dict[str, Value]:
    """Mainline's keys in a fork's spelling, without the tokenizer that it takes from the target."""
    keys: dict[str, Value] = {}
    for key, value in plain.items():
        tail = key.removeprefix(f"{mainline.architecture}.")
        if key.startswith(PREFIX):
            continue
        name = dialect.keys.get(tail, tail) if tail != key else None
        if tail == key:
            keys[key] = value
        elif name is not None:
            keys[f"{dialect.architecture}.{name}"] = value
    flags = plain.get(f"{mainline.architecture}.{PATTERN}")
    if flags is not None and flags.decode().tolist() != [True] * (flags.count - 1) + [False]:
        raise BadFileError(f"its sliding layers are not all but the last, as {dialect.name}'s form takes for granted")
    own = f"{dialect.architecture}."
    layers = _moved(plain.get(f"{mainline.architecture}.{LAYERS}"), -1, Path(dialect.name))
    keys[ARCHITECTURE] = gv.string(dialect.architecture)
    keys[own + str(dialect.keys[LAYERS])] = layers
    keys[own + COUNT] = gv.u32(layers.count)
    if MASK in plain:
        keys[own + MASK_TOKEN] = plain[MASK]
    if (tokens := plain.get("tokenizer.ggml.tokens")) is not None:
        keys[own + VOCABULARY] = gv.u32(tokens.count)
    return keys


def _completed(plain: Mapping[str, Value], file: GGUFFile, mainline: Dialect) -> dict[str, Value]:
    """With the scale that the target has, if embeddings are borrowed and the file does not say one."""
    key, none = f"{mainline.architecture}.{SCALE}", gv.f32(0)  # llama.cpp takes a 0 for no scale
    if plain.get(key, none) != none or "token_embd.weight" in file.tensors:
        return dict(plain)
    width = _integer(plain, f"{mainline.architecture}.embedding_length", file.path)
    return _in_order({**plain, key: gv.scalar(ValueType.FLOAT32, scale_of(width))})


def _told(plain: Mapping[str, Value], metadata: Mapping[str, Value]) -> tuple[str, ...]:
    added = [key for key in metadata if key.endswith(f".{SCALE}") and metadata[key] != plain.get(key)]
    return tuple(f"{key} was added: {metadata[key].decode():.4g}, as Gemma 4 scales its embeddings" for key in added)


def _moved(layers: Value | None, by: int, where: Path) -> Value:
    """Numbers of layers, counted from elsewhere. Raises BadFileError."""
    if layers is None or layers.item_type not in (ValueType.INT32, ValueType.UINT32):
        raise BadFileError("its target layers are missing or no array of integers", where=where)
    numbers: np.ndarray[Any, Any] = np.asarray(layers.decode(), np.int64) + by
    if numbers.min() < 0 or not numbers.size:
        raise BadFileError(f"its target layers are {numbers.tolist()}", where=where)
    return gv.array(layers.item_type, numbers.tolist())


def _integer(keys: Mapping[str, Value], key: str, where: Path) -> int:
    number = keys[key].integer() if key in keys else None
    if number is None:
        raise BadFileError(f"{key} is missing or no integer", where=where)
    return number
