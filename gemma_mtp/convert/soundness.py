"""Nothing unsound is written: a file goes through the checks of one file before its first byte is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gemma_mtp.convert.spelling import NamedTensor
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_reader import GGUFHeader, TensorInfo, planned_header
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import ForeignType
from gemma_mtp.model.part import Part
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.host import Host

#: What only the data can show; whoever converts looks at them while they pass (NaN), or has made the head himself.
OF_DATA = ("target-finite", "assistant-finite", "target-zeros", "assistant-zeros")
#: What is repaired by writing the file anew, in a source.
REPAIRED = (
    "assistant-layout",
    "assistant-extra",
    "assistant-types",
    "masked-embeddings",
    "centroids",
    "token-ordering",
)


def require_sound_plan(part: Part, output: Path, metadata: Mapping[str, Value], plans: Sequence[TensorPlan]) -> None:
    """Raises BadFileError if a target or assistant of these keys and tensors would fail the checks of one file."""
    side = OpenModel(str(output), part, planned_header(metadata, plans, output))
    _require(side, "not written, because llama.cpp could not use it", OF_DATA)


def require_chat_template(output: Path, metadata: Mapping[str, Value]) -> tuple[str, ...]:
    """What is odd about a target's chat template. Raises BadFileError: llama-server would not start with it."""
    from gemma_mtp.validate.checks import TEMPLATE_CHECKS
    from gemma_mtp.validate.pair import Single
    from gemma_mtp.validate.verify import check_single

    side = OpenModel(str(output), Part.TARGET, planned_header(metadata, (), output))
    report = check_single(Single(side=side), TEMPLATE_CHECKS)
    if report.errors:
        raise BadFileError(f"not written: {report.errors[0].finding.message}", where=output)
    return tuple(result.finding.message for result in report.warnings)


def require_sound_source(place: Path, header: GGUFHeader, tensors: Mapping[str, NamedTensor]) -> None:
    """Raises BadFileError for an assistant with a fault that no other spelling mends."""

    def read(tensor: TensorInfo, start: int, stop: int) -> np.ndarray:
        return np.frombuffer(tensors[tensor.name].data, np.uint8)[start:stop]

    _require(OpenModel(str(place), Part.ASSISTANT, header, read), "it cannot be converted", (*OF_DATA, *REPAIRED))


def _require(side: OpenModel, what: str, without: Sequence[str]) -> None:
    from gemma_mtp.validate.verify import check_file

    foreign = [tensor.type for tensor in side.tensors.values() if isinstance(tensor.type, ForeignType)]
    host = Host(runtime=foreign[0].runtime) if foreign else None  # in another the file is useless, whatever its dialect
    errors = check_file(side, *without, host=host).errors
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        worst = errors[0].finding
        raise BadFileError(f"{what}: {worst.message}{more}", where=side.place, hint=worst.remedy)
