"""`verify --reference`: llama.cpp's drafts beside those of the official implementation, transformers, on the original
checkpoints. In a child process; torch and transformers are loaded only there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gemma_mtp.advice import CHECKPOINT, ours
from gemma_mtp.errors import MissingExtra
from gemma_mtp.extras import installed
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.ggml import FLOAT_TYPES
from gemma_mtp.hub.download import fetch_checkpoint
from gemma_mtp.hub.source import parse_source
from gemma_mtp.native.engines import EXTRA, PYTHON
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.opening import Place
from gemma_mtp.sources.splits import split_parts
from gemma_mtp.validate.comparison import ReferenceComparison, ReferenceJob
from gemma_mtp.validate.findings import Finding, Report, Result, error, ok, skipped, warning
from gemma_mtp.validate.run import TIE, RunOptions, answers, make_job

PROBE = "gemma_mtp.validate.probe:compare_with_official"
TITLE = "Drafts beside transformers'"
#: The share of rounds with equal drafts, near-ties included, that a pair in 16 or 32 bits reaches at least: what is
#: left is rounding. Quantization changes the function itself; below POOR it hurts, below BROKEN it is not the cause.
EXACT, POOR, BROKEN = 0.95, 0.50, 0.10


def with_reference(
    report: Report,
    target: Place,
    assistant: Place,
    checkpoints: tuple[Place, Place],
    *,
    context: ContextSettings | None = None,
    options: RunOptions | None = None,
    progress: Progress = silent,
) -> Report:
    """The report on a pair of local GGUF files, and how its drafts compare with those of the original `checkpoints`.

    checkpoints: target and assistant, each a folder or a repo on the Hub, which is downloaded. They are loaded in
    float32: four bytes a parameter. llama.cpp runs with a float32 cache and without flash attention here, so that what
    differs is due to the files. A pair with errors in its files is not loaded.
    progress: of downloads, and of the prompts.

    Raises MissingExtra, UsageError (no local GGUF files), CheckpointError, EnvironmentProblem.
    """
    options = options or RunOptions()
    exactly = replace(context or ContextSettings(), cache_k="f32", cache_v="f32", flash_attention="off")
    for extra in (EXTRA[PYTHON], "reference"):
        if not installed(extra):
            raise MissingExtra(extra, feature="comparing with transformers")
    job = make_job(target, assistant, exactly, replace(options, engine=PYTHON))
    if any(not result.id.startswith("run") for result in report.errors):
        refused = Result("reference", TITLE, skipped("the pair has errors and was not loaded"))
        return replace(report, results=(*report.results, refused))
    originals = [str(fetch_checkpoint(parse_source(place), progress=progress).folder) for place in checkpoints]
    done, failed = answers(PROBE, ReferenceJob(job, originals[0], originals[1], TIE), job, options, progress)
    exact = _is_exact(Path(job.target)) and _is_exact(Path(job.assistant))
    finding = failed or judged(done, exact, ours("convert", str(checkpoints[1])))
    result = Result("reference", TITLE, finding)
    return replace(report, results=(*report.results, result), reference=tuple(done))


def _is_exact(path: Path) -> bool:
    """Whether a file's weights are those of a checkpoint, to the bit or nearly."""
    for part in split_parts(path):
        with GGUFFile(part) as file:
            if any(tensor.type not in FLOAT_TYPES for tensor in file.tensors.values()):
                return False
    return True


def judged(done: list[ReferenceComparison], exact: bool, again: str = ours("convert", CHECKPOINT)) -> Finding:
    """What the shares mean. exact: whether the files were not quantized, so that the drafts should be the same.

    again: the command that makes the assistant's file anew.
    """
    names = ("rounds", "equal", "near_ties", "unscored")
    rounds, equal, ties, unscored = (sum(getattr(one, name) for one in done) for name in names)
    difference, gap = (max(getattr(one, name) for one in done) for name in ("difference", "widest_gap"))
    share, others = (equal + ties + unscored) / rounds, rounds - equal - ties - unscored
    said = (
        f"{equal / rounds:.0%} of the drafts are transformers'; {ties} more are near-ties, {others} others (by "
        f"{gap:.3f} at most); logits differ by {difference:.3f} at most"
    )
    values = (f"{equal} of {rounds} drafts equal", f"{ties} near-ties, {unscored + others} others")
    if share < (EXACT if exact else BROKEN):
        return error(
            f"{said}: " + ("rounding" if exact else "quantization") + " does not explain that",
            f"name the checkpoints that the files were made of; if these are they: {again}",
            *values,
        )
    if unscored > (1 - EXACT) * rounds:
        return warning(
            f"{said}; {unscored} are tokens that the official centroid head does not score, and llama.cpp's head does",
            "nothing is wrong with the files; fewer or more drafts may be accepted than in the official implementation",
            *values,
        )
    if not exact and share < POOR:
        return warning(
            f"{said}: quantization changes most of the drafts",
            "quantize the assistant less: Q8_0, or the recipe draft-mixed",
            *values,
        )
    return ok(*values, said)
