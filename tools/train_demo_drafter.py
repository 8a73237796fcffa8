"""Train an ordinary drafter for the demo target: a Gemma 4 of its vocabulary with a tenth of its weights.

    python tools/train_demo_drafter.py --target gemma_mtp/demo/pair/target --out gemma_mtp/demo/drafter

The text is that of `train_demo_pair.py`. The drafter learns the target's choices and its distribution on it
(distillation): what decides how many drafts are accepted. Seeded; minutes on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from transformers import Gemma4ForCausalLM, Gemma4TextConfig, GemmaTokenizer

sys.path.insert(0, str(Path(__file__).parent))  # as a script it has no package

from train_demo_pair import (
    EOS,
    Optimizer,
    Progress,
    Settings,
    half_precision,
    imitation_loss,
    save,
    seed_all,
    stdlib_sources,
    temper_attention,
    windows,
)


def drafter_config(target: Gemma4TextConfig) -> Gemma4TextConfig:
    """Two layers, a quarter of the target's width; its context and window, so that it can follow everywhere."""
    return Gemma4TextConfig(
        vocab_size=target.vocab_size,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        layer_types=["sliding_attention", "full_attention"],
        num_attention_heads=2,
        num_key_value_heads=1,
        num_global_key_value_heads=1,
        attention_k_eq_v=False,
        head_dim=64,
        global_head_dim=64,
        sliding_window=target.sliding_window,
        max_position_embeddings=target.max_position_embeddings,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=0,
        final_logit_softcapping=target.final_logit_softcapping,
    )


@torch.no_grad()
def start(target: Gemma4ForCausalLM) -> Gemma4ForCausalLM:
    """A new drafter. Its embeddings, which are its head too, are the target's along their principal directions."""
    model = Gemma4ForCausalLM(drafter_config(target.config))
    temper_attention(model)
    rows = target.get_input_embeddings().weight
    directions = torch.linalg.svd(rows, full_matrices=False).Vh[: model.config.hidden_size]
    model.get_input_embeddings().weight.copy_(rows @ directions.T)
    return model


def train(target: Gemma4ForCausalLM, ids: torch.Tensor, args: argparse.Namespace) -> Gemma4ForCausalLM:
    """Distil what the target says on windows of the corpus."""
    model = start(target)
    optimizer = Optimizer(model, Settings(), args.steps)
    progress = Progress("drafter", args.steps)
    for step in range(1, args.steps + 1):
        batch = windows(ids, args.batch, args.length)
        with half_precision("cpu"):
            with torch.no_grad():
                wanted = target(input_ids=batch, use_cache=False).logits
            said = model(input_ids=batch, use_cache=False).logits
        loss = imitation_loss(said, wanted)
        optimizer.step(loss)
        progress.update(step, loss.item())
    return model.eval()


@torch.no_grad()
def agreement(target: Gemma4ForCausalLM, drafter: Gemma4ForCausalLM, ids: torch.Tensor) -> float:
    """The share of places where both would choose the same token."""
    batch = windows(ids, 16, 256)
    first, second = (model(input_ids=batch, use_cache=False).logits.argmax(-1) for model in (target, drafter))
    return (first == second).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, required=True, help="the target's checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the drafter's to")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=0, help="use only the first part of the text (for tests)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    start, texts = time.process_time(), list(stdlib_sources())
    if args.megabytes:
        texts = ["".join(texts)[: int(args.megabytes * 1e6)]]
    tokenizer = GemmaTokenizer.from_pretrained(args.target)
    target = Gemma4ForCausalLM.from_pretrained(args.target, dtype=torch.float32).eval()
    corpus = torch.tensor(
        [token for one in tokenizer(texts, add_special_tokens=False).input_ids for token in (*one, EOS)]
    )
    seed_all(args.seed)
    drafter = train(target, corpus, args)
    seed_all(args.seed + 1)
    share = agreement(target, drafter, corpus)
    save(drafter, tokenizer, args.out)
    print(
        f"{drafter.num_parameters():,} parameters, the target's choice at {share:.1%} of all places, "
        f"{time.process_time() - start:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
