"""The runtime against llama.cpp's C++ engine, its own overhead, and drafts that adapt against the best fixed length.

    python benchmarks/runtime.py [--layers 8 32 64] [--type Q8_0] [--draft-max 4] [--tokens 64] [--repeats 3]
                                 [--threads N] [--only engines overhead auto] [--json]

On the demo pair with so many inert layers in the target (same function, more work), all in one run, in turns:

- engines: tokens/s of this package's loop and of xllamacpp's C++ engine, same files, settings and prompts. Then what a
  round took in each: drafting and verification (the C++ engine's from the statistics in its log).
  The two are compiled differently: xllamacpp's wheel is portable code, llama-cpp-python is compiled for this machine.
  Where that matters the ratio flatters this package, and the rounds show by how much.
- overhead: everything outside of llama_decode, as a share of the generation's time. Goal: under 3 % on the deepest.
- auto: the adaptive length against the best fixed one (no drafting included), by category. Goal: at least 0.97.
  Twice: as measured, where the best of several noisy figures is also the luckiest, and at an even pace: what the rounds
  of each would have taken at the same costs, which are medians over all laps, times what all adaptive laps together
  took more than that (batches of changing size need new graphs). The second is what the goal is for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from gemma_mtp.bench.laps import WARM_UP, Lap, Pair
from gemma_mtp.bench.measure import Plan, measure
from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN, Row
from gemma_mtp.bench.summary import rows
from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.heavy import make_heavier
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.mtp_runtime.prompts import BUILT_IN
from gemma_mtp.native.backend import settings_for_this_machine
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.native.stats import Statistics
from gemma_mtp.quantize import quantize_file

PARTS = ("engines", "overhead", "auto")
#: Goals: share of the time outside of llama_decode; adaptive against best fixed length.
OVERHEAD, ADAPTIVE = 0.03, 0.97
#: The drafter's time in the server's log: begin, draft, accept.
DURATIONS = re.compile(r"statistics\s+draft-mtp.*dur\(b,g,a\) = ([\d.]+), ([\d.]+), ([\d.]+) ms")


def make_pairs(folder: Path, layers: Sequence[int], kind: str, settings: dict[str, Any]) -> dict[int, Pair]:
    """The demo pair in `kind`, by the number of inert layers in its target."""
    bf16, assistant = folder / "target.gguf", folder / f"assistant-{kind}.gguf"
    convert_checkpoint(PAIR / "target", [Output(bf16, "BF16")])
    convert_checkpoint(PAIR / "assistant", [Output(assistant, kind)])
    pairs = {}
    for count in layers:
        heavy, target = folder / f"heavy-{count}.gguf", folder / f"target-{count}-{kind}.gguf"
        make_heavier(bf16, heavy, count)
        quantize_file(heavy, [Output(target, kind)])
        heavy.unlink()
        pairs[count] = Pair(target, assistant, **settings)
    return pairs


def engines(pair: Pair, plan: dict[str, Any], drafts: tuple[int, ...]) -> list[dict[str, Any]]:
    """A record for each draft length: both engines' tokens/s, and what a round took in each, in milliseconds."""
    found = rows(measure(Plan(pair, drafts=drafts, engines=("python", "cpp"), **plan)))
    overall = {(row.engine, row.draft): row for row in found if row.category == OVERALL}
    theirs = {draft: times for draft, *times in in_child("runtime:cpp_rounds", pair, (PLAIN, *drafts), plan)}
    return [
        {
            "draft": draft,
            "python": overall["python", draft].tokens_per_second,
            "cpp": overall["cpp", draft].tokens_per_second,
            "ratio": overall["python", draft].tokens_per_second / overall["cpp", draft].tokens_per_second,
            "same_counts": _counts(overall["python", draft]) == _counts(overall["cpp", draft]),
            "python_draft_ms": overall["python", draft].draft_ms,
            "python_verify_ms": overall["python", draft].verify_ms,
            "cpp_draft_ms": theirs[draft][0],
            "cpp_verify_ms": theirs[draft][1],
        }
        for draft in (PLAIN, *drafts)
    ]


def _counts(row: Row) -> tuple[int, int, int]:
    return row.tokens, row.drafted, row.accepted


