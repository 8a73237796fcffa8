"""What choosing a token costs: each way of sampling beside one pass over the row, which is what greedy decoding takes.

    python benchmarks/sampling.py [--vocabulary 262144] [--repeats 200] [--json]

Rows as models give them, sure of one token or of no opinion ("flat"); time of this thread alone, the least of many, in
turns. A round with 3 drafts looks at 7 rows: 3 of the drafter, 4 of the target.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from gemma_mtp.mtp_runtime.sampler import make_sampler
from gemma_mtp.native.settings import Sampling

ROWS = 4


def row(kind: str, size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.standard_normal(size).astype(np.float32) * 1.5
    logits[random.integers(0, size, 60)] += np.linspace(4, 10, 60).astype(np.float32)
    if kind == "sure":
        logits[random.integers(0, size)] = 24
    return logits


def measured(mode: str, kind: str, size: int, repeats: int) -> dict[str, Any]:
    """Milliseconds a row: of the pass, and of a draw."""
    rows = [row(kind, size, seed) for seed in range(ROWS)]
    sampler = make_sampler(Sampling(temperature=1.0, top_k=64, top_p=0.95, min_p=0, seed=1, mode=mode), [1])
    passing, drawing = (math.inf,) * 2
    for _ in range(repeats):
        passing = min(passing, seconds(lambda: [one.argmax() for one in rows]))
        drawing = min(drawing, seconds(lambda: [sampler.choose(one, place) for place, one in enumerate(rows)]))
    return {"mode": mode, "rows": kind, "pass_ms": 1000 * passing / ROWS, "draw_ms": 1000 * drawing / ROWS}


def seconds(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=262_144)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = [
        measured(mode, kind, options.vocabulary, options.repeats)
        for mode, kind in product(("match", "reject"), ("sure", "flat"))
    ]
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for one in found:
        ratio = one["draw_ms"] / one["pass_ms"]
        print(
            f"{one['mode']:7s}{one['rows']:5s} pass {one['pass_ms']:.3f} ms, draw {one['draw_ms']:.3f} ms: {ratio:.1f}x"
        )


if __name__ == "__main__":
    main()
