"""Would the tests notice? Change one thing in a file, run the tests that concern it, and list the changes that survive.

    python tools/mutants.py control dialects          # of each file 25 changes, drawn by --seed
    python tools/mutants.py --count 1000 recipes      # all of them
    python tools/mutants.py --no-sentences known      # none of texts for people, of which that file is made

A change: a comparison turned, a number moved by one, a word of text altered, `and` for `or`, a condition negated, plus
for minus, a call's argument or an item of a table left out. No file is written: the changed module is compiled in a
forked process. What survived, and why that is right or which test was added, is in tools/mutants.md.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import io
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf  # noqa: F401  # heavy modules that every copy has from its birth
import llama_cpp  # noqa: F401
import numpy  # noqa: F401
import pytest

ROOT = Path(__file__).parents[1]
#: Of the loop's tests those that end quickly.
LOOP = (
    "mtp_runtime/test_rounds.py",
    "mtp_runtime/test_cache.py",
    *(
        f"mtp_runtime/test_generate.py::test_{name}"
        for name in (
            "tokens_tell_their_origin_and_the_statistics_add_up",
            "stopping_early_leaves_the_kv_cache_clean",
            "a_new_generation_ends_the_one_before",
            "a_full_context_ends_the_generation",
            "an_end_token_ends_it",
            "wrong_use_is_told",
        )
    ),
)
WORDS = ("validate/test_check_words.py", "validate/test_pair_words.py", "validate/test_found_by_damage.py")
HOSTS = ("validate/test_hosts.py", "validate/test_known_rows.py", "validate/test_host_words.py")
#: Of heads and drafters that are only checked; where they draft, seconds go by.
FOREIGN = (
    "validate/test_foreign_words.py",
    *(
        f"validate/test_foreign_drafters.py::test_{name}"
        for name in (
            "what_judges_drafts",
            "tokens_that_it_cannot_draft",
            "sound_ones_are_sound_and_load",
            "each_fault_is_told_by_its_check",
            "what_may_be_is_sound_and_loads",
            "of_every_tensor_verify_says_what_the_loader_says",
            "any_value_gets_a_verdict",
        )
    ),
)
#: Of training those that compute little, and one that trains.
ADAPT = tuple(
    f"adapt/test_{name}"
    for name in (
        "arithmetic.py",
        "training.py::test_the_heads_loss_and_gradient_are_autograds",
        "training.py::test_choices_in_chunks",
        "training.py::test_replay_counts_what_the_engine_counts",
        "training.py::test_a_score_is_the_mean_over_positions",
        "training.py::test_rounds_some_at_a_time_give_the_gradients_of_all_together",
        "network.py",
        "training.py::test_candidates_of_the_head_train_like_all",
        "training.py::test_training_repairs_a_misfit_and_leaves_the_head_alone",
    )
)
#: Name -> the file that is changed, and the tests that concern it, the quickest first.
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dialects": ("model/dialects.py", ("convert/test_spellings.py", "convert/test_dialects.py")),
    "keys": (
        "model/keys.py",
        ("model/test_key_names.py", "model/test_held.py", "model/test_gguf_keys.py", "validate/test_checks.py"),
    ),
    "gguf_keys": (
        "model/gguf_keys.py",
        ("model/test_held.py", "model/test_gguf_keys.py", "validate/test_checks.py"),
    ),
    "recipes": ("quantize/recipes.py", ("quantize/test_recipes.py", "quantize/test_catalogue.py")),
    "mixes": ("quantize/mixes.py", ("quantize/test_recipes.py", "reference/test_mix_types.py")),
    "control": ("mtp_runtime/control.py", ("mtp_runtime/test_control_figures.py", "mtp_runtime/test_control.py")),
    "sampler": ("mtp_runtime/sampler.py", ("mtp_runtime/test_rounds.py", "mtp_runtime/test_sampler.py")),
    "verifier": ("mtp_runtime/verifier.py", LOOP),
    "generate": ("mtp_runtime/generate.py", LOOP),
    "model": ("sources/model.py", ("validate/test_found_by_damage.py", "validate/test_checks.py")),
    **{name: (f"adapt/{name}.py", ADAPT) for name in ("rounds", "replay", "head", "batches")},
    "eagle3": ("model/eagle3.py", FOREIGN),
    "dspark": ("model/dflash/dspark.py", FOREIGN),
    **{
        name: (f"validate/checks/{name}.py", (*WORDS, "validate/test_checks.py", *more))
        for name, more in {
            "attachment": (),
            "header": (),
            "identity": ("validate/test_verify_file.py",),
            "provenance": ("validate/test_quantizer.py", "validate/test_provenance.py"),
            "rope": (),
            "tensors": ("validate/test_verify_file.py", "validate/test_foreign_types.py"),
            "vocabulary": (),
            "weights": ("validate/test_vital_tensors.py", "validate/test_verify_file.py"),
        }.items()
    },
    **{
        name: (f"validate/checks/{name}.py", tests)
        for name, tests in {
            "content": ("hub/test_verify_content.py",),
            "conditions": HOSTS,
            "hosts": (*HOSTS, "validate/test_remedies.py::test_following"),
            "known": HOSTS,
            "template": ("validate/test_templates.py",),
            "dflash": (*FOREIGN[:3], "convert/test_dflash.py"),
            "foreign": FOREIGN,
        }.items()
    },
}
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
SIGNS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
}
Change = tuple[ast.AST, str, Callable[[], None]]


def changes(tree: ast.Module) -> Iterator[Change]:
    """What can be changed: the node, in words what, and the deed."""
    dropped = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}
    dropped |= {id(child) for node in ast.walk(tree) for child in _annotations(node)}
    for node in ast.walk(tree):
        if id(node) not in dropped:
            yield from _of(node)


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) or not node.body:
        return False
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """What is not run: annotations are texts here, and what is raised is worded freely."""
    for field in ("annotation", "returns"):
        inner = getattr(node, field, None)
        if isinstance(inner, ast.AST):
            yield from ast.walk(inner)
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)):
        yield from ast.walk(node)


def _of(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        turned = TURNED[type(node.ops[0])]
        yield node, f"{type(node.ops[0]).__name__} -> {turned.__name__}", lambda: _set(node.ops, 0, turned())
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, f"-> {type(other).__name__}", lambda: setattr(node, "op", other)
    elif isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        sign = SIGNS[type(node.op)]
        yield node, f"{type(node.op).__name__} -> {sign.__name__}", lambda: setattr(node, "op", sign())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, "not -> not not", lambda: setattr(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield node.test, "if -> if not", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, type(None), type(...))):
        other_value = _other(node.value)
        yield node, f"{node.value!r:.40} -> {other_value!r:.40}", lambda: setattr(node, "value", other_value)
    elif isinstance(node, (ast.Tuple, ast.List, ast.Set)) and len(node.elts) > 1:
        yield node, "without its last item", node.elts.pop


def _other(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return f"{value}x"


def _set(items: list, at: int, item: object) -> None:
    items[at] = item


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module in its changed form."""

    def __init__(self, name: str, tree: ast.Module, path: Path):
        self._name, self._tree, self._path = name, tree, path

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)


