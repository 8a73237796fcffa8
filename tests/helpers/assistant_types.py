"""The five assistants in their real sizes, and which of their tensors gets which type, as a text for people.

    python tests/helpers/assistant_types.py > tests/quantize/assistant_types.txt

writes the table that the test compares with. Read the difference before committing it.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.config import Hyperparameters, parse_config
from gemma_mtp.model.dialects import ATOMIC, MAINLINE
from gemma_mtp.model.family import slots
from gemma_mtp.model.gguf_keys import written_keys
from gemma_mtp.quantize import RECIPES, plan_types
from gemma_mtp.quantize.names import role_of

GOLDEN = Path(__file__).with_suffix(".txt")
KINDS = ("Q8_0", "Q4_K_M", "Q4_0", *RECIPES)

_SMALL = {"hidden_size": 256, "intermediate_size": 2048, "num_attention_heads": 4}
_LARGE = {"hidden_size": 1024, "intermediate_size": 8192, "num_attention_heads": 16}
_CENTROIDS = {"use_ordered_embeddings": True, "num_centroids": 2048}
#: Assistant -> the fields of its config in which it differs.
SIZES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "E2B": ({"backbone_hidden_size": 1536, **_CENTROIDS}, {**_SMALL, "num_key_value_heads": 1}),
    "E4B": ({"backbone_hidden_size": 2560, **_CENTROIDS}, {**_SMALL, "num_key_value_heads": 2}),
    "12B": ({"backbone_hidden_size": 3840}, {**_LARGE, "num_key_value_heads": 8}),
    "26B-A4B": ({"backbone_hidden_size": 2816}, {**_LARGE, "num_key_value_heads": 8}),
    "31B": ({"backbone_hidden_size": 5376}, {**_LARGE, "num_attention_heads": 32, "num_key_value_heads": 16}),
}


def assistant(size: str) -> Hyperparameters:
    outer, inner = SIZES[size]
    text = {
        "num_hidden_layers": 4,
        "sliding_window": 1024,
        "vocab_size": 262_144,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        **inner,
    }
    return parse_config(
        {"architectures": ["Gemma4AssistantForCausalLM"], **outer, "text_config": text}, Path("config.json")
    )


def tensor_plans(size: str) -> tuple[dict[str, gv.Value], list[TensorPlan]]:
    """Keys and tensors of the 16-bit file: mainline's, or, where there is a centroid head, AtomicChat's."""
    model = assistant(size)
    dialect = ATOMIC if model.centroids else MAINLINE
    plans = [TensorPlan("rope_freqs.weight", (model.head_dim_full // 2,), GGMLType.F32)]
    for slot in slots(model):
        kind = GGMLType.F32 if slot.role.plain else GGMLType.BF16
        name = dialect.tensors.get(slot.role.name) or slot.mainline_name
        plans.append(TensorPlan(name, slot.shape(model), GGMLType.I32 if "token_ordering" in name else kind))
    keys = {"general.architecture": gv.string(dialect.architecture)}
    for key, value in written_keys(model).items():
        keys[key.replace(MAINLINE.architecture, dialect.architecture)] = value
    return keys, plans


def table(size: str) -> str:
    """A line for each role and shape. A dot: the type is kept. Where layers differ: how many have which, in order."""
    keys, plans = tensor_plans(size)
    columns = [plan_types(kind, keys, plans) for kind in KINDS]
    rows: dict[tuple[str, str, str], list[list[str]]] = {}
    for plan, *types in zip(plans, *columns, strict=True):
        row = rows.setdefault(
            (role_of(plan.name), " x ".join(map(str, plan.shape)), plan.type.name), [[] for _ in KINDS]
        )
        for cell, kind in zip(row, types, strict=True):
            cell.append("." if kind == plan.type else kind.name)
    lines = [f"{size} assistant"]
    for head, cells in [(("role", "shape", "now"), KINDS), *((key, map(_cell, row)) for key, row in rows.items())]:
        lines.append(f"{head[0]:22s}{head[1]:>14s}  {head[2]:6s}" + "".join(f"{cell:14s}" for cell in cells).rstrip())
    return "\n".join(lines)


def _cell(types: list[str]) -> str:
    runs = [(kind, len(list(run))) for kind, run in groupby(types)]
    return runs[0][0] if len(runs) == 1 else " ".join(f"{count} {kind}" for kind, count in runs)


def all_tables() -> str:
    return "\n\n".join(table(size) for size in SIZES) + "\n"


if __name__ == "__main__":
    print(all_tables(), end="")
