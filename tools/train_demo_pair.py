"""Train the demo pair: a small Gemma 4 target and an assistant that drafts for it.

    python tools/train_demo_pair.py --out gemma_mtp/demo/pair

The text is the Python standard library, parsed and written back by `ast.unparse` without its docstrings: free to use,
at hand on every machine, and regular enough for a model of a few million parameters. The work has five parts:

1. a byte-fallback BPE tokenizer of Gemma's form;
2. the target, `Gemma4ForCausalLM`, on next-token prediction;
3. the target again, against loops: models of this size, decoded greedily, repeat themselves;
4. greedy continuations written by that target (rounded to BF16, as it is shipped);
5. the assistant, `Gemma4AssistantForCausalLM`, which learns to say what the target says there. A draft round is several
   chained steps at ONE position: the first gets the target's hidden state, each later one the assistant's own, and all
   of them read the keys and values that the target has computed for the positions before.

Everything is seeded. CUDA is used with `--device cuda`; the shipped pair was made on two CPU cores.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import platform
import random
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GemmaTokenizer,
)

from gemma_mtp.adapt.rounds import Batch, accepted_lengths, rounds, steps_of, walk
from gemma_mtp.adapt.texts import looping
from gemma_mtp.demo.prompts import PROMPTS

PAD, EOS, BOS = 0, 1, 2
CORE_SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
TURN_SPECIALS = [
    *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
    *('<|"|>', "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>"),
]
BYTES = [f"<0x{value:02X}>" for value in range(256)]

#: Folders of the standard library that are left out: tests, tools and generated tables teach the pair no Python.
SKIPPED = {*("test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data", "turtledemo", "encodings")}


@dataclass
class Settings:
    """All that decides the outcome, apart from the versions of Python and torch."""

    seed: int = 4
    vocab_size: int = 2048
    target_steps: int = 820
    target_batch: int = 24
    target_length: int = 320
    loop_steps: int = 80
    loop_batch: int = 24
    loop_length: int = 128
    loop_share: float = 0.7
    continuations: int = 2560
    continuation_length: int = 224
    assistant_steps: int = 700
    assistant_batch: int = 16
    chain: int = 4
    measured_tokens: int = 128
    muon_lr: float = 0.015
    muon_steps: int = 5  # in bfloat16, which a processor without it takes its time for
    adam_lr: float = 0.005


def stdlib_sources() -> Iterator[str]:
    """Every parsable standard-library module in canonical form: no comments, no docstrings, one style."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if SKIPPED.intersection(path.relative_to(root).parts):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if documented and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        text = ast.unparse(tree)
        if text and max(map(len, text.splitlines())) < 1000:  # longer lines are data tables
            yield text + "\n"


def first_part(texts: Iterator[str], size: int) -> Iterator[str]:
    """So many characters of the texts, as one text; no more are read."""
    taken: list[str] = []
    while sum(map(len, taken)) < size and (text := next(texts, "")):
        taken.append(text)
    yield "".join(taken)[:size]


def train_tokenizer(texts: list[str], vocab_size: int) -> GemmaTokenizer:
    """A BPE vocabulary in Gemma's form: spaces as U+2581, byte fallback, no token across a newline or a word."""
    trainer_tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainer_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    words = Regex(r"\n+|▁+(?=▁)|▁?[A-Za-z]+|[0-9]|▁?[^\sA-Za-z0-9▁_]+|_+|▁")
    trainer_tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=CORE_SPECIALS + TURN_SPECIALS + BYTES,
        limit_alphabet=128,
        max_token_length=16,
        show_progress=False,
    )
    trainer_tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(trainer_tokenizer.to_str())["model"]
    return GemmaTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        additional_special_tokens=TURN_SPECIALS,
    )