def survives(file: str, tree: ast.Module, tests: tuple[str, ...], seconds: int) -> bool:
    """Whether the tests pass with the changed file, in a copy of this process."""
    child = os.fork()
    if not child:
        os.setpgrp()  # no session of its own: it would be served as one more user of a shared machine
        signal.alarm(seconds)
        name = "gemma_mtp." + file.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, Changed(name, ast.fix_missing_locations(tree), ROOT / "gemma_mtp" / file))
        words = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "no:hypothesispytest",  # a second for each change, where no test asks for it
            "--no-header",
            *(f"tests/{one}" for one in tests),
        ]
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                try:
                    code = int(pytest.main(words))
                except BaseException:
                    code = 1
        os._exit(code)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status == 0


def _is_sentence(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def check(name: str, count: int, seed: int, seconds: int, sentences: bool) -> None:
    file, tests = TARGETS[name]
    source = (ROOT / "gemma_mtp" / file).read_text(encoding="utf-8")
    tree = ast.parse(source)
    if not survives(file, tree, tests, seconds):
        print(f"{name}: its tests fail without a change, or take more than {seconds} s")
        return
    numbers = [number for number, (node, *_) in enumerate(changes(tree)) if sentences or not _is_sentence(node)]
    total = len(numbers)
    drawn = sorted(random.Random(f"{name} {seed}").sample(numbers, min(count, total)))
    left = []
    for number in drawn:
        changed = copy.deepcopy(tree)
        node, what, change = next(one for at, one in enumerate(changes(changed)) if at == number)
        change()
        if survives(file, changed, tests, seconds):
            left.append(f"  {file}:{node.lineno}: {what}\n      {source.splitlines()[node.lineno - 1].strip()}")
            print(left[-1], flush=True)
    print(f"{name}: {len(drawn)} of {total} changes tried, {len(drawn) - len(left)} noticed", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-sentences", action="store_true", help="leave texts of more than one word as they are")
    parser.add_argument("--seconds", type=int, default=600, help="that a change may take")
    options = parser.parse_args()
    os.chdir(ROOT)
    for name in options.targets:
        check(name, options.count, options.seed, options.seconds, not options.no_sentences)


if __name__ == "__main__":
    main()
