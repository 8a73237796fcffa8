"""A model's weights as numbers, wherever they are stored: a checkpoint's folder or a GGUF of any type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.quants import dequantize

from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.ggml import ForeignType, native, row_bytes
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.family import FAMILY, slots
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import Slot
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Want, open_model

Array = np.ndarray[Any, Any]
EMBEDDING, ROPE_FREQS = "token_embd.weight", "rope_freqs.weight"


@dataclass(frozen=True)
class Weights:
    """A model that is open for reading."""

    side: OpenModel

    @property
    def model(self) -> Hyperparameters:
        return self.side.hyper

    @property
    def slots(self) -> dict[str, Slot]:
        """Mainline's name -> slot, of the tensors that are there."""
        return {slot.mainline_name: slot for slot in slots(self.model) if slot.mainline_name in self.side.tensors}

    def stored(self, name: str) -> tuple[TensorInfo, Array]:
        """A tensor's record, and its bytes as they are stored."""
        tensor = self.side.tensors[name]
        return tensor, self.side.data(tensor)

    def whole(self, name: str) -> Array:
        """A tensor as float32 of its shape, all of them finite. Raises BadFileError."""
        tensor, raw = self.stored(name)
        return self._numbers(tensor, raw).reshape(tensor.shape)

    def rows(self, name: str, numbers: Sequence[int] | Array) -> Array:
        """Some rows of a matrix: float32 [numbers, columns]. Raises BadFileError."""
        tensor = self.side.tensors[name]
        size = row_bytes(tensor.type, tensor.shape[-1])
        read = self.side.read
        assert read is not None
        raw = np.concatenate([read(tensor, int(row) * size, (int(row) + 1) * size) for row in numbers])
        return self._numbers(tensor, raw).reshape(len(numbers), tensor.shape[-1])

    def rope_divisors(self) -> Array:
        """Divisors of the full layers' rotary frequencies: float32 [dim / 2]."""
        return self.whole(ROPE_FREQS) if ROPE_FREQS in self.side.tensors else np.array(self.model.rope_factors(), "<f4")

    def _numbers(self, tensor: TensorInfo, raw: Array) -> Array:
        if isinstance(tensor.type, ForeignType):
            raise BadFileError(
                f"tensor {tensor.name} is in {tensor.type.name}, which only {tensor.type.runtime} decodes",
                where=self.side.place,
            )
        kind = native(tensor.type)
        raw = np.frombuffer(raw.tobytes(), np.uint8).reshape(-1, row_bytes(kind, tensor.shape[-1]))
        try:
            with np.errstate(all="ignore"):  # a scale that is no number, or too large a one: told below, by its tensor
                numbers = np.asarray(dequantize(raw, kind), np.float32)
        except NotImplementedError:
            raise BadFileError(
                f"tensor {tensor.name} is in {kind.name}, which is not decoded here",
                where=self.side.place,
                hint="name the model in 16 bits, or in another type",
            ) from None
        if not np.isfinite(numbers).all():
            raise BadFileError(
                f"tensor {tensor.name} holds NaN or Inf",
                where=self.side.place,
                hint="the file is damaged: download or convert it again",
            )
        return numbers


@contextmanager
def open_weights(place: str | Path, part: Part) -> Iterator[Weights]:
    """The model at `place`. Raises BadFileError (no model of this kind), and what `open_model` raises."""
    with open_model(place, part, want=Want.DATA) as side:
        if side.actual_part != part:
            raise BadFileError(f"this is {side.actual_part or 'no Gemma 4 model'}, not the {part}", where=place)
        if side.family is not FAMILY:
            raise BadFileError(
                f"this is a {side.family.prefix}* drafter; only MTP assistants are trained here", where=place
            )
        if isinstance(side.model, str):
            raise BadFileError(side.model, where=place)
        yield Weights(side)