def cpp_rounds(pair: Pair, drafts: Sequence[int], plan: dict[str, Any]) -> Iterator[tuple[int, float, float]]:
    """Runs in a child: (draft length, ms of drafting, ms of the rest of an average round), by the server's log."""
    from gemma_mtp.native import cpp
    from gemma_mtp.native.settings import Drafting, ModelSettings

    for draft in drafts:
        loading = cpp.Loading(
            pair.target, pair.assistant, Drafting(draft), context=pair.context, model=pair.model or ModelSettings()
        )
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            with cpp.CppEngine(loading, verbosity=cpp.EVERYTHING) as engine:
                engine.complete("def", max_tokens=WARM_UP, ignore_end=True)
                done = [
                    engine.complete(text, max_tokens=plan["tokens"], ignore_end=True).statistics
                    for _, text in plan["prompts"]
                ]
                drafting = drafting_seconds(log, 1 + len(done)) if draft else 0.0
        rounds, seconds = sum(one.rounds for one in done), sum(one.generation_seconds for one in done)
        yield draft, 1000 * drafting / rounds, 1000 * (seconds - drafting) / rounds


def drafting_seconds(log: Any, completions: int) -> float:
    """What drafting took after the first completion. The log tells sums, and is written by a thread of its own."""
    for _ in range(100):
        sums = [sum(map(float, found)) for found in DURATIONS.findall(os.pread(log.fileno(), 1 << 24, 0).decode())]
        if len(sums) == completions:
            return (sums[-1] - sums[0]) / 1000
        time.sleep(0.02)
    raise SystemExit("the C++ engine's log has no statistics of its drafts")


def overhead(laps: Sequence[Lap]) -> dict[int, float]:
    """By draft length: the share of the generation's time outside of llama_decode."""
    shares = {}
    for draft in dict.fromkeys(lap.task.draft for lap in laps):
        own = [lap.statistics for lap in laps if lap.task.draft == draft]
        shares[draft] = 1 - sum(one.decode_seconds for one in own) / sum(one.generation_seconds for one in own)
    return shares


def adaptive(laps: Sequence[Lap]) -> list[dict[str, Any]]:
    """By category: tokens/s of the adaptive length and of the best fixed one, measured and at an even pace."""
    even = Costs(laps)
    paced = [replace_seconds(lap, even.seconds(lap)) for lap in laps]
    return [
        {
            "category": one["category"],
            **{f"{key}_measured": one[key] for key in RATES},
            **{key: two[key] for key in RATES},
        }
        for one, two in zip(_adaptive(rows(laps)), _adaptive(rows(paced)), strict=True)
    ]


RATES = ("best", "best_rate", "auto", "ratio")


