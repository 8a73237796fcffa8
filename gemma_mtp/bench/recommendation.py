"""What the figures mean: which draft length pays, and how mainline's llama-server is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN, ConfidenceRow, Recommendation, Row, draft_name
from gemma_mtp.native.server_line import llama_server
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings

#: Under this speed-up drafting isn't worth its memory.
WORTH_IT = 1.03
#: Of two lengths this close the shorter one is recommended: it computes less.
CLOSE = 0.01


def recommend(
    rows: Sequence[Row],
    engine: str,
    *,
    target: Path,
    assistant: Path,
    context: ContextSettings,
    model: ModelSettings,
    confidence: Sequence[ConfidenceRow] = (),
) -> Recommendation:
    """From the rows of `engine`. llama-server knows fixed lengths only, so AUTO is reported and not recommended."""
    rows = [row for row in rows if row.engine == engine]
    best = best_length([row for row in rows if row.category == OVERALL])
    draft, speedup, p_min = (best.draft, best.speedup, 0.0) if best.speedup >= WORTH_IT else (PLAIN, 1.0, 0.0)
    reasons = _reasons(rows, best, draft)
    sure = max((row for row in confidence if row.engine == engine), key=lambda row: row.speedup, default=None)
    if sure and sure.speedup >= speedup * WORTH_IT:
        draft, speedup, p_min = sure.draft, sure.speedup, sure.p_min
        verdict = (
            f"drafts of {draft} that end under a confidence of {p_min:g} pay most: {speedup:.2f}x over all prompts"
        )
        reasons[0] = f"without such an end, {reasons[0]}"
        reasons.insert(0, verdict)
    return Recommendation(
        draft=draft,
        speedup=speedup,
        reasons=tuple(reasons),
        command=llama_server(target, assistant, Drafting(draft, p_min=p_min), context, model),
        p_min=p_min,
    )


def best_length(rows: Sequence[Row]) -> Row:
    """Of one category's rows the shortest draft whose speed-up is (nearly) the best; PLAIN is among them."""
    fixed = sorted((row for row in rows if row.draft != AUTO), key=lambda row: row.draft)
    top = max(row.speedup for row in fixed)
    return next(row for row in fixed if row.speedup >= top * (1 - CLOSE))


def _reasons(rows: Sequence[Row], best: Row, draft: int) -> list[str]:
    said = [_verdict(rows, best, draft)]
    chosen = next(row for row in rows if (row.category, row.draft) == (OVERALL, best.draft))
    if chosen.ceiling is not None and chosen.draft:
        said.append(
            f"drafting takes {chosen.draft_ms:.1f} ms of a round, verification {chosen.verify_ms:.1f} ms: with this "
            f"acceptance {chosen.ceiling:.2f}x would be the ceiling if drafting were free"
        )
    said += _exceptions(rows, best.draft)
    auto = next((row for row in rows if (row.category, row.draft) == (OVERALL, AUTO)), None)
    if auto:
        said.append(f"a length that adapts itself gives {auto.speedup:.2f}x in gemma-mtp's own loop (--draft auto)")
    if not all(row.identical for row in rows):
        said.append("some outputs differ with drafting: gemma-mtp verify --run tells whether by rounding alone")
    return said


def _verdict(rows: Sequence[Row], best: Row, draft: int) -> str:
    if draft:
        share = (
            "none" if best.acceptance is None else f"{best.acceptance:.0%}"
        )  # so few tokens that nothing was drafted
        return (
            f"drafts of {draft} pay most: {best.speedup:.2f}x over all prompts, {share} of the drafts "
            f"accepted, {best.tokens_per_round:.2f} tokens a round"
        )
    fastest = max((row for row in rows if row.category == OVERALL and row.draft > PLAIN), key=lambda row: row.speedup)
    return f"drafting does not pay here: {fastest.speedup:.2f}x at best, with drafts of {fastest.draft}"


def _exceptions(rows: Sequence[Row], overall: int) -> list[str]:
    """Categories for which another length is clearly better."""
    said = []
    for category in dict.fromkeys(row.category for row in rows if row.category != OVERALL):
        own = [row for row in rows if row.category == category]
        best, usual = best_length(own), next(row for row in own if row.draft == overall)
        if best.speedup > usual.speedup * WORTH_IT:
            length = f"drafts of {draft_name(best.draft)}" if best.draft else "no drafting"
            said.append(
                f"for {category}, {length} would be better: {best.speedup:.2f}x instead of {usual.speedup:.2f}x"
            )
    return said
