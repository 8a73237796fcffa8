"""Whatever a place names, quantized: a GGUF here or on the Hub to one or several types, in one reading."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

from gemma_mtp.hub.download import fetch_file
from gemma_mtp.progress import Progress, silent
from gemma_mtp.quantize.catalogue import outputs_for, parse_kinds, require_room
from gemma_mtp.quantize.engine import Quantization, quantize_opened
from gemma_mtp.quantize.imatrix import ImportanceMatrix, read_imatrix
from gemma_mtp.quantize.recipes import Override, parse_override
from gemma_mtp.sources.opening import Place, Want, open_model

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
    deep: bool = False,
) -> Quantization:
    """Quantize a GGUF, exactly as llama.cpp does it, or by a recipe made for drafters.

        quantize_model("mtp-BF16.gguf", ["Q8_0", "draft-q4"], overrides={"head": "Q6_K"})

    place: a GGUF in BF16, F16 or F32, here or on the Hub, from where it is downloaded. types: types or recipes by name.
    output: a file (for one type), a folder that exists, or None: files beside the source, of one on the Hub in the
    current folder. overrides: types for single roles. imatrix: an importance matrix or its place.
    allow_requantize: take a quantized source, too. force: replace files. threads: all cores if None.
    progress: of downloading and quantizing. deep: hash again what the Hub's cache has.

    Raises UsageError (no such type or role, a file that exists, a quantized source without `allow_requantize`, an
    importance matrix wanted), BadFileError (no Gemma 4 GGUF, NaN, an importance matrix of another model), GGUFError,
    EnvironmentProblem.
    """
    kinds, wanted = parse_kinds([types] if isinstance(types, str) else types), None if output is None else Path(output)
    require_room(kinds, wanted)
    listed = [f"{role}={kind}" for role, kind in overrides.items()] if isinstance(overrides, Mapping) else overrides
    chosen = [one if isinstance(one, Override) else parse_override(one) for one in listed]
    if imatrix is not None and not isinstance(imatrix, ImportanceMatrix):
        imatrix = read_imatrix(fetch_file(fspath(imatrix), progress=progress, deep=deep))
    with open_model(place, want=Want.FILE, progress=progress, deep=deep) as model:
        here, named = model.files[0], model.source
        outputs = outputs_for(here if named is None or named.is_local else Path(here.name), kinds, wanted)
        with progress("quantizing", model.header.size * len(outputs)) as advance:
            done = quantize_opened(
                model,
                outputs,
                overrides=chosen,
                importance=imatrix,
                allow_requantize=allow_requantize,
                force=force,
                threads=threads,
                advance=advance,
            )
    LOG.info("%s: %s in %.1f s", place, ", ".join(str(one.path) for one in done.outputs), done.seconds)
    return done
