"""Which models may draft for which: our reading of the headers against what llama.cpp's server does with the files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_pairs import TARGET, WORDS, Model

from gemma_mtp.errors import BadFileError, LlamaError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType
from gemma_mtp.native.child import in_child
from gemma_mtp.sources.drafting import check_drafting, kind_of
from gemma_mtp.sources.opening import open_model

TOKENIZER = "tokenizer.ggml"
OTHER_END = {f"{TOKENIZER}.eos_token_id": gv.u32(7)}
ENDS = {f"{TOKENIZER}.add_eos_token": gv.boolean(True)}


def words(count: int = len(WORDS), **changed: str) -> list[str]:
    """The tiny vocabulary with other texts (t12="x": of token 12), cut or extended."""
    more = [f"<more{number}>" for number in range(count - len(WORDS))]
    return [changed.get(f"t{place}", word) for place, word in enumerate([*WORDS, *more][:count])]


#: What is different in the drafter (and in the target) -> a part of what we say; "" where llama.cpp takes it.
CASES = {
    "the same": ({}, words(), {}, ""),
    "no begin token, which Gemma 4 always adds": ({f"{TOKENIZER}.add_bos_token": gv.boolean(False)}, words(), {}, ""),
    "another begin token": ({f"{TOKENIZER}.bos_token_id": gv.u32(7)}, words(), {}, "its begin token is 7, the"),
    "an end token is added": (ENDS, words(), {}, "texts get the end token in it alone"),
    "another end token, which nobody adds": (OTHER_END, words(), {}, ""),
    "another end token, which both add": (ENDS | OTHER_END, words(), ENDS, "its end token is 7, the target's 1"),
    "128 tokens more": ({}, words(len(WORDS) + 128), {}, ""),
    "129 tokens more": ({}, words(len(WORDS) + 129), {}, "may differ by 128"),
    "another token among the first five": ({}, words(t3="<other>"), {}, ""),
    "another token": ({}, words(t280="other"), {}, "token 280 is 'other' in it"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Case -> target and drafter."""
    folder, made = tmp_path_factory.mktemp("vocabularies"), {}
    for number, (name, (keys, texts, target_keys, _)) in enumerate(CASES.items()):
        target = Model(TARGET, keys=target_keys).write(folder / f"target-{number}.gguf")
        hyper = replace(TARGET, vocabulary=len(texts))
        made[name] = target, Model(hyper, keys=keys, words=texts, seed=1).write(folder / f"drafter-{number}.gguf")
    return made


def take(pairs: list[tuple[Path, Path]]) -> Iterator[list[bool]]:
    """Runs in a child: with which of the pairs llama.cpp's server drafts. It drops a drafter without an error."""
    from gemma_mtp.native.cpp import CppEngine, Loading
    from gemma_mtp.native.settings import ContextSettings, Drafting

    taken: list[bool] = []
    for target, drafter in pairs:
        try:
            CppEngine(Loading(target, drafter, Drafting(2, method="draft"), ContextSettings(64, threads=1))).close()
            taken.append(True)
        except LlamaError as error:
            if "does not draft with it" not in error.what:
                raise
            taken.append(False)
    yield taken


def test_we_refuse_what_llama_cpp_refuses_and_say_why(files):
    with closing(in_child(f"{__name__}:take", list(files.values()))) as answers:
        taken = dict(zip(files, next(answers), strict=True))
    said = {}
    for name, (target, drafter) in files.items():
        try:
            check_drafting(target, drafter, "draft")
            said[name] = ""
        except BadFileError as error:
            said[name] = error.what
    assert {name: not words for name, words in said.items()} == taken
    for name, (*_, words) in CASES.items():
        assert words in said[name], name


def test_a_drafter_of_another_kind_is_named(files, tmp_path):
    """By its architecture, which llama.cpp tells drafters by."""
    target, same = files["the same"]
    for architecture, method in (("eagle3", "eagle3"), ("dflash", "dflash"), ("gemma4-assistant", "mtp")):
        path = Model(TARGET, keys={"general.architecture": gv.string(architecture)}).write(tmp_path / "other.gguf")
        with open_model(path) as model:
            assert kind_of(model) == method
        with pytest.raises(BadFileError, match=f"architecture is {architecture}") as caught:
            check_drafting(target, path, "draft")
        assert f"--method {method}:FILE" in (caught.value.hint or "")
    with pytest.raises(BadFileError, match="no file for --method eagle3"):
        check_drafting(target, same, "eagle3")


def test_a_markov_head_makes_a_dspark_drafter(tmp_path):
    keys, head = {"general.architecture": gv.string("dflash")}, (GGMLType.F32, np.zeros((4, 32), np.float32))
    path = Model(TARGET, keys=keys, tensors={"markov_w1.weight": head}).write(tmp_path / "dspark.gguf")
    with open_model(path) as model:
        assert kind_of(model) == "dspark"
