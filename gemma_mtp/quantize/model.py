"""Whatever a place names, quantized: a GGUF here or on the Hub to one or several types, in one reading."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from gemma_mtp.errors import UsageError
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.quantize.catalogue import outputs_for, parse_kinds
from gemma_mtp.quantize.engine import Quantization, quantize_file
from gemma_mtp.quantize.imatrix import ImportanceMatrix, read_imatrix
from gemma_mtp.quantize.recipes import Override, parse_override
from gemma_mtp.sources.opening import Place, local_gguf

LOG = logging.getLogger(__name__)

#: Types of roles: a mapping, or `Override`s and texts of the form ROLE=TYPE.
Overrides = Mapping[str, str] | Iterable[str | Override]


def quantize_model(
    place: Place,
    types: str | Sequence[str],
    output: str | PathLike[str] | None = None,
    *,
    overrides: Overrides = (),
    imatrix: str | PathLike[str] | ImportanceMatrix | None = None,
    allow_requantize: bool = False,
    force: bool = False,
    threads: int | None = None,
    progress: Progress = silent,
) -> Quantization:
    """Quantize a GGUF, exactly as llama.cpp does it, or by a recipe made for drafters.

        quantize_model("mtp-BF16.gguf", ["Q8_0", "draft-q4"], overrides={"head": "Q6_K"})

    place: a GGUF in BF16, F16 or F32, here or on the Hub, from where it is downloaded. types: types or recipes by name.
    output: a file (for one type), a folder that exists, or None: files beside the source, of one on the Hub in the
    current folder. overrides: types for single roles. imatrix: an importance matrix or its file.
    allow_requantize: take a quantized source, too. force: replace files. threads: all cores if None.
    progress: of downloading and quantizing.

    Raises UsageError (no such type or role, a file that exists, a quantized source without `allow_requantize`, an
    importance matrix wanted), BadFileError (no Gemma 4 GGUF, NaN, an importance matrix of another model), GGUFError,
    EnvironmentProblem.
    """
    kinds = parse_kinds([types] if isinstance(types, str) else types)
    if not kinds:
        raise UsageError("no type is given", hint="gemma-mtp quantize --list shows what there is")
    named, chosen = parse_source(place), [_override(one) for one in _listed(overrides)]
    wanted = None if output is None else Path(output)
    importance = imatrix if isinstance(imatrix, ImportanceMatrix) or imatrix is None else read_imatrix(Path(imatrix))
    path = local_gguf(place, Part.ASSISTANT, progress=progress)
    outputs = outputs_for(path if named.path else Path(path.name), kinds, wanted)
    size = path.stat().st_size if path.is_file() else 0
    with progress("quantizing", size * len(outputs)) as advance:
        done = quantize_file(
            path,
            outputs,
            overrides=chosen,
            importance=importance,
            allow_requantize=allow_requantize,
            force=force,
            threads=threads,
            advance=advance,
        )
    LOG.info("%s: %s in %.1f s", place, ", ".join(str(one.path) for one in done.outputs), done.seconds)
    return done


def _listed(overrides: Overrides) -> Iterable[str | Override]:
    return [f"{role}={kind}" for role, kind in overrides.items()] if isinstance(overrides, Mapping) else overrides


def _override(given: str | Override) -> Override:
    return given if isinstance(given, Override) else parse_override(given)