def _adaptive(found: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for category in dict.fromkeys(row.category for row in found):
        by_draft = {row.draft: row.tokens_per_second for row in found if row.category == category}
        auto = by_draft.pop(AUTO)
        best = max(by_draft, key=lambda draft: by_draft[draft])
        best_rate = by_draft[best]
        yield {"category": category, "best": best, "best_rate": best_rate, "auto": auto, "ratio": auto / best_rate}


def replace_seconds(lap: Lap, seconds: float) -> Lap:
    return replace(lap, statistics=replace(lap.statistics, generation_seconds=seconds))


class Costs:
    """Median seconds of a verification by its drafts; of a draft step and of a round's rest by kind of length.

    What these leave out, a lap of a kind takes all the same: how much longer its laps took, at the median.
    """

    def __init__(self, laps: Sequence[Lap]):
        by_draft: dict[int, list[Statistics]] = defaultdict(list)
        by_kind: dict[bool, list[Statistics]] = defaultdict(list)  # whether adaptive
        for lap in laps:
            by_draft[lap.task.draft].append(lap.statistics)
            by_kind[lap.task.draft == AUTO].append(lap.statistics)
        self._verify = {
            draft: median(one.verify_seconds / one.rounds for one in some)
            for draft, some in by_draft.items()
            if draft != AUTO
        }
        self._step = {kind: _step_seconds(some) for kind, some in by_kind.items()}
        self._rest = {kind: _rest_seconds(some) for kind, some in by_kind.items()}
        self._longer = {
            kind: median(one.generation_seconds / self._modelled(kind, one) for one in some)
            for kind, some in by_kind.items()
        }

    def seconds(self, lap: Lap) -> float:
        """What the lap's generation would have taken at these costs."""
        kind = lap.task.draft == AUTO
        return self._longer[kind] * self._modelled(kind, lap.statistics)

    def _modelled(self, kind: bool, one: Statistics) -> float:
        at_least = [one.rounds, *one.drafted_at, 0]  # so many rounds verified 0, 1, 2 .. drafts or more
        verifying = sum(
            (more - fewer) * self._verify[drafts] for drafts, (more, fewer) in enumerate(pairwise(at_least))
        )
        return verifying + one.drafted * self._step[kind] + one.rounds * self._rest[kind]


def _step_seconds(some: Sequence[Statistics]) -> float:
    return median(one.draft_seconds / one.drafted for one in some if one.drafted)


def _rest_seconds(some: Sequence[Statistics]) -> float:
    return median((one.generation_seconds - one.draft_seconds - one.verify_seconds) / one.rounds for one in some)


def machine(pair: Pair) -> dict[str, str]:
    """The CPU features that each engine was compiled to use."""
    return dict(in_child("runtime:features_python", pair)) | dict(in_child("runtime:features_cpp", pair))


def features_python(_: Pair) -> Iterator[tuple[str, str]]:
    from gemma_mtp.native import llama

    yield "python", ", ".join(llama.features())


def features_cpp(_: Pair) -> Iterator[tuple[str, str]]:
    import xllamacpp

    items = xllamacpp.get_system_info().replace("CPU : ", "").split("|")
    yield "cpp", ", ".join(item.strip().removesuffix(" = 1") for item in items if item.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=int, default=[8, 32, 64])
    parser.add_argument("--type", default="Q8_0")
    parser.add_argument("--draft-max", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = {
        "draft_max": options.draft_max,
        "context": ContextSettings(1024, threads=options.threads),
        "model": settings_for_this_machine(),
    }
    plan = {"prompts": tuple(BUILT_IN.items()), "tokens": options.tokens, "repeats": options.repeats}
    lengths = tuple(range(1, options.draft_max + 1))
    with tempfile.TemporaryDirectory() as folder:
        pairs = make_pairs(Path(folder), options.layers, options.type, settings)
        result: dict[str, Any] = {"features": machine(pairs[options.layers[0]]), "load": os.getloadavg()[0]}
        for layers, pair in pairs.items():
            record: dict[str, Any] = {}
            if "engines" in options.only:
                record["engines"] = engines(pair, plan, lengths)
            if "overhead" in options.only or "auto" in options.only:
                laps = list(measure(Plan(pair, drafts=(*lengths, AUTO), **plan)))
                record["overhead"], record["auto"] = overhead(laps), adaptive(laps)
            result[f"{layers} inert layers"] = record
            if not options.json:
                show(layers, record, options.only)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"\ncompiled for: python {result['features']['python']}; cpp {result['features']['cpp']}")


def show(layers: int, record: dict[str, Any], parts: Sequence[str]) -> None:
    print(f"\n{layers} inert layers")
    if "engines" in parts:
        print("  draft  python/s    cpp/s  ratio   a round, ms: drafting + verification, python / cpp")
        for row in record["engines"]:
            times = [row[f"{engine}_{part}_ms"] for engine in ("python", "cpp") for part in ("draft", "verify")]
            same = "" if row["same_counts"] else "   (not the same drafts accepted)"
            print(
                f"  {row['draft']:5d}{row['python']:10.1f}{row['cpp']:9.1f}{row['ratio']:7.2f}   "
                f"{times[0]:.2f} + {times[1]:.2f} / {times[2]:.2f} + {times[3]:.2f}{same}"
            )
        drafting = geometric_mean(row["ratio"] for row in record["engines"] if row["draft"])
        print(f"  with drafting: {drafting:.2f} of the C++ engine's tokens/s (geometric mean; goal: at least 1)")
    if "overhead" in parts:
        shares = ", ".join(
            f"{'auto' if draft == AUTO else draft}: {share:.1%}" for draft, share in record["overhead"].items()
        )
        print(f"  outside of llama_decode, by draft length (goal: under {OVERHEAD:.0%}): {shares}")
    if "auto" in parts:
        print("  auto and the best fixed length, tokens/s:        measured                 at an even pace")
        for row in record["auto"]:
            figures = [
                f"{row[f'auto{kind}']:.1f} / {row[f'best_rate{kind}']:.1f} (draft {row[f'best{kind}']}): "
                f"{row[f'ratio{kind}']:.3f}"
                for kind in ("_measured", "")
            ]
            print(f"    {row['category']:14s}{figures[0]:>36s}{figures[1]:>36s}")
        worst = min(row["ratio"] for row in record["auto"])
        print(f"  auto at its worst: {worst:.3f} of the best fixed length, at an even pace (goal: at least {ADAPTIVE})")


if __name__ == "__main__":
    main()
