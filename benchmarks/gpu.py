"""Drafting on a GPU, in one prepared run: both engines, sampling, a model half in RAM, long contexts.

    python benchmarks/gpu.py [--kind 26b] [--minutes 8] [--tokens 256] [--gpu-layers -1] [--folder F] [--json]
    python benchmarks/gpu.py --kind tiny --smoke            # every part with the smallest shape, on any machine

The pair counts (benchmarks/counting.py): its costs are those of real weights, its acceptance is chosen. What is in a
table was measured in one run; its ratios are what counts. A part that would begin after the time is over is left out.

- engines: tokens/s without drafts, with drafts of fixed lengths, and with one that adapts itself; of llama.cpp's own
  engine (xllamacpp) too where it is installed. What a round takes, and how much of it outside of llama_decode.
  Goals: under 2 % greedy and under 4 % sampled of a round, at drafts of 3.
- sampled: the same at temperature 1, top-k 64, top-p 0.95.
- half: the experts (or the layers) of half the layers in RAM.
- long: contexts of 4 K, 16 K, 64 K with a cache of q8_0.
- memory: what the GPU has less of when a pair is loaded and has drafted, beside what `gemma-mtp fit` reckons.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from counting import KINDS, layers_of, make_pair

from gemma_mtp.extras import installed
from gemma_mtp.native.backend import settings_for_this_machine
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings, Sampling
from gemma_mtp.validate import parse_host
from gemma_mtp.validate.host import context_for, model_for

PARTS = ("engines", "sampled", "half", "long", "memory")
SAMPLED = Sampling(temperature=1.0, top_k=64, top_p=0.95, min_p=0.0, seed=1)
#: The first token of a prompt: what follows is counted up from there.
FIRST = 1000
GOALS = {"greedy": 0.02, "sampled": 0.04}
#: What memory is measured with, as llama-server is told it. NGL: half of the layers.
SETTINGS = ("-c 8192", "-c 32768 -ctk q8_0 -ctv q8_0", "-c 65536", "-c 8192 -ub 128", "-c 8192 -ngl NGL")
WITH_EXPERTS = ("-c 8192 -ncmoe NGL", "-c 8192 -ot exps=CPU")


@dataclass(frozen=True)
class Work:
    """What one child does: load a pair once, then a lap for each drafting. lengths: None: one that adapts itself."""

    target: Path
    assistant: Path
    lengths: tuple[int | None, ...]
    prompt: int
    tokens: int
    context: ContextSettings
    model: ModelSettings
    sampling: Sampling | None = None


def python_laps(work: Work) -> Iterator[dict[str, Any]]:
    """Runs in a child: a dictionary for each length, after a lap that warms it up."""
    from gemma_mtp.mtp_runtime import MtpEngine

    longest = max(length or 8 for length in work.lengths)
    prompt = list(range(FIRST, FIRST + work.prompt))
    with MtpEngine(work.target, work.assistant, context=work.context, model=work.model, draft_max=longest) as engine:
        for length in work.lengths:
            drafting = Drafting(longest, auto=True) if length is None else Drafting(length)
            options = {"drafting": drafting, "sampling": work.sampling, "ignore_end": True}
            for _ in engine.generate(prompt, max_tokens=min(32, work.tokens), **options):
                pass
            process, running = time.process_time(), engine.generate(prompt, max_tokens=work.tokens, **options)
            tokens = [token.id for token in running]
            said = running.statistics
            rounds = max(said.rounds, 1)
            yield {
                "length": length,
                "rate": (said.tokens - 1) / said.generation_seconds,
                "accepted": said.accepted,
                "drafted": said.drafted,
                "round_ms": 1000 * said.generation_seconds / rounds,
                "draft_ms": 1000 * said.draft_seconds / rounds,
                "verify_ms": 1000 * said.verify_seconds / rounds,
                "outside": 1 - said.decode_seconds / said.generation_seconds,
                "outside_ms": 1000 * (said.generation_seconds - said.decode_seconds) / rounds,
                "sampling_ms": 1000 * said.sampling_seconds / rounds,
                "prompt_rate": said.prompt_tokens / said.prompt_seconds,
                "process_ms": 1000 * (time.process_time() - process) / rounds,
                "counts": tokens == list(range(FIRST + work.prompt, FIRST + work.prompt + len(tokens))),
            }


def cpp_laps(work: Work) -> Iterator[dict[str, Any]]:
    """Runs in a child: the same of llama.cpp's own engine, which loads anew for each length."""
    from gemma_mtp.native.cpp import CppEngine, Loading

    prompt: Any = list(range(FIRST, FIRST + work.prompt))
    for length in work.lengths:
        if length is None:
            continue
        loading = Loading(work.target, work.assistant, Drafting(length), work.context, work.model)
        with CppEngine(loading) as engine:
            engine.complete(prompt, max_tokens=16, ignore_end=True)
            said = engine.complete(prompt, max_tokens=work.tokens, ignore_end=True).statistics
        rate = (said.tokens - 1) / said.generation_seconds
        yield {"length": length, "rate": rate, "accepted": said.accepted, "drafted": said.drafted}


