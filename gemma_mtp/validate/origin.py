"""The source that files are said to be made of, opened once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath

from gemma_mtp.hub.download import fetch_file
from gemma_mtp.progress import Progress
from gemma_mtp.quantize.imatrix import ImportanceMatrix, read_imatrix
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Place, Want, open_model
from gemma_mtp.validate.findings import Report
from gemma_mtp.validate.proof import prove
from gemma_mtp.validate.proof_told import results


@dataclass(frozen=True)
class SaidSource:
    """A checkpoint or a 16-bit GGUF with its data at hand, and the importance matrix that goes with it."""

    model: OpenModel
    importance: ImportanceMatrix | None

    def put_to(self, report: Report, side: OpenModel, *, weighted: bool = True, progress: Progress) -> Report:
        """The report on `side`, and what a proof of origin says of it. weighted: with the importance matrix.

        Raises what `prove` raises.
        """
        found = prove(side, self.model, self.importance if weighted else None, progress=progress)
        notes = (*report.notes, *((self.model.note,) if self.model.note else ()))
        return replace(report, results=(*report.results, *results(found)), notes=notes, origin=found)


@contextmanager
def said_source(place: Place, imatrix: str | PathLike[str] | None, progress: Progress) -> Iterator[SaidSource]:
    """What is on the Hub is downloaded. Raises what `open_model`, `fetch_file` and `read_imatrix` raise."""
    importance = None if imatrix is None else read_imatrix(fetch_file(fspath(imatrix), progress=progress))
    with open_model(place, want=Want.DATA, progress=progress) as model:
        yield SaidSource(model, importance)