def target_config(vocab_size: int) -> Gemma4TextConfig:
    """Rows are multiples of 256, so that K-quants apply; the window is shorter than a prompt, so that it matters."""
    return Gemma4TextConfig(
        vocab_size=vocab_size,
        hidden_size=512,
        intermediate_size=512,
        num_hidden_layers=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        num_global_key_value_heads=1,
        attention_k_eq_v=False,
        head_dim=64,
        global_head_dim=128,
        per_layer_config={2: {"head_dim": 128, "num_key_value_heads": 1}},
        sliding_window=64,
        max_position_embeddings=2048,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=0,
        final_logit_softcapping=30.0,
    )


def assistant_config(target: Gemma4TextConfig) -> Gemma4AssistantConfig:
    text = Gemma4TextConfig(
        vocab_size=target.vocab_size,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=4,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        num_kv_shared_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        per_layer_config={3: {"head_dim": 128, "num_key_value_heads": 1}},
        sliding_window=target.sliding_window,
        max_position_embeddings=target.max_position_embeddings,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=0,
    )
    return Gemma4AssistantConfig(text_config=text, backbone_hidden_size=target.hidden_size)


def temper_attention(model: torch.nn.Module) -> None:
    """Gemma 4 scales attention by 1, not 1/sqrt(head_dim): put that factor into the initial query norms."""
    for module in model.modules():
        if hasattr(module, "q_norm"):
            module.q_norm.weight.data.fill_(module.head_dim**-0.5)


class Optimizer:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms; linear warm-up and decay to zero."""

    def __init__(self, model: torch.nn.Module, settings: Settings, steps: int, share: float = 1.0):
        """`share` scales the learning rates: a part that only corrects takes smaller steps."""
        named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
        others = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
        self.parts = [
            torch.optim.Muon(
                matrices,
                lr=share * settings.muon_lr,
                weight_decay=0.01,
                ns_steps=settings.muon_steps,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(others, lr=share * settings.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        warmup = max(1, min(40, steps // 10))
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(
                part, lambda step: min((step + 1) / warmup, max(0.01, (steps - step) / steps))
            )
            for part in self.parts
        ]
        self.weights = [weight for _, weight in named]

    def step(self, loss: torch.Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for part, schedule in zip(self.parts, self.schedules, strict=True):
            part.step()
            schedule.step()
            part.zero_grad(set_to_none=True)


class Progress:
    """One line now and then: step, running loss, time."""

    def __init__(self, what: str, steps: int):
        self.what, self.steps, self.start, self.loss = what, steps, time.monotonic(), math.nan

    def update(self, step: int, loss: float) -> None:
        self.loss = loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * loss
        if step % 20 == 0 or step == self.steps:
            elapsed = time.monotonic() - self.start
            print(f"{self.what} {step}/{self.steps}  loss {self.loss:.3f}  {elapsed:.0f} s", flush=True)


def half_precision(device: str):
    """bfloat16 where the device multiplies it: a processor that only imitates it takes fifty times as long."""
    native = device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=native)


def seed_all(seed: int) -> None:
    """Each part has a seed of its own, so that one can be run again without the others."""
    random.seed(seed)
    torch.manual_seed(seed)


def train_target(ids: torch.Tensor, settings: Settings, device: str) -> Gemma4ForCausalLM:
    """Next-token prediction on windows of the corpus."""
    model = Gemma4ForCausalLM(target_config(settings.vocab_size)).to(device)
    temper_attention(model)
    optimizer = Optimizer(model, settings, settings.target_steps)
    progress = Progress("target", settings.target_steps)
    for step in range(1, settings.target_steps + 1):
        batch = windows(ids, settings.target_batch, settings.target_length).to(device)
        with half_precision(device):
            logits = model(input_ids=batch, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())
        optimizer.step(loss)
        progress.update(step, loss.item())
    return model


def train_against_loops(model: Gemma4ForCausalLM, ids: torch.Tensor, settings: Settings, device: str) -> None:
    """Unlikelihood training on the target's own greedy text (Welleck et al., 2019, "Neural text generation with
    unlikelihood training"): what completes an n-gram for the third time becomes less likely; next-token prediction
    on the corpus goes on beside it."""
    optimizer = Optimizer(model, settings, settings.loop_steps, share=0.1)
    progress = Progress("against loops", settings.loop_steps)
    for step in range(1, settings.loop_steps + 1):
        prompts = windows(ids, settings.loop_batch, random.choice((12, 20, 32))).to(device)
        written = continue_greedily(model, prompts, settings.loop_length)
        text = windows(ids, settings.target_batch // 2, settings.target_length).to(device)
        with half_precision(device):
            logits = model(input_ids=text, use_cache=False).logits.float()
            chances = model(input_ids=written, use_cache=False).logits.float().softmax(-1)
        prediction = F.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
        chance = chances[:, :-1].gather(-1, written[:, 1:, None])[..., 0]
        looping = third_repeats(written)[:, 1:].float()
        unlikelihood = -((1 - chance).clamp(min=1e-4).log() * looping).sum() / looping.sum().clamp(min=1)
        optimizer.step(prediction + 0.5 * unlikelihood)
        progress.update(step, looping.mean().item())


@torch.no_grad()
def go_part_of_the_way(model: torch.nn.Module, before: dict[str, torch.Tensor], share: float) -> None:
    """Weights between those `before` (share 0) and the model's (share 1): fewer loops, and still easy to predict."""
    for name, weight in model.state_dict().items():
        weight.copy_(before[name].lerp(weight, share))


