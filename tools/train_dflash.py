"""Train a small DFlash drafter for the demo target, in z-lab's layout.

    python -m tools.train_dflash --target gemma_mtp/demo/pair/target --out gemma_mtp/demo/pair/dflash

Its lessons are what the target writes by itself, as for the assistant (tools/train_demo_pair.py). At random places of a
text a block begins: the token there, then masks; the drafter learns what the target says in their place. The blocks'
tokens are embedded as the target embeds them, times the root of its width. Everything is seeded.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import Gemma4ForCausalLM, GemmaTokenizer

from gemma_mtp.demo.prompts import PROMPTS
from tools.dflash_network import CONFIG, DFlash, Shape
from tools.train_demo_pair import EOS, Progress, continue_greedily, seed_all, stdlib_sources, write_continuations

#: Drafts of a round that are measured.
LENGTHS = (1, 3, 7)


@dataclass
class Settings:
    """All that decides the outcome, apart from the versions of Python and torch."""

    seed: int = 7
    continuations: int = 512
    continuation_length: int = 176
    steps: int = 1000
    batch: int = 8
    blocks: int = 16
    fade: float = 0.85  # a place of a block counts this much less than the one before: a draft ends at the first fault
    rate: float = 0.003


@torch.no_grad()
def rows_of(target: Gemma4ForCausalLM, ids: torch.Tensor, shape: Shape) -> torch.Tensor:
    """What the drafter sees of the target: outputs of its layers, side by side [B, L, layers * hidden]."""
    states = target.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
    return torch.cat([states[layer + 1] for layer in shape.target_layers], -1)


def blocks_at(ids: torch.Tensor, anchors: torch.Tensor, shape: Shape) -> torch.Tensor:
    """The tokens of blocks [B, A * block]: the anchor's, then masks."""
    blocks = torch.full((*anchors.shape, shape.block), shape.mask_token)
    blocks[..., 0] = ids.gather(1, anchors)
    return blocks.flatten(1)


def train(target: Gemma4ForCausalLM, lessons: torch.Tensor, shape: Shape, settings: Settings) -> tuple[DFlash, float]:
    model = DFlash(shape)
    optimizer = torch.optim.AdamW(model.parameters(), settings.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, settings.steps, cycle_momentum=False, pct_start=0.05
    )
    seen = torch.cat([rows_of(target, some, shape) for some in lessons.split(32)])
    progress = Progress("dflash", settings.steps)
    weights = settings.fade ** torch.arange(shape.block - 1)
    for step in range(1, settings.steps + 1):
        chosen = torch.randint(0, len(lessons), (settings.batch,))
        ids = lessons[chosen]
        anchors = torch.randint(8, ids.shape[1] - shape.block, (settings.batch, settings.blocks))
        with torch.no_grad():
            embedded = target.model.embed_tokens(blocks_at(ids, anchors, shape))
        y = model(seen[chosen], embedded, anchors).unflatten(1, (settings.blocks, shape.block))
        wanted = ids.gather(1, (anchors[..., None] + torch.arange(1, shape.block)).flatten(1))
        losses = F.cross_entropy(target.lm_head(y[:, :, 1:]).flatten(0, 2), wanted.flatten(), reduction="none")
        loss = (losses.unflatten(0, (-1, shape.block - 1)) * weights).sum(-1).mean() / weights.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.update(step, loss.item())
    return model.to(torch.bfloat16).float().eval(), progress.loss  # measured with the values that are shipped


@torch.no_grad()
def drafts_at(model: DFlash, target: Gemma4ForCausalLM, ids: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """What is drafted after each of `anchors` [A] in a text `ids` [1, L]: [A, block - 1]."""
    shape, at = model.shape, anchors[None]
    y = model(rows_of(target, ids, shape), target.model.embed_tokens(blocks_at(ids, at, shape)), at)
    return target.lm_head(y[0].unflatten(0, (-1, shape.block))[:, 1:]).argmax(-1)


@torch.no_grad()
def measure(model: DFlash, target: Gemma4ForCausalLM, tokenizer: GemmaTokenizer, length: int = 128) -> dict[int, float]:
    """Drafts of a round -> the share accepted over the demo's prompts, greedy. Blocks are whole, whatever is kept."""
    drafted, accepted = dict.fromkeys(LENGTHS, 0), dict.fromkeys(LENGTHS, 0)
    for prompt in PROMPTS:
        begin = torch.tensor([tokenizer(prompt).input_ids])
        first, end = begin.shape[1], begin.shape[1] + length
        ids = continue_greedily(target, begin, end + model.shape.block)
        drafts = drafts_at(model, target, ids, torch.arange(first, end))
        wanted = ids[0].unfold(0, model.shape.block - 1, 1)[first + 1 : end + 1]
        right = (drafts == wanted).long().cumprod(1).sum(1)
        for n in LENGTHS:
            place = 0
            while place < length:
                kept = min(n, int(right[place]))
                drafted[n], accepted[n], place = drafted[n] + n, accepted[n] + kept, place + kept + 1
    return {n: accepted[n] / drafted[n] for n in LENGTHS}


def save(model: DFlash, folder: Path, facts: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    rows = "".join(f"| {key} | {value} |\n" for key, value in facts.items())
    (folder / "TRAINING.md").write_text(
        f"# How this drafter was trained\n\nBy `tools/train_dflash.py`.\n\n| | |\n| --- | --- |\n{rows}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, required=True, help="the target's checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the drafter to")
    for field in fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    args = parser.parse_args()
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    start, shape = time.process_time(), Shape.of_config(CONFIG)
    torch.set_num_threads(1)

    tokenizer = GemmaTokenizer.from_pretrained(args.target)
    texts = list(stdlib_sources())
    corpus = torch.tensor([i for text in tokenizer(texts, add_special_tokens=False).input_ids for i in (*text, EOS)])
    target = Gemma4ForCausalLM.from_pretrained(args.target, dtype=torch.float32).eval()
    target.requires_grad_(False)
    seed_all(settings.seed)
    lessons = write_continuations(target, corpus, settings, "cpu")
    seed_all(settings.seed + 1)
    model, loss = train(target, lessons, shape, settings)
    shares = measure(model, target, tokenizer)
    facts = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    facts |= {"parameters": f"{sum(one.numel() for one in model.parameters()):,}", "loss": f"{loss:.3f}"}
    facts |= {f"accepted of {n} drafts a round": f"{share:.1%}" for n, share in shares.items()}
    facts |= {"minutes of processor time": f"{(time.process_time() - start) / 60:.0f}", "torch": torch.__version__}
    save(model, args.out, facts)
    print((args.out / "TRAINING.md").read_text())


if __name__ == "__main__":
    main()
