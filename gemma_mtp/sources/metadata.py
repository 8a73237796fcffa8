"""The `general.*` keys of a GGUF, as upstream's converter writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gguf
from gguf.metadata import Metadata

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import native
from gemma_mtp.model.config import Hyperparameters, read_json
from gemma_mtp.model.family import FAMILIES
from gemma_mtp.model.gguf_keys import architecture
from gemma_mtp.sources.card import Note, read_card, read_sampling


def general_metadata(
    model: Hyperparameters, folder: Path, name: str, tensors: Iterable[TensorPlan], note: Note = lambda _: None
) -> dict[str, Value]:
    """`general.*` from the model card, config.json and the model's name, by the rules of the gguf package itself.

    note: is told what was skipped. Raises CheckpointError if one of the files is no text, YAML or JSON.
    """
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a folder's may be no UTF-8; GGUF is
    writer = gguf.GGUFWriter(None, architecture(model.part, FAMILIES[model.family]))
    for tensor in tensors:
        writer.tensors[0][tensor.name] = gguf.gguf_writer.TensorInfo(tensor.shape, native(tensor.type), tensor.nbytes)
    total, shared, expert, experts = writer.get_total_parameter_count()
    card, config = read_card(folder, note), read_json(folder / "config.json")
    own_name = config.get("_name_or_path")
    config = {"_name_or_path": own_name} if isinstance(own_name, str) else {}
    # By the model's name, not the folder's, which in a download cache is a commit's hash.
    metadata = Metadata.apply_metadata_heuristic(Metadata(), card, config, Path(name), total)
    for field, value in read_sampling(folder, note).items():
        setattr(metadata, field, value)
    metadata.name = metadata.name or name
    metadata.size_label = metadata.size_label or gguf.size_label(total, shared, expert, experts)
    writer.add_type(gguf.GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)
    try:
        return {key: _value(item) for key, item in writer.kv_data[0].items() if _is_something(item)}
    except UnicodeEncodeError as error:
        damage = error.object[error.start : error.end]
        raise CheckpointError(
            f"a text in the card, or a name, has {damage!r}, which is not Unicode", where=folder
        ) from error


def _is_something(item: gguf.gguf_writer.GGUFValue) -> bool:
    """An empty array has no type of items, and says nothing."""
    return item.type is not ValueType.ARRAY or len(item.value) > 0


def _value(item: gguf.gguf_writer.GGUFValue) -> Value:
    """A value of the gguf package's writer as one of ours."""
    if item.type is ValueType.ARRAY:
        kind = item.sub_type or ValueType.get_type(item.value[0])
        return gv.strings(item.value) if kind is ValueType.STRING else gv.array(kind, item.value)
    return gv.string(item.value) if item.type is ValueType.STRING else gv.scalar(item.type, item.value)