def memory_laps(work: Work) -> Iterator[dict[str, Any]]:
    """Runs in a child: bytes of all GPUs before a pair is loaded, after it has drafted, and as they are reckoned."""
    from gemma_mtp.mtp_runtime import MtpEngine
    from gemma_mtp.native.llama import devices
    from gemma_mtp.sources.opening import open_model
    from gemma_mtp.validate.devices import spread

    def taken() -> int:
        return sum(one.memory_total - one.memory_free for one in devices() if "GPU" in one.kind)

    before, longest = taken(), max(length or 0 for length in work.lengths)
    prompt, drafting = list(range(FIRST, FIRST + work.prompt)), Drafting(longest)
    options = {"context": work.context, "model": work.model, "draft_max": longest}
    with MtpEngine(work.target, work.assistant, **options) as engine:
        for _ in engine.generate(prompt, max_tokens=work.tokens, drafting=drafting, ignore_end=True):
            pass
        after = taken()
    with open_model(work.target, "target") as target, open_model(work.assistant, "assistant") as assistant:
        context = replace(work.context, outputs=longest + 1)
        told = spread(target, assistant, context, work.model).gpu.to_dict()
    yield {"before": before, "taken": after - before, "told": told}


def works(asked: argparse.Namespace, pair: tuple[Path, Path]) -> Iterator[tuple[str, str, str, Work]]:
    """(part, its title, entrance of the child, work), in order."""
    model = replace(settings_for_this_machine(), gpu_layers=asked.gpu_layers)
    prompt, lengths = (24, (0, 1, 3, None)) if asked.smoke else (512, (0, 1, 2, 3, 4, 6, 8, None))
    context = ContextSettings(512 if asked.smoke else 8192, threads=asked.threads)
    usual = Work(*pair, lengths, prompt, asked.tokens, context, model)
    yield "engines", "the Python loop, greedy", "python_laps", usual
    if installed("serve"):
        fewer = tuple(length for length in lengths if length in (0, 2, 3))
        cpp = replace(usual, lengths=fewer, model=ModelSettings(asked.gpu_layers))
        yield "engines", "llama.cpp's C++ engine, greedy", "cpp_laps", cpp
    yield "sampled", "the Python loop, temperature 1", "python_laps", replace(usual, lengths=(0, 3), sampling=SAMPLED)
    layers, _ = layers_of(asked.kind, asked.shrink)
    half = replace(model, n_cpu_moe=layers // 2)
    if not KINDS[asked.kind]["enable_moe_block"]:
        half = replace(model, gpu_layers=layers // 2)
    yield "half", "half in RAM, greedy", "python_laps", replace(usual, lengths=(0, 1, 2, 3), model=half)
    for size in (128, 256) if asked.smoke else (4096, 16_384, 65_536):
        long = replace(context, size=size, cache_k="q8_0", cache_v="q8_0", flash_attention="on")
        work = replace(usual, lengths=(0, 2), prompt=size - asked.tokens - 8, context=long)
        yield "long", f"a context of {size:,}, cache of q8_0", "python_laps", work
    for words in (*SETTINGS, *(WITH_EXPERTS if KINDS[asked.kind]["enable_moe_block"] else ())):
        words = words.replace("NGL", str(layers // 2))
        host = parse_host(None, words)
        given = replace(model_for(host), extra_buffers=model.extra_buffers)
        work = replace(usual, lengths=(3,), context=context_for(host), model=given, tokens=16)
        yield "memory", words, "memory_laps", work


def measured(asked: argparse.Namespace, pair: tuple[Path, Path], end: float) -> list[dict[str, Any]]:
    """A table for each work that began in time."""
    tables = []
    for part, title, entrance, work in works(asked, pair):
        if part not in asked.only:
            continue
        if time.monotonic() > end:
            print(f"{title}: left out, the time is over", flush=True)
            continue
        table: dict[str, Any] = {"part": part, "title": title, "sampled": work.sampling is not None, "laps": []}
        tables.append(table)
        if not asked.json and part != "memory":
            print(f"\n{title}", flush=True)
        for lap in in_child(f"gpu:{entrance}", work, files=(work.target, work.assistant)):
            table["laps"].append(lap)
            if not asked.json:
                print(memory_words(title, lap) if part == "memory" else lap_words(lap, table["laps"]), flush=True)
    return tables


def lap_words(lap: dict[str, Any], laps: Sequence[dict[str, Any]]) -> str:
    """laps: those of the same table so far."""
    plain = next((one["rate"] for one in laps if one["length"] == 0), None)
    name = "auto" if lap["length"] is None else str(lap["length"] or "none")
    words = f"{name:>5} {lap['rate']:9.1f} tokens/s"
    words += f" {lap['rate'] / plain:5.2f}x" if plain else ""
    words += f"  accepted {lap['accepted']:4d} of {lap['drafted']:4d}"
    if "round_ms" in lap:
        words += (
            f"  a round {lap['round_ms']:7.2f} ms: draft {lap['draft_ms']:6.2f}, verify {lap['verify_ms']:7.2f}, "
            f"outside of llama_decode {lap['outside_ms']:.3f} ms ({lap['outside']:.1%}), "
            f"sampling {lap['sampling_ms']:.3f}; prompt {lap['prompt_rate']:.0f}/s"
        )
    return words


def memory_words(title: str, lap: dict[str, Any]) -> str:
    told, taken = lap["told"], lap["taken"]
    words = ", ".join(f"{kind} {told[kind] / 1e6:,.0f}" for kind in ("weights", "cache", "compute"))
    ratio = f"{told['total'] / taken:.3f} of" if taken else "of"
    before = f"before it were {lap['before'] / 1e6:,.0f}"
    return f"memory, {title}: {words} MB, {ratio} {taken / 1e6:,.0f} MB that it took; {before}"


def goals(tables: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What of the goals was reached at drafts of 3."""
    for table in tables:
        kind = "sampled" if table["sampled"] else "greedy"
        for lap in table["laps"]:
            if table["part"] in ("engines", "sampled") and lap["length"] == 3 and "outside" in lap:
                reached = "reached" if lap["outside"] < GOALS[kind] else "missed"
                yield f"{kind}: {lap['outside']:.1%} of a round outside of llama_decode, {reached} ({GOALS[kind]:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, type=str.lower, default="26b")
    parser.add_argument("--miss", type=float, default=0.25)
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--smoke", action="store_true", help="a vocabulary of 4,096, few tokens: does it all work?")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.tokens = asked.tokens or (24 if asked.smoke else 256)
    end = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory(prefix="gemma-mtp-gpu-") as scratch:
        size = {"vocabulary": 4096} if asked.smoke else {}
        pair = make_pair(asked.kind, asked.folder or Path(scratch), miss=asked.miss, shrink=asked.shrink, **size)
        tables = measured(asked, pair, end)
    if asked.json:
        print(json.dumps({"kind": asked.kind, "tables": tables}))
    else:
        print("\n" + "\n".join(goals(tables)))


if __name__ == "__main__":
    from gpu import main as imported  # what a child process is sent has to be of a module that it can import

    imported()
