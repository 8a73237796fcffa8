"""`serve --mmproj`: the target sees images, answers about them are drafted, and what is no projector is refused.

The projector is random (helpers/tiny_mmproj.py): what is seen is that its rows reach both models, not what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from helpers.chat_templates import with_template
from helpers.servers import Served, serving
from helpers.tiny_mmproj import picture, write_mmproj
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.sources.pairing import check_runnable

TEXT = {"type": "text", "text": "def main():"}
IMAGE = {"type": "image_url", "image_url": {"url": picture()}}


@pytest.fixture(scope="module")
def served(quantized_pair: tuple[Path, Path], tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("seeing")
    target = with_template(quantized_pair[0], folder / "target.gguf")
    eyes = write_mmproj(folder / "mmproj.gguf", check_runnable(target).hidden)
    with serving(target, quantized_pair[1], "--mmproj", eyes) as served:
        yield served


def answer(served: Served, *parts: dict, **more) -> dict:
    body = {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 40, "temperature": 0}
    return served.post("/v1/chat/completions", {**body, "ignore_eos": True, **more})


def test_an_answer_about_an_image_is_drafted_and_the_same_without_drafts(served: Served):
    """Requests for logprobs go to the copy that does not draft; it has eyes, too."""
    without, seeing = answer(served, TEXT), answer(served, IMAGE, TEXT)
    assert seeing["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"] + 60
    assert seeing["timings"]["draft_n_accepted"] > 0
    plain = answer(served, IMAGE, TEXT, logprobs=True)
    assert "draft_n" not in plain["timings"]
    assert plain["choices"][0]["message"] == seeing["choices"][0]["message"]


def test_clients_hear_that_it_sees(served: Served):
    with urlopen(f"{served.address}/v1/models", timeout=60) as listed:
        (model,) = json.load(listed)["data"]
    assert "image" in model["architecture"]["input_modalities"]
    assert model["meta"]["n_ctx"] == 512


def test_what_is_no_projector_is_refused_before_anything_is_loaded(quantized_pair: tuple[Path, Path], tmp_path: Path):
    width = check_runnable(quantized_pair[0]).hidden
    other = write_mmproj(tmp_path / "mmproj-other.gguf", width // 2)
    (tmp_path / "text.gguf").write_text("no GGUF at all")
    for file, words in (
        (quantized_pair[1], "this is no projector of images: its architecture is gemma4-assistant"),
        (other, f"rows of {width // 2:,} numbers, the target reads rows of {width:,}"),
        (tmp_path / "text.gguf", "text.gguf"),
    ):
        typed = ["serve", *map(str, quantized_pair), "--port", "0", "--mmproj", str(file)]
        done = CliRunner().invoke(application(), typed)
        assert (done.exit_code, words in done.stderr) == (1, True), done.stderr