def third_repeats(ids: torch.Tensor) -> torch.Tensor:
    """Where a token of `ids` [B, L] stands in a loop: [B, L], bool."""
    return torch.tensor([looping(row) for row in ids.tolist()], device=ids.device)


@torch.no_grad()
def evaluate(target: Gemma4ForCausalLM, ids: torch.Tensor, device: str) -> float:
    """Nats a token on random windows of the corpus."""
    batch = windows(ids, 32, 256).to(device)
    logits = target(input_ids=batch, use_cache=False).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten()).item()


def windows(ids: torch.Tensor, count: int, length: int) -> torch.Tensor:
    """`count` random stretches of the corpus, each opened by <bos> as a prompt is: [count, length]."""
    starts = torch.randint(0, len(ids) - length, (count, 1))
    stretch = ids[starts + torch.arange(length - 1)]
    return torch.cat([torch.full((count, 1), BOS), stretch], dim=1)


@torch.no_grad()
def continue_greedily(target: Gemma4ForCausalLM, prompts: torch.Tensor, length: int) -> torch.Tensor:
    """The target's greedy continuations of `prompts` [n, k], up to `length` tokens in all: [n, length]."""
    return target.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        min_length=length,
        max_length=length,
        pad_token_id=PAD,
    )


def write_continuations(target: Gemma4ForCausalLM, ids: torch.Tensor, settings: Settings, device: str) -> torch.Tensor:
    """The assistant's lessons: [continuations, continuation_length], each begun by some corpus tokens."""
    lessons = []
    group = min(256, settings.continuations)
    for _ in range(settings.continuations // group):
        prompts = windows(ids, group, random.choice((12, 20, 32, 48))).to(device)
        lessons.append(continue_greedily(target, prompts, settings.continuation_length))
        print(f"continuations {len(lessons) * group}/{settings.continuations}", flush=True)
    return torch.cat(lessons)


class Official:
    """transformers' assistant as the rounds see it."""

    def __init__(self, model: Gemma4AssistantForCausalLM):
        self.model = model

    def step(self, fed, positions, masks, cache):
        y = self.model.model(
            inputs_embeds=self.model.pre_projection(fed),
            attention_mask={f"{kind}_attention": mask for kind, mask in masks.items()},
            position_ids=positions[None],
            shared_kv_states={f"{kind}_attention": states for kind, states in cache.items()},
            use_cache=False,
        ).last_hidden_state
        return y, self.model.post_projection(y)


def draft_rounds(target, assistant, ids: torch.Tensor, first: int, chain: int):
    """Draft from every position of `ids` [B, L] at once, `chain` steps each: see `gemma_mtp.adapt.rounds`.

    Yields for each step the assistant's logits and the target's for the same token, both [B, rounds, vocab].
    """
    with torch.no_grad():
        out = target.model(input_ids=ids, use_cache=False, return_shared_kv_states=True)
        wanted = target.lm_head(out.last_hidden_state)
        batch = Batch(
            tokens=ids,
            rows=target.model.embed_tokens(ids),
            hidden=out.last_hidden_state,
            cache={kind: out.shared_kv_states[f"{kind}_attention"] for kind in ("sliding", "full")},
            valid=torch.ones_like(ids, dtype=torch.bool),
        )
    steps = rounds(Official(assistant), batch, first, chain, target.config.sliding_window)
    for step, y in enumerate(steps):
        yield assistant.lm_head(y), steps_of(wanted, first, step, chain)


def start_assistant(target: Gemma4ForCausalLM, folder: Path | None) -> Gemma4AssistantForCausalLM:
    """A new assistant for the target, or the one in `folder`."""
    if folder is not None:
        return Gemma4AssistantForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = Gemma4AssistantForCausalLM(assistant_config(target.config))
    temper_attention(model)
    return model


def train_assistant(
    model: Gemma4AssistantForCausalLM,
    target: Gemma4ForCausalLM,
    lessons: torch.Tensor,
    settings: Settings,
) -> tuple[Gemma4AssistantForCausalLM, float]:
    """Distil the target's greedy choices (and, with equal weight, its distribution) into the assistant."""
    optimizer = Optimizer(model, settings, settings.assistant_steps)
    progress = Progress("assistant", settings.assistant_steps)
    for step in range(1, settings.assistant_steps + 1):
        batch = lessons[torch.randint(0, len(lessons), (settings.assistant_batch,))]
        with half_precision(lessons.device.type):
            steps = list(draft_rounds(target, model, batch, 12, settings.chain))
        loss = sum(imitation_loss(drafted, wanted) for drafted, wanted in steps) / settings.chain
        optimizer.step(loss)
        progress.update(step, loss.item())
    return model.to(torch.bfloat16).float().eval(), progress.loss  # measured with the values that are shipped


def imitation_loss(drafted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy to the target's choice plus cross-entropy to its distribution; both logits [B, rounds, vocab]."""
    drafted, wanted = drafted.flatten(0, 1).float(), wanted.flatten(0, 1).float()
    return 0.5 * (F.cross_entropy(drafted, wanted.argmax(-1)) + F.cross_entropy(drafted, wanted.softmax(-1)))


@torch.no_grad()
def acceptance(target, assistant, prompt: torch.Tensor, new_tokens: int, n: int) -> tuple[int, int]:
    """Drafted and accepted tokens when `prompt` [1, k] is continued greedily with `n` drafts a round."""
    k = prompt.shape[1]
    ids = continue_greedily(target, prompt, k + new_tokens + n)
    right = [
        drafted.argmax(-1)[0] == steps_of(ids, k + 1, step, n - 1)[0]
        for step, (drafted, _) in enumerate(draft_rounds(target, assistant, ids, k, n))
    ]
    kept = walk(accepted_lengths(right).tolist(), k, k + new_tokens)
    return n * len(kept), sum(kept)


def measure(target, assistant, tokenizer: GemmaTokenizer, new_tokens: int, n: int = 3) -> dict[str, float]:
    """Share of drafted tokens accepted, for each demo prompt."""
    shares = {}
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt).input_ids], device=target.device)
        drafted, accepted = acceptance(target, assistant, ids, new_tokens, n)
        shares[prompt] = accepted / drafted
    return shares


