"""Results of a bench, made up."""

from __future__ import annotations

from gemma_mtp.bench.results import (
    AUTO,
    OVERALL,
    PLAIN,
    BenchResults,
    Machine,
    ModelFile,
    Recommendation,
    Row,
    Settings,
)


def row(category: str, draft: int, speedup: float) -> Row:
    return Row(
        engine="python",
        category=category,
        draft=draft,
        tokens_per_second=40.0 * speedup,
        speedup=speedup,
        tokens=128,
        rounds=50 if draft else 127,
        drafted=150 if draft else 0,
        accepted=77 if draft else 0,
        acceptance=77 / 150 if draft else None,
        acceptance_by_position=(0.7, 0.5, 0.34) if draft else (),
        tokens_per_round=2.54 if draft else 1.0,
        draft_ms=9.0 if draft else 0.0,
        verify_ms=31.0,
        ceiling=speedup * 1.3 if draft else 1.0,
        identical=True,
    )


RESULTS = BenchResults(
    gemma_mtp="0.1.0",
    date="2026-11-24T18:00:00+00:00",
    machine=Machine("Linux", "a CPU", ("CPU: a CPU",), {"python": "llama-cpp-python 0.3.36"}),
    target=ModelFile("Demo", "demo-Q8_0.gguf", 5_000_000, "Q8_0"),
    assistant=ModelFile("Demo assistant", "mtp-demo-Q8_0.gguf", 1_000_000, "Q8_0"),
    settings=Settings(3, 128, 3, 2, 4096, 512, "f16", "auto", -1, {"code": 1, "math": 1}),
    rows=tuple(
        row(category, draft, speedup)
        for category in (OVERALL, "code", "math")
        for draft, speedup in ((PLAIN, 1.0), (1, 1.2), (2, 1.4), (AUTO, 1.38))
    ),
    recommendation=Recommendation(2, 1.4, ("because",), "llama-server ..."),
)
