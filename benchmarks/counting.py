"""A Gemma 4 pair in the real shape that counts: its costs are those of real weights, its acceptance is chosen.

    python benchmarks/counting.py KIND FOLDER [--miss 0.25] [--shrink N] [--vocabulary 262144]

KIND: 26b (26B-A4B, 14.5 GB), 31b, 12b, e4b, e2b, or tiny (a small mixture of experts with the real vocabulary).
--shrink: layers and MLPs divided by N, for machines without a GPU.

All layers but the last are inert (post norms zero) and filled with arbitrary Q4_0 blocks, so that a pass reads and
computes what a real one does. The last layer's dense MLP turns the embedding by one step: the target's next token is
always this one + 1. Embeddings are points on a torus, E[t] = R^t E[0]. The assistant sees the same in its own width,
except for a share `miss` of the tokens, whose head rows are noise: such a draft is always wrong, in every engine alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.config import Hyperparameters, parse_config
from gemma_mtp.model.family import slots
from gemma_mtp.model.gguf_keys import architecture, written_keys
from gemma_mtp.model.roles import Slot
from gemma_mtp.quantize.rows import Job, RowEncoder, Stored

VOCABULARY = 262_144
ROPE = {
    "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
    "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
}
BASE: dict[str, Any] = {
    "attention_k_eq_v": True,
    "global_head_dim": 512,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size_per_layer_input": 0,
    "max_position_embeddings": 262_144,
    "rms_norm_eps": 1e-6,
    "rope_parameters": ROPE,
    "sliding_window": 1024,
    "tie_word_embeddings": True,
    "use_double_wide_mlp": False,
    "vocab_size_per_layer_input": 0,
}
#: What E4B and E2B have in common: per-layer embeddings, and last layers that read earlier ones' caches.
EDGE: dict[str, Any] = {
    "attention_k_eq_v": False,
    "enable_moe_block": False,
    "hidden_size_per_layer_input": 256,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 8,
    "sliding_window": 512,
}
#: The targets' shapes, and their drafters' (hidden, intermediate, heads; None: the target's).
KINDS: dict[str, dict[str, Any]] = {
    "26b": {
        "hidden_size": 2816,
        "intermediate_size": 2112,
        "moe_intermediate_size": 704,
        "num_attention_heads": 16,
        "num_experts": 128,
        "top_k_experts": 8,
        "num_global_key_value_heads": 2,
        "num_hidden_layers": 30,
        "num_key_value_heads": 8,
        "enable_moe_block": True,
    },
    "31b": {
        "hidden_size": 5376,
        "intermediate_size": 21_504,
        "num_attention_heads": 32,
        "num_global_key_value_heads": 4,
        "num_hidden_layers": 60,
        "num_key_value_heads": 16,
        "enable_moe_block": False,
    },
    "12b": {
        "hidden_size": 3840,
        "intermediate_size": 15_360,
        "num_attention_heads": 16,
        "num_global_key_value_heads": 1,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "enable_moe_block": False,
    },
    "e4b": {
        **EDGE,
        "hidden_size": 2560,
        "intermediate_size": 10_240,
        "num_global_key_value_heads": 2,
        "num_hidden_layers": 42,
        "num_key_value_heads": 2,
        "num_kv_shared_layers": 18,
    },
    "e2b": {
        **EDGE,
        "hidden_size": 1536,
        "intermediate_size": 6144,
        "num_global_key_value_heads": 1,
        "num_hidden_layers": 35,
        "num_key_value_heads": 1,
        "num_kv_shared_layers": 20,
        "use_double_wide_mlp": True,
    },
    "tiny": {
        "hidden_size": 512,
        "intermediate_size": 384,
        "moe_intermediate_size": 64,
        "num_attention_heads": 4,
        "num_experts": 16,
        "top_k_experts": 4,
        "num_global_key_value_heads": 1,
        "num_hidden_layers": 6,
        "num_key_value_heads": 2,
        "enable_moe_block": True,
    },
}
DRAFTERS = {
    **dict.fromkeys(("26b", "31b", "12b"), (1024, 8192, None)),
    **dict.fromkeys(("e4b", "e2b"), (256, 2048, 4)),
    "tiny": (256, 512, None),
}
#: One full layer in so many.
PERIOD = {"e2b": 5}
#: Norms that let a layer's result through or not: those after attention and MLP are zero, and the layer does nothing.
ONES = ("layer_output_scale", "output_norm", "ffn_gate_inp.scale", "ffn_down_exps.scale", "post_ffw_norm_1")
ONES += ("post_ffw_norm_2",)

#: What a tensor holds: None for filler.
Content = Callable[[Slot, tuple[int, ...]], "tuple[GGMLType, np.ndarray[Any, Any]] | None"]


def layers_of(kind: str, shrink: int) -> tuple[int, int]:
    """How many layers, and how many of them share a cache: whole periods, of which one at least has its own."""
    period, shape = PERIOD.get(kind, 6), KINDS[kind]
    shared = shape.get("num_kv_shared_layers", 0)
    periods = max(shape["num_hidden_layers"] // period // shrink, 2 if shared else 1)
    share = round(periods * shared / shape["num_hidden_layers"])
    return periods * period, min(max(share, 1 if shared else 0), periods - 1) * period


def configs(kind: str, shrink: int, vocabulary: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The target's and the assistant's config.json."""
    count, shared = layers_of(kind, shrink)
    period, inner = PERIOD.get(kind, 6), KINDS[kind]["intermediate_size"]
    shape = {**BASE, **KINDS[kind]}
    target = {
        **shape,
        "architectures": ["Gemma4ForCausalLM"],
        "dtype": "bfloat16",
        "final_logit_softcapping": 30.0,
        "intermediate_size": max(inner // shrink // 256 * 256, min(inner, 256)) if shrink > 1 else inner,
        "layer_types": [
            "full_attention" if layer % period == period - 1 else "sliding_attention" for layer in range(count)
        ],
        "model_type": "gemma4_text",
        "num_hidden_layers": count,
        "num_kv_shared_layers": shared,
        "vocab_size": vocabulary,
        "vocab_size_per_layer_input": vocabulary if shape["hidden_size_per_layer_input"] else 0,
    }
    width, inner, heads = DRAFTERS[kind]
    same = ("num_key_value_heads", "num_global_key_value_heads", "attention_k_eq_v", "sliding_window")
    text = {
        **BASE,
        **{name: shape[name] for name in (*same, "max_position_embeddings")},
        "num_attention_heads": heads or shape["num_attention_heads"],
        "enable_moe_block": False,
        "final_logit_softcapping": None,
        "hidden_size": width,
        "intermediate_size": inner,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "model_type": "gemma4_text",
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 4,
        "vocab_size": vocabulary,
    }
    assistant = {
        "architectures": ["Gemma4AssistantForCausalLM"],
        "backbone_hidden_size": shape["hidden_size"],
        "dtype": "bfloat16",
        "model_type": "gemma4_assistant",
        "text_config": text,
        "tie_word_embeddings": True,
        "use_ordered_embeddings": False,
    }
    return target, assistant


class Circle:
    """Embeddings that turn: dimensions 1 .. turning by an angle of their own each step, dimension 0 stays."""

    def __init__(self, model: Hyperparameters, seed: int = 4):
        random = np.random.default_rng(seed)
        self.hidden, self.vocabulary = model.hidden, model.vocabulary
        self.turning = min(model.intermediate, model.hidden - 2) // 2 * 2
        self._step, self._start = random.random((2, self.turning // 2)) * 2 * np.pi

    def embeddings(self) -> np.ndarray[Any, Any]:
        """float32 [vocabulary, hidden], each row of length 1."""
        rows = np.zeros((self.vocabulary, self.hidden), np.float32)
        for begin in range(0, self.vocabulary, 8192):
            tokens = np.arange(begin, min(begin + 8192, self.vocabulary))
            angles = tokens[:, None] * self._step + self._start
            rows[tokens, 1 : 1 + self.turning : 2] = np.cos(angles)
            rows[tokens, 2 : 2 + self.turning : 2] = np.sin(angles)
        rows[:, 0] = (self.turning / 2 * 0.1) ** 0.5
        rows /= np.linalg.norm(rows[0])
        return rows

    def rotation(self) -> np.ndarray[Any, Any]:
        """float32 [turning, turning]: one step."""
        turn, even = np.zeros((self.turning, self.turning), np.float32), np.arange(0, self.turning, 2)
        turn[even, even] = turn[even + 1, even + 1] = np.cos(self._step)
        turn[even + 1, even] = np.sin(self._step)
        turn[even, even + 1] = -turn[even + 1, even]
        return turn


def counting_target(model: Hyperparameters, circle: Circle, rows: np.ndarray[Any, Any]) -> Content:
    turning = circle.turning

    def content(slot: Slot, shape: tuple[int, ...]) -> tuple[GGMLType, np.ndarray[Any, Any]] | None:
        role = slot.role.name
        if role == "token_embd":
            return GGMLType.Q6_K, rows
        if slot.layer != model.layers - 1:
            return None
        value = np.zeros(shape, np.float32)
        if role == "ffn_gate":
            value[:turning, 0] = 8
        elif role == "ffn_up":
            value[np.arange(turning), 1 + np.arange(turning)] = 1
        elif role == "ffn_down":
            value[1 : 1 + turning, :turning] = circle.rotation()
        elif role in ("post_ffw_norm", "post_ffw_norm_2"):
            return GGMLType.F32, value + (8 if role == "post_ffw_norm" else 0)
        else:
            return None
        return GGMLType.Q8_0, value

    return content


def counting_assistant(model: Hyperparameters, circle: Circle, rows: np.ndarray[Any, Any], miss: float) -> Content:
    random = np.random.default_rng(7)
    down = (random.standard_normal((model.hidden, circle.hidden)) / circle.hidden**0.5).astype(np.float32)
    turn = np.eye(circle.hidden, dtype=np.float32)
    turn[0, 0], turn[1 : 1 + circle.turning, 1 : 1 + circle.turning] = 0, circle.rotation()
    head = rows @ down.T
    wrong = random.random(len(head)) < miss
    head[wrong] = random.standard_normal((int(wrong.sum()), model.hidden)) * np.sqrt(np.mean(head**2))

    def content(slot: Slot, shape: tuple[int, ...]) -> tuple[GGMLType, np.ndarray[Any, Any]] | None:
        if slot.role.name == "token_embd":
            return GGMLType.Q6_K, head
        if slot.role.name == "nextn.pre_projection":
            before = down @ turn
            return GGMLType.Q8_0, np.concatenate([before, np.zeros_like(before)], 1)
        return None

    return content


def vocabulary_keys(count: int) -> dict[str, Value]:
    """Tokens without a meaning: what is generated is counted, not read."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *(f"<t{number}>" for number in range(count - 260))]
    kinds = [3] * len(special) + [6] * 256 + [1] * (count - 260)
    return {
        "tokenizer.ggml.model": gv.string("gemma4"),
        "tokenizer.ggml.tokens": gv.strings(words),
        "tokenizer.ggml.scores": gv.array(ValueType.FLOAT32, [-1000.0] * count),
        "tokenizer.ggml.token_type": gv.array(ValueType.INT32, kinds),
        "tokenizer.ggml.merges": gv.strings(["< t", "<t 1"]),
        "tokenizer.ggml.bos_token_id": gv.u32(2),
        "tokenizer.ggml.eos_token_id": gv.u32(1),
        "tokenizer.ggml.add_bos_token": gv.boolean(False),
    }


def write(path: Path, model: Hyperparameters, content: Content) -> None:
    metadata = {
        "general.architecture": gv.string(architecture(model.part)),
        "general.name": gv.string(path.stem),
        "general.file_type": gv.u32(2),
        "general.quantization_version": gv.u32(2),
        **written_keys(model),
        **vocabulary_keys(model.vocabulary),
    }
    plans = [TensorPlan("rope_freqs.weight", (model.head_dim_full // 2,), GGMLType.F32)]
    values: list[np.ndarray[Any, Any] | None] = [np.array(model.rope_factors(), np.float32)]
    for slot in slots(model):
        if slot.needed(model):
            shape = slot.shape(model)
            kind, value = content(slot, shape) or _inert(slot, shape)
            plans.append(TensorPlan(slot.mainline_name, shape, kind))
            values.append(value)
    with GGUFWriter(path, metadata, plans, force=True) as writer, RowEncoder() as encoder:
        for plan, value in zip(plans, values, strict=True):
            writer.write_next(_filler(plan.nbytes) if value is None else _encoded(encoder, plan, value))


def _inert(slot: Slot, shape: tuple[int, ...]) -> tuple[GGMLType, np.ndarray[Any, Any] | None]:
    """What any other tensor holds: it costs what it costs, and changes nothing."""
    role = slot.role.name
    if role == "ffn_gate_inp":
        return GGMLType.F32, np.random.default_rng(slot.layer).standard_normal(shape, np.float32)
    if slot.role.plain or len(shape) == 1:
        open_ = role in ONES or (role.endswith("_norm") and not role.startswith("post"))
        return GGMLType.F32, np.full(shape, float(open_), np.float32)
    return GGMLType.Q4_0, None


def _encoded(encoder: RowEncoder, plan: TensorPlan, value: np.ndarray[Any, Any]) -> Iterator[bytes]:
    value = np.ascontiguousarray(value, np.float32)
    if plan.type is GGMLType.F32:
        yield value.tobytes()
        return
    for pieces in encoder.encode([Job(Stored(plan.name, value, plan.shape, GGMLType.F32), plan.type, lambda _: None)]):
        yield from map(bytes, pieces)


def _filler(size: int) -> Iterator[bytes]:
    """Arbitrary Q4_0 blocks of a small scale."""
    blocks = np.random.default_rng(1).integers(0, 256, (1 << 16, 18), dtype=np.uint8)
    blocks[:, :2] = np.array([0.01], "<f2").view(np.uint8)
    piece = blocks.tobytes()
    while size > 0:
        yield piece[:size]
        size -= len(piece)


def make_pair(
    kind: str, folder: Path, *, miss: float = 0.25, shrink: int = 1, vocabulary: int = VOCABULARY
) -> tuple[Path, Path]:
    """Write a target and its assistant there, which count."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"counting-{kind}-Q4_0.gguf", folder / f"mtp-counting-{kind}-Q4_0.gguf"
    target, assistant = (parse_config(one, folder) for one in configs(kind, shrink, vocabulary))
    circle = Circle(target)
    rows = circle.embeddings()
    write(files[0], target, counting_target(target, circle, rows))
    write(files[1], assistant, counting_assistant(assistant, circle, rows, miss))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS, type=str.lower)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--miss", type=float, default=0.25)
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    asked = parser.parse_args()
    for path in make_pair(asked.kind, asked.folder, miss=asked.miss, shrink=asked.shrink, vocabulary=asked.vocabulary):
        print(f"{path} {path.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