def save(model: torch.nn.Module, tokenizer: GemmaTokenizer, folder: Path) -> None:
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_hashes(out: Path) -> None:
    """SHA256SUMS of all shipped files, in the form of `sha256sum`."""
    files = sorted([*out.glob("*/*.json"), *out.glob("*/*.safetensors")])
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(lines))


def write_record(out: Path, settings: Settings, facts: dict[str, str], shares: dict[str, float]) -> None:
    rows = [f"| {key} | {value} |" for key, value in facts.items()]
    rows += [f"| {field.name} | {getattr(settings, field.name)} |" for field in fields(settings)]
    per_prompt = [f"| `{prompt.splitlines()[0]}` ... | {share:.1%} |" for prompt, share in shares.items()]
    mean = sum(shares.values()) / len(shares)
    text = f"""# How this pair was trained

By `tools/train_demo_pair.py`; the files' SHA-256 are in SHA256SUMS. The data is the Python standard library (PSF
License), in the canonical form that `ast.unparse` gives, without comments and docstrings.

| | |
| --- | --- |
{chr(10).join(rows)}

Drafted tokens accepted, greedy, 3 drafted a round, {settings.measured_tokens} new tokens (PyTorch, float32 arithmetic):
{mean:.1%} on average.

| prompt | accepted |
| --- | --- |
{chr(10).join(per_prompt)}
"""
    (out / "TRAINING.md").write_text(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write target/ and assistant/ to")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--keep-target", action="store_true", help="take the target that is in the folder already")
    parser.add_argument("--keep-assistant", action="store_true", help="train the assistant that is there further")
    parser.add_argument("--megabytes", type=float, default=0, help="use only the first part of the text (for tests)")
    for field in fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    start = time.monotonic()

    texts = list(first_part(stdlib_sources(), int(args.megabytes * 1e6))) if args.megabytes else list(stdlib_sources())
    if (
        args.keep_target
    ):  # its tokenizer too: the trainer does not break ties between rare characters the same way twice
        tokenizer = GemmaTokenizer.from_pretrained(args.out / "target")
    else:
        tokenizer = train_tokenizer(texts, settings.vocab_size)
    ids = [token for encoded in tokenizer(texts, add_special_tokens=False).input_ids for token in (*encoded, EOS)]
    corpus = torch.tensor(ids)
    print(f"{len(texts)} files, {len(corpus):,} tokens, {sum(map(len, texts)) / len(corpus):.2f} characters a token")

    if not args.keep_target:
        seed_all(settings.seed)
        target = train_target(corpus, settings, args.device)
        seed_all(settings.seed + 3)
        before = {name: weight.clone() for name, weight in target.state_dict().items()}
        train_against_loops(target, corpus, settings, args.device)
        go_part_of_the_way(target, before, settings.loop_share)
        save(target, tokenizer, args.out / "target")
    target = Gemma4ForCausalLM.from_pretrained(args.out / "target", dtype=torch.float32).to(args.device).eval()
    seed_all(settings.seed + 1)
    target_loss = evaluate(target, corpus, args.device)
    lessons = write_continuations(target, corpus, settings, args.device)
    seed_all(settings.seed + 2)
    assistant = start_assistant(target, args.out / "assistant" if args.keep_assistant else None).to(args.device)
    assistant, assistant_loss = train_assistant(assistant, target, lessons, settings)
    shares = measure(target, assistant, tokenizer, settings.measured_tokens)
    save(assistant, tokenizer, args.out / "assistant")

    facts = {
        "corpus": f"{len(texts)} files, {sum(map(len, texts)):,} characters, {len(corpus):,} tokens",
        "corpus SHA-256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        "versions": ", ".join(
            [f"Python {platform.python_version()}"]
            + [f"{lib.__name__} {lib.__version__}" for lib in (torch, transformers)]
        ),
        "device": args.device,
        "options": " ".join(sys.argv[1:]).replace(f"--out {args.out}", "").strip() or "none",
        "minutes": f"{(time.monotonic() - start) / 60:.0f}",
        "target parameters": f"{target.num_parameters():,}",
        "assistant parameters": f"{assistant.num_parameters():,}",
        "target loss": f"{target_loss:.3f} nats a token",
        "assistant loss": f"{assistant_loss:.3f} (running mean at the end, mean over the chain)",
    }
    write_hashes(args.out)
    write_record(args.out, settings, facts, shares)
    print((args.out / "TRAINING.md").read_text())


if __name__ == "__main__":
    main()
