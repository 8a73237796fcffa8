"""What the figures mean: which draft length pays, and how mainline's llama-server is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gemma_mtp.bench.results import AUTO, NONE, OVERALL, PLAIN, ConfidenceRow, Recommendation, Row, draft_name
from gemma_mtp.bench.ways import Way, assistant_way
from gemma_mtp.native.methods import MTP
from gemma_mtp.native.server_line import llama_server
from gemma_mtp.native.settings import NO_DRAFTS, ContextSettings, ModelSettings

#: Under this speed-up drafting isn't worth its memory.
WORTH_IT = 1.03
#: Of two lengths this close the shorter one is recommended: it computes less.
CLOSE = 0.01


def recommend(
    rows: Sequence[Row],
    engine: str,
    *,
    target: Path,
    assistant: Path | None,
    context: ContextSettings,
    model: ModelSettings,
    confidence: Sequence[ConfidenceRow] = (),
    ways: Sequence[Way] = (),
) -> Recommendation:
    """From the rows of `engine`. llama-server knows fixed lengths only, so AUTO is reported and not recommended.

    ways: those that were measured beside the assistant's.
    """
    rows = [row for row in rows if row.engine == engine]
    best = best_length(_drafting([row for row in rows if row.category == OVERALL], bool(ways)))
    pays = best.speedup >= WORTH_IT
    draft, speedup, p_min, method = (best.draft, best.speedup, 0.0, best.method) if pays else (PLAIN, 1.0, 0.0, NONE)
    reasons = _reasons(rows, best, pays, named=bool(ways))
    sure = max((row for row in confidence if row.engine == engine), key=lambda row: row.speedup, default=None)
    if sure and sure.speedup >= speedup * WORTH_IT:
        draft, speedup, p_min, method = sure.draft, sure.speedup, sure.p_min, MTP
        verdict = (
            f"drafts of {draft} that end under a confidence of {p_min:g} pay most: {speedup:.2f}x over all prompts"
        )
        reasons[0] = f"without such an end, {reasons[0]}"
        reasons.insert(0, verdict)
    own = [] if assistant is None else [assistant_way(assistant, (draft,))]
    chosen = next((way for way in (*own, *ways) if way.label == method), None)
    drafting = chosen.drafting(draft, p_min) if chosen else NO_DRAFTS
    return Recommendation(
        draft=draft,
        speedup=speedup,
        reasons=tuple(reasons),
        command=llama_server(target, chosen.drafter if chosen else None, drafting, context, model),
        p_min=p_min,
        method=method,
    )


def best_length(rows: Sequence[Row]) -> Row:
    """Of one category's rows, PLAIN among them, one whose speed-up is (nearly) the best: of several the one that takes
    the least memory, then the shortest draft."""
    fixed = sorted((row for row in rows if row.draft != AUTO), key=lambda row: (row.memory or 0, row.draft))
    top = max(row.speedup for row in fixed)
    return next(row for row in fixed if row.speedup >= top * (1 - CLOSE))


def _reasons(rows: Sequence[Row], best: Row, pays: bool, *, named: bool) -> list[str]:
    """named: several methods were measured, so each is called by its name."""
    said = [_verdict(rows, best, pays, named)]
    if pays and best.ceiling is not None:
        said.append(
            f"drafting takes {best.draft_ms:.1f} ms of a round, verification {best.verify_ms:.1f} ms: with this "
            f"acceptance {best.ceiling:.2f}x would be the ceiling if drafting were free"
        )
    said += _exceptions(rows, best, named)
    auto = next((row for row in rows if (row.category, row.draft) == (OVERALL, AUTO)), None)
    if auto:
        said.append(f"a length that adapts itself gives {auto.speedup:.2f}x in gemma-mtp's own loop (--draft auto)")
    if not all(row.identical for row in rows):
        said.append("some outputs differ with drafting: gemma-mtp verify --run tells whether by rounding alone")
    return said


def _verdict(rows: Sequence[Row], best: Row, pays: bool, named: bool) -> str:
    if pays:
        share = (
            "none" if best.acceptance is None else f"{best.acceptance:.0%}"
        )  # so few tokens that nothing was drafted
        return (
            f"{_said(best, named)} {'pays' if named else 'pay'} most: {best.speedup:.2f}x over all prompts, {share} of "
            f"the drafts accepted, {best.tokens_per_round:.2f} tokens a round"
        )
    fastest = max((row for row in rows if row.category == OVERALL and row.draft > PLAIN), key=lambda row: row.speedup)
    return f"drafting does not pay here: {fastest.speedup:.2f}x at best, with {_said(fastest, named)}"


def _exceptions(rows: Sequence[Row], overall: Row, named: bool) -> list[str]:
    """Categories for which another length, or method, is clearly better."""
    said = []
    for category in dict.fromkeys(row.category for row in rows if row.category != OVERALL):
        own = [row for row in rows if row.category == category]
        best = best_length(_drafting(own, named))
        usual = next(row for row in own if (row.method, row.draft) == (overall.method, overall.draft))
        if best.speedup > usual.speedup * WORTH_IT:
            said.append(
                f"for {category}, {_said(best, named)} would be better: {best.speedup:.2f}x instead of "
                f"{usual.speedup:.2f}x"
            )
    return said


def _drafting(rows: Sequence[Row], ways: bool) -> list[Row]:
    """Of several ways those that drafted at all: n-grams that knew nothing are quicker or slower by chance alone."""
    return [row for row in rows if not ways or row.draft == PLAIN or row.drafted]


def _said(row: Row, named: bool) -> str:
    if row.draft == PLAIN:
        return "no drafting"
    drafts = f"drafts of {draft_name(row.draft)}"
    return f"{row.method} with {drafts}" if named else drafts
