"""What adapting costs: recording against plain decoding, and a step of training at real sizes.

    python benchmarks/adapt_cost.py [--size E2B] [--size 26B-A4B] [--positions 2048] [--device cpu]

Recording: the demo target's tokens a second, against the same texts decoded plainly with all logits, in turns, in one
run. Training: random assistants of real shapes on random signals; a step's time and peak memory beside its arithmetic.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from full_size import config

from gemma_mtp.adapt.batches import FIRST
from gemma_mtp.adapt.costs import body_weights, step_flops
from gemma_mtp.adapt.figures import CHAIN
from gemma_mtp.adapt.lesson import Lesson, donors
from gemma_mtp.adapt.network import Network
from gemma_mtp.adapt.rounds import Batch
from gemma_mtp.adapt.teacher import Recorder
from gemma_mtp.adapt.train import Recipe, Trainer
from gemma_mtp.adapt.weights import open_weights
from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.model.config import parse_config
from gemma_mtp.model.family import slots
from gemma_mtp.model.part import Part
from gemma_mtp.native.llama import Context, Model
from gemma_mtp.native.recording import forget
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.native.stats import peak_memory


def recording(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "target-Q8_0.gguf"
        convert_checkpoint(PAIR / "target", [Output(path, "Q8_0")])
        with open_weights(path, Part.TARGET) as weights:
            layers = donors(weights.model)
        settings = ContextSettings(size=512, batch=512, outputs=512, threads=1)
        lesson = Lesson(path, Path(folder), (), layers, 0, length=512, context=settings, model=ModelSettings(0, False))
        tokens = np.random.default_rng(1).integers(100, 2000, 512).tolist()
        best = {"plain": 0.0, "recorded": 0.0}
        with Model(path, lesson.model) as model, Recorder(model, lesson) as recorder, Context(model, settings) as plain:
            for _ in range(repeats):
                for name in best:
                    start = time.perf_counter()
                    if name == "plain":
                        forget(plain)
                        plain.decode(tokens, 0, len(tokens))
                        plain.logits()
                    else:
                        recorder.record(tokens)
                    best[name] = max(best[name], len(tokens) / (time.perf_counter() - start))
    print(
        f"plain {best['plain']:,.0f} tokens/s, recorded {best['recorded']:,.0f}: {best['recorded'] / best['plain']:.2f}"
    )


def training(size: str, positions: int, device: str, steps: int) -> None:
    model = replace(parse_config(config(size), Path(size)))
    torch.manual_seed(1)
    names = {slot.mainline_name: slot.shape(model) for slot in slots(model) if slot.role.name != "token_ordering"}
    weights = {
        name: torch.randn(shape) * 0.02 if len(shape) > 1 else torch.ones(shape) for name, shape in names.items()
    }
    network = Network(model, weights, torch.ones(model.head_dim_full // 2)).to(device)
    length = positions + FIRST + CHAIN
    tokens = torch.randint(0, model.vocabulary, (1, length), device=device)
    cache = {
        kind: tuple(torch.randn(1, model.kv_heads(at), length, model.head_dim(at), device=device) for _ in "kv")
        for kind, at in (("sliding", 0), ("full", model.layers - 1))
    }
    batch = Batch(
        tokens,
        torch.randn(1, length, model.backbone, device=device),
        torch.randn(1, length, model.backbone, device=device),
        cache,
        torch.ones(1, length, dtype=torch.bool, device=device),
        torch.randint(0, 8192, (1, length, 64), device=device),
        torch.randn(1, length, 64, device=device).log_softmax(-1),
    )
    trainer = Trainer(network, None, Recipe(device=device), [])
    losses, best = [], trainer.state()  # a training keeps its best one
    for _ in range(steps):
        start = time.perf_counter()
        losses.append(trainer.step(batch))
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    trainer.restore(best)
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else peak_memory()
    head = trainer.kept or model.vocabulary
    flops = step_flops(model, positions, length, CHAIN, head)
    print(
        f"{size} on {device}: {body_weights(model):,} weights trained, {positions:,} positions, head of {head:,}: "
        f"{seconds:.1f} s a step, {flops / 1e12:.2f} TFLOP ({flops / seconds / 1e9:,.0f} GFLOP/s), "
        f"peak memory {memory / 1e9:.2f} GB, loss {losses[0]:.2f} -> {losses[-1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", choices=["E2B", "26B-A4B"])
    parser.add_argument("--positions", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    recording(args.repeats)
    for size in args.size or []:
        training(size, args.positions, args.device, args.steps)


if __name__ == "__main__":
    main()
