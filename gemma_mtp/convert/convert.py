"""Whatever a place names, converted: a checkpoint to GGUFs, an assistant GGUF to another dialect."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any

from gemma_mtp.convert.drafters import respell_drafter
from gemma_mtp.convert.naming import outputs_for
from gemma_mtp.convert.pipeline import Conversion, convert_opened
from gemma_mtp.convert.respell import respell
from gemma_mtp.convert.spelling import dialect_named, require_dialect
from gemma_mtp.errors import UsageError
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_reader import require_gguf_file
from gemma_mtp.hub.source import Source, parse_source
from gemma_mtp.model.dialects import MAINLINE, Dialect
from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.checkpoint import Checkpoint
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Place, Want, open_model
from gemma_mtp.sources.splits import MERGE_PARTS

DEFAULT_TYPES = ("BF16",)
LOG = logging.getLogger(__name__)


def convert_model(
    place: Place,
    output: str | PathLike[str] | None = None,
    *,
    types: str | Sequence[str] = (),
    target: Place | None = None,
    dialect: str = "mainline",
    name: str | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    threads: int | None = None,
    progress: Progress = silent,
    deep: bool = False,
) -> Conversion:
    """Convert a checkpoint (a folder, `owner/repo[@revision]`), or respell an assistant GGUF.

        convert_model("google/gemma-4-E2B-it-assistant", types=["Q8_0", "Q4_0"])

    output: a file (for one type), a folder that exists, or None: files in the current folder, named after the model.
    types: of the weights, BF16 if none is given; a GGUF keeps its own. target: a DFlash drafter's, a GGUF or a
    checkpoint, from whose header come tokenizer and scale. dialect: mainline, ik or atomic; of DFlash lucebox.
    name: the model's, for its metadata. allow_nonfinite: convert NaN and Inf as they are. force: replace files.
    threads: all cores if None. progress: of downloading and converting. deep: hash again what the Hub's cache has.

    Raises what `open_model` raises, and UsageError for outputs that cannot be.
    """
    start, types = perf_counter(), [types] if isinstance(types, str) else types
    require_dialect(dialect)
    wanted, source = None if output is None else Path(output), parse_source(place)
    if wanted is not None and not wanted.is_dir():
        check_output(wanted, force)
    if source.path is not None and source.path.is_file():
        require_gguf_file(source.path)
    if types and _is_gguf(source):
        raise UsageError(
            "a GGUF keeps its types when its dialect changes", hint="`gemma-mtp quantize` changes the types"
        )
    with ExitStack() as stack:
        owner = stack.enter_context(open_model(target, Part.TARGET)) if target is not None else None
        model = stack.enter_context(open_model(source, want=Want.DATA, progress=progress, deep=deep, owner=owner))
        spelling = dialect_named(dialect, model.family)
        if model.checkpoint is None:
            done = _respelled(model, wanted, spelling, force, owner)
        else:
            kinds = types or DEFAULT_TYPES
            options = {"allow_nonfinite": allow_nonfinite, "force": force, "threads": threads, "target": owner}
            done = _converted(model, model.checkpoint, kinds, wanted, spelling, name or model.name, progress, options)
    done = replace(done, dialect=spelling.name, seconds=perf_counter() - start)
    for note in done.notes:
        LOG.info("%s: %s", source, note)
    LOG.info("%s: %s in %.1f s", source, ", ".join(map(str, done.files)), done.seconds)
    return done


def _converted(
    model: OpenModel,
    checkpoint: Checkpoint,
    kinds: Sequence[str],
    wanted: Path | None,
    dialect: Dialect,
    name: str,
    progress: Progress,
    options: dict[str, Any],
) -> Conversion:
    """A checkpoint in each type. Raises UsageError: another family's checkpoint in another dialect than mainline's."""
    if model.family is not FAMILY and dialect is not model.family.mainline:
        raise UsageError(
            f"a checkpoint of this kind is not converted to {dialect.name} at once",
            where=model.place,
            hint="convert it without --dialect, and then the GGUF with it",
        )
    outputs = outputs_for(checkpoint.model.part, name, kinds, wanted, dialect.name, model.family)
    size = sum(tensor.nbytes for tensor in checkpoint.store.values())
    spelled = dialect if model.family is FAMILY else MAINLINE
    with progress("converting", size * len(outputs)) as advance:
        return convert_opened(
            checkpoint, outputs, name=name, dialect=spelled, origin=model.origin, advance=advance, **options
        )


def _respelled(
    model: OpenModel, wanted: Path | None, dialect: Dialect, force: bool, target: OpenModel | None
) -> Conversion:
    """An assistant's GGUF in another dialect. Raises UsageError (a split one, or it is in that dialect already)."""
    source, *more = model.files
    if more:
        raise UsageError("this is a split model", where=model.place, hint=MERGE_PARTS)
    name = str(FileName.parse(source).in_dialect(dialect.name))
    path = (wanted or Path()) / name if wanted is None or wanted.is_dir() else wanted
    if model.family is not FAMILY:
        return respell_drafter(source, path, dialect, model=model, target=target, force=force)
    return respell(source, path, dialect, place=model.place, force=force)


def _is_gguf(source: Source) -> bool:
    """Whether a place names a GGUF by what it looks like, before anything is downloaded."""
    return source.file is not None or source.quant is not None or (source.path is not None and source.path.is_file())
