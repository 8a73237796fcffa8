"""Text models under an outer prefix, and chat templates in other forms, are converted as upstream's converter does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.checkpoint_families import make_checkpoint
from helpers.same_gguf import assert_same_gguf
from helpers.upstream_converter import convert as convert_upstream
from safetensors.torch import load_file, save_file

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR

#: How the names of a checkpoint's text model may begin, with what `model.` becomes.
SPELLINGS = {
    "language_model.": lambda name: f"language_model.{name}",
    "model.language_model.": lambda name: name.replace("model.", "model.language_model.", 1),
    "language_model.model.": lambda name: name.replace("model.", "language_model.model.", 1),
}


def respell(folder: Path, spelling: str) -> None:
    path = folder / "model.safetensors"
    save_file({SPELLINGS[spelling](name): tensor for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("family", ["assistant", "centroid-assistant", "dense", "moe", "per-layer"])
def test_outer_prefixes(family, spelling, tmp_path):
    checkpoint = make_checkpoint(family, tmp_path / family)
    respell(checkpoint, spelling)
    convert_checkpoint(checkpoint, [Output(tmp_path / "ours.gguf", "BF16")])
    assert_same_gguf(tmp_path / "ours.gguf", convert_upstream(checkpoint, tmp_path / "upstream.gguf", "bf16"))


PLAIN = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
TOOLS = PLAIN + "{# tools #}"
#: In these forms transformers and upstream's converter agree which template counts.
TEMPLATES = {
    "named": ([{"name": "default", "template": PLAIN}, {"name": "tool-use", "template": TOOLS}], {}),
    "named without default": ([{"name": "rag", "template": TOOLS}], {}),
    "a text": (PLAIN, {}),
    "the file": (None, {"chat_template.jinja": PLAIN}),
    "the file and another": (None, {"chat_template.jinja": PLAIN, "additional_chat_templates/rag.jinja": TOOLS}),
    "the processor's": (None, {"chat_template.json": json.dumps({"chat_template": PLAIN})}),
}


@pytest.mark.parametrize("form", TEMPLATES)
def test_chat_templates(form, tmp_path):
    folder = shutil.copytree(PAIR / "target", tmp_path / "target")
    in_config, files = TEMPLATES[form]
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **({"chat_template": in_config} if in_config else {})}))
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    convert_checkpoint(folder, [Output(tmp_path / "ours.gguf", "BF16")])
    assert_same_gguf(tmp_path / "ours.gguf", convert_upstream(folder, tmp_path / "upstream.gguf", "bf16"))
