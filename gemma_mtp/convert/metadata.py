"""The `general.*` and model keys of a GGUF, as upstream's converter writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gguf
import yaml
from gguf.metadata import Metadata

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import MAINLINE, TARGET_ARCHITECTURE


def architecture(model: Hyperparameters) -> str:
    return MAINLINE.architecture if model.part == "assistant" else TARGET_ARCHITECTURE


#: What the gguf package guesses from a model's name where the model card says nothing.
GUESSED_FIELDS = ("name", "organization", "finetune", "basename", "version", "size_label")


def general_metadata(
    model: Hyperparameters, folder: Path, name: str, tensors: Iterable[TensorPlan]
) -> dict[str, Value]:
    """`general.*` from the model card, config.json and the model's name, by the rules of the gguf package itself.

    Raises CheckpointError if the model card's front matter is no YAML.
    """
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a folder's may be no UTF-8; GGUF is
    writer = gguf.GGUFWriter(None, architecture(model))
    for tensor in tensors:
        writer.tensors[0][tensor.name] = gguf.gguf_writer.TensorInfo(tensor.shape, tensor.type, tensor.nbytes)
    total, shared, expert, experts = writer.get_total_parameter_count()
    try:
        metadata = Metadata.load(None, folder, None, total)
        card, config = Metadata.load_model_card(folder), Metadata.load_hf_parameters(folder)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the front matter is no YAML: {error}", where=folder / "README.md") from error
    # `load` guesses from the folder's name, which in a download cache is a commit's hash.
    guessed = Metadata.apply_metadata_heuristic(Metadata(), card, config, Path(name), total)
    for field in GUESSED_FIELDS:
        setattr(metadata, field, getattr(guessed, field))
    metadata.name = metadata.name or name
    metadata.size_label = metadata.size_label or gguf.size_label(total, shared, expert, experts)
    writer.add_type(gguf.GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)
    return {key: _value(item) for key, item in writer.kv_data[0].items()}


def _value(item: gguf.gguf_writer.GGUFValue) -> Value:
    """A value of the gguf package's writer as one of ours."""
    if item.type is ValueType.ARRAY:
        kind = item.sub_type or ValueType.get_type(item.value[0])
        return gv.strings(item.value) if kind is ValueType.STRING else gv.array(kind, item.value)
    return gv.string(item.value) if item.type is ValueType.STRING else gv.scalar(item.type, item.value)


def model_metadata(model: Hyperparameters) -> dict[str, Value]:
    """The model's keys in mainline's dialect."""
    layers = range(model.layers)
    kv_heads = gv.u32(model.kv_heads_sliding)
    if model.kv_heads_full is not None:
        kv_heads = gv.array(ValueType.INT32, [model.kv_heads(layer) for layer in layers])
    intermediate = gv.u32(model.intermediate)
    if model.double_wide_mlp:
        intermediate = gv.array(ValueType.INT32, [model.layer_intermediate(layer) for layer in layers])
    keys = {
        "block_count": gv.u32(model.layers),
        "context_length": gv.u32(model.context),
        "embedding_length": gv.u32(model.hidden),
        "feed_forward_length": intermediate,
        "attention.head_count": gv.u32(model.heads),
        "attention.head_count_kv": kv_heads,
        "rope.freq_base": gv.f32(model.rope_base_full),
        "rope.freq_base_swa": gv.f32(model.rope_base_sliding),
        "attention.layer_norm_rms_epsilon": gv.f32(model.norm_epsilon),
        **_expert_keys(model),
        "attention.key_length": gv.u32(model.head_dim_full),
        "attention.value_length": gv.u32(model.head_dim_full),
        **({"final_logit_softcapping": gv.f32(model.logit_softcap)} if model.logit_softcap else {}),
        "attention.sliding_window": gv.u32(model.sliding_window),
        "attention.shared_kv_layers": gv.u32(model.shared_kv_layers),
        "embedding_length_per_layer_input": gv.u32(model.per_layer_input),
        "attention.sliding_window_pattern": gv.array(ValueType.BOOL, model.sliding),
        "attention.key_length_swa": gv.u32(model.head_dim_sliding),
        "attention.value_length_swa": gv.u32(model.head_dim_sliding),
        "rope.dimension_count": gv.u32(model.head_dim_full),
        "rope.dimension_count_swa": gv.u32(model.head_dim_sliding),
        **_assistant_keys(model),
    }
    prefix = architecture(model)
    return {f"{prefix}.{key}": value for key, value in keys.items()}


def _expert_keys(model: Hyperparameters) -> dict[str, Value]:
    if not model.experts:
        return {}
    return {
        "expert_count": gv.u32(model.experts),
        "expert_used_count": gv.u32(model.experts_used),
        "expert_feed_forward_length": gv.u32(model.expert_intermediate),
    }


def _assistant_keys(model: Hyperparameters) -> dict[str, Value]:
    if model.part != "assistant":
        return {}
    return {"embedding_length_out": gv.u32(model.backbone), "nextn_predict_layers": gv.u32(model.layers)}
