"""One reading of a checkpoint -> one GGUF for each wanted type.

    safetensors bytes on disk -> mapped view -> slot -> encoded rows -> the next tensor of each new file

One tensor at a time is in work, and of it only some blocks of rows are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemma_mtp.convert.checkpoint import Checkpoint, open_checkpoint
from gemma_mtp.convert.metadata import general_metadata, model_metadata
from gemma_mtp.convert.tokenizer import tokenizer_metadata
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.roles import ROPE_FREQS, Slot
