"""A DFlash drafter in both engines: the same text, drafts and counts; and the drafts that PyTorch makes with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.demo_files import SETTINGS, remade
from helpers.dflash_checkpoints import make_drafter
from helpers.drafting_prompts import PROMPTS
from helpers.xllamacpp_oracle import ask_xllamacpp
from safetensors.torch import load_file
from transformers import Gemma4ForCausalLM

from gemma_mtp import MtpEngine
from gemma_mtp.convert import convert_model
from gemma_mtp.demo.dflash import DRAFTER
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.mtp_runtime.session import Request, run
from gemma_mtp.native.settings import NO_DRAFTS, ContextSettings, Drafting, ModelSettings
from tools.dflash_network import CONFIG, DFlash, Shape
from tools.train_dflash import drafts_at

TOKENS, LONGEST = 40, 7


@pytest.fixture(scope="module")
def drafter(target_gguf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained one in F32."""
    path = tmp_path_factory.mktemp("dflash") / "dflash-demo-F32.gguf"
    convert_model(DRAFTER, path, types="F32", target=target_gguf("F32"))
    return path


@pytest.fixture(scope="module")
def blocks(target_gguf, drafter: Path) -> Iterator[MtpEngine]:
    with MtpEngine(target_gguf("F32"), drafter, context=SETTINGS, draft_max=LONGEST) as engine:
        yield engine


def generated(engine: MtpEngine, prompt: list[int], drafts: int, tokens: int = TOKENS, **more) -> dict[str, object]:
    generation = engine.generate(prompt, max_tokens=tokens, draft_max=drafts, ignore_end=True, **more)
    for _ in generation:
        pass
    counts = generation.statistics
    return {"tokens": generation.tokens, "drafted": counts.drafted, "accepted": counts.accepted}


@pytest.mark.parametrize("drafts", [2, LONGEST])
def test_tokens_and_counts_equal_the_cpp_engine(blocks: MtpEngine, target_gguf, drafter: Path, drafts: int):
    prompts = [blocks.tokenize(prompt) for prompt in PROMPTS[::6]]
    prompts.append(blocks.tokenize("".join(PROMPTS))[:300])  # far beyond both models' sliding windows
    theirs = ask_xllamacpp(
        target_gguf("F32"), drafter, prompts, kind="DRAFT_DFLASH", draft_max=drafts, max_tokens=TOKENS
    )
    for wanted in theirs:
        del wanted["seconds"]
    assert [generated(blocks, prompt, drafts) for prompt in prompts] == theirs
    assert sum(one["accepted"] for one in theirs) > 0


def test_the_text_is_the_targets(blocks: MtpEngine):
    for prompt in PROMPTS[::10]:
        tokens = blocks.tokenize(prompt)
        assert generated(blocks, tokens, LONGEST)["tokens"] == generated(blocks, tokens, 0)["tokens"]


def test_drafts_are_those_of_the_checkpoints_definition(blocks: MtpEngine):
    """In float32, at every round of a text."""
    rounds = []
    generated(blocks, blocks.tokenize(PROMPTS[0]), LONGEST, on_round=rounds.append)
    model = DFlash(Shape.of_config(CONFIG)).eval()
    model.load_state_dict({name: weight.float() for name, weight in load_file(DRAFTER / "model.safetensors").items()})
    target = Gemma4ForCausalLM.from_pretrained(PAIR / "target", dtype=torch.float32).eval()
    for one in rounds:
        ids = torch.tensor([[*one.kept, one.newest]])
        wanted = drafts_at(model, target, ids, torch.tensor([len(one.kept)]))[0].tolist()
        assert list(one.drafts) == wanted[: len(one.drafts)]
    assert len(rounds) > TOKENS // (LONGEST + 1)


def test_what_is_kept_of_a_prompt_serves_the_next(blocks: MtpEngine):
    """Rewinding: a conversation's second prompt, with and without what the caches hold."""
    first = blocks.tokenize(PROMPTS[3])
    said = generated(blocks, first, LONGEST)["tokens"]
    second = [*first, *said[:20], *blocks.tokenize(PROMPTS[8])[1:]]
    kept = generated(blocks, second, LONGEST, reuse=True)
    assert kept == generated(blocks, second, LONGEST)


def test_commands_see_by_the_file_how_it_drafts(target_gguf, tmp_path: Path):
    """A drafter that has learned nothing: the text is the target's all the same, in both engines."""
    untrained = tmp_path / "dflash-tiny-F32.gguf"
    convert_model(make_drafter(tmp_path / "tiny-DFlash"), untrained, types="F32", target=PAIR / "target")
    texts = {
        run(
            Request(
                target_gguf("F32"),
                untrained,
                PROMPTS[1],
                max_tokens=16,
                drafting=drafting,
                ignore_end=True,
                context=ContextSettings(256, threads=1),
                model=ModelSettings(),
                engine=engine,
            ),
            lambda _: None,
        ).text
        for engine in ("python", "cpp")
        for drafting in (Drafting(3), NO_DRAFTS)
    }
    assert len(texts) == 1


def test_pairs_that_would_abort_are_refused(target_gguf, drafter: Path, tmp_path: Path):
    layers = {"dflash.target_layers": gv.array(ValueType.INT32, [1, 3])}
    with pytest.raises(BadFileError, match="output of layer 2"):
        MtpEngine(target_gguf("F32"), remade(drafter, tmp_path / "beyond.gguf", layers), context=SETTINGS)
    with pytest.raises(UsageError, match="does not draft by dspark"):
        MtpEngine(target_gguf("F32"), drafter, context=SETTINGS, method="dspark")
