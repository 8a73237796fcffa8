"""What `adapt` gains on a fine-tuned demo target, against its bar.

    nice python benchmarks/adapt.py [--folder DIR] [--steps 125] [--minutes 5] [--written] [--tokens 40000]

The demo target is trained on, to C++ (the headers that come with PyTorch, a tenth of the files held out), converted
to Q2_K, and is the teacher as that file; its checkpoint is not used again. The shipped assistant, as a BF16 GGUF, is
adapted to it: from C++ as it stands, or (`--written`) from what the target makes of C++ beginnings. Measured on
held-out files: first drafts that are the target's choice, rounds replayed on what it writes, and this package's own
loop; and on Python that neither has seen, which must not get worse. What a stage has left in the folder is taken by the
next run.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import Gemma4ForCausalLM, GemmaTokenizer

from gemma_mtp.adapt.adapt import Job, adapt, course_for
from gemma_mtp.adapt.figures import total
from gemma_mtp.adapt.measuring import measure
from gemma_mtp.adapt.train import Recipe
from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.native.backend import settings_for_this_machine
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.quantize import quantize_file

BOS, EOS = 2, 1
#: Characters of a document, and of the beginning of one that the target goes on with.
DOCUMENT, BEGINNING = 500, 120
#: figure -> the least of it, and where it comes from: the prototype's, less what two seeds differ by.
BAR = {"first drafts": 0.46, "first drafts, texts as they stand": 0.50, "replay": 1.7, "greedy": 1.6, "sampled": 1.35}


def cpp_files() -> Iterator[tuple[str, str]]:
    """(name, text) of PyTorch's headers, in an order that is no directory's."""
    root = Path(torch.__file__).parent / "include"
    paths = [path for path in root.rglob("*.h") if 2000 < path.stat().st_size < 100_000]
    for path in sorted(paths, key=lambda path: hashlib.sha256(str(path.relative_to(root)).encode()).digest()):
        text = path.read_text(errors="ignore")
        if text.isascii() and max(map(len, text.splitlines())) < 400:
            yield str(path.relative_to(root)), text


def is_held(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[-1] < 26


def python_functions() -> list[str]:
    """Functions of packages that the demo pair has not seen."""
    found = []
    for name in ("typer.core", "rich.table", "rich.text", "jinja2.compiler", "yaml.scanner", "huggingface_hub.hf_api"):
        for _, thing in inspect.getmembers(import_module(name), inspect.isclass):
            if thing.__module__ == name:
                found.append(inspect.getsource(thing)[:4000])
    return found


def fine_tune(folder: Path, steps: int, seed: int = 7) -> None:
    """Next-token prediction on C++ that is not held out."""
    torch.manual_seed(seed)
    tokenizer = GemmaTokenizer.from_pretrained(PAIR / "target")
    model = Gemma4ForCausalLM.from_pretrained(PAIR / "target", dtype=torch.float32)
    texts = [text for name, text in cpp_files() if not is_held(name)][:600]
    rows = tokenizer(texts, add_special_tokens=False).input_ids
    ids = torch.tensor([token for row in rows for token in (*row, EOS)])
    print(f"{len(texts)} files, {len(ids):,} tokens of C++", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    begin = time.monotonic()
    for step in range(steps):
        starts = torch.randint(0, len(ids) - 224, (8, 1))
        batch = torch.cat([torch.full((8, 1), BOS), ids[starts + torch.arange(223)]], dim=1)
        logits = model(input_ids=batch, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min((step + 1) / 15, max(0.02, (steps - step) / steps))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 19 or step == steps - 1:
            print(f"{step + 1}/{steps} loss {loss.item():.3f} {time.monotonic() - begin:.0f} s", flush=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_files(work: Path, steps: int) -> None:
    """The Q2_K target, the assistant, and the texts, where they are not there."""
    if not (work / "target-Q2_K.gguf").exists():
        if not (work / "target" / "tokenizer_config.json").exists():
            fine_tune(work / "target", steps)
        convert_checkpoint(work / "target", [Output(work / "target-BF16.gguf", "BF16")], force=True)
        quantize_file(work / "target-BF16.gguf", [Output(work / "target-Q2_K.gguf", "Q2_K")], force=True)
    if not (work / "assistant-BF16.gguf").exists():
        convert_checkpoint(PAIR / "assistant", [Output(work / "assistant-BF16.gguf", "BF16")])
    files = list(cpp_files())
    seen = [text for name, text in files if not is_held(name)]
    with (work / "texts.jsonl").open("w") as lines, (work / "beginnings.jsonl").open("w") as asked:
        for text in [*[text for name, text in files if is_held(name)][:40], *seen[600:900]]:
            start = len(text) // 3  # behind the licence
            lines.write(f"{json.dumps({'text': text[start : start + DOCUMENT]})}\n")
            asked.write(f"{json.dumps({'prompt': text[start : start + BEGINNING]})}\n")
    with (work / "python.jsonl").open("w") as lines:
        lines.writelines(f"{json.dumps({'text': text})}\n" for text in python_functions())


def shown(what: str, before: float, after: float, least: float | None, ratio: bool) -> bool:
    value = after / before if ratio and before else after
    good = least is None or value >= least
    wanted = "" if least is None else f"  {'ok' if good else 'BELOW'}: {value:.2f}, wanted {least:.2f}"
    print(f"{what:34} {before:6.1%} -> {after:6.1%}{wanted}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep everything there")
    parser.add_argument("--steps", type=int, default=125, help="of the fine-tune")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--tokens", type=int, default=40_000)
    parser.add_argument("--openings", type=int, default=32, help="held-out beginnings to measure on")
    parser.add_argument("--continuation", type=int, default=128, help="tokens that each is continued with")
    parser.add_argument("--written", action="store_true", help="learn from what the target writes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.folder or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        make_files(work, args.steps)
        sys.exit(0 if run(work, args) else 1)


def run(work: Path, args: argparse.Namespace) -> bool:
    context, model = ContextSettings(threads=1), settings_for_this_machine()
    target, stock, out = work / "target-Q2_K.gguf", work / "assistant-BF16.gguf", work / "adapted-Q8_0.gguf"
    texts = () if args.written else (work / "texts.jsonl",)
    asked = (work / "beginnings.jsonl",) if args.written else ()
    job = Job(
        target,
        stock,
        texts,
        asked,
        (Output(out, "Q8_0"),),
        Recipe(epochs=2.0, seed=3),
        tokens=args.tokens,
        minutes=args.minutes,
        force=True,
        signals=work / ("signals-written" if args.written else "signals"),
        lesson={"length": 192, "answer": 120, "openings": args.openings, "continuation": args.continuation},
        context=context,
        model=model,
    )
    stage = ""

    def tell(told) -> None:
        nonlocal stage
        if told.stage != stage or told.words:
            stage = told.stage
            print(f"  {told.stage} {told.share:.0%} {told.words}", flush=True)

    report = adapt(job, tell)
    one, other = report.outcome.before, report.outcome.after
    print(f"{report.tokens:,} tokens, {report.outcome.steps} steps, {report.seconds:.0f} s; {report.outcome.ended}")
    print(f"in loops: {report.about['looping']}; dropped {report.about['dropped']}")
    least = BAR["first drafts" if args.written else "first drafts, texts as they stand"]
    good = shown("first drafts, held-out C++", one.first, other.first, least, False)
    shown("overlap", one.overlap, other.overlap, None, False)
    good &= shown("replay at 0.7", one.sampled.acceptance, other.sampled.acceptance, BAR["replay"], True)
    for way in ("greedy", "sampled"):
        shares = [total(side.of(way)).acceptance for side in (report.before, report.after)]
        good &= shown(f"own loop, {way}", *shares, BAR[way], True)
    course = course_for(target, (work / "python.jsonl",), (), args.openings // 2, args.continuation, 1, context, model)
    sides = [measure(path, course) for path in (stock, out)]
    for way in ("greedy", "sampled"):
        good &= shown(f"Python, {way}", *[total(side.of(way)).acceptance for side in sides], 1.0, True)
    return good


if __name__ == "__main__":
    main()
