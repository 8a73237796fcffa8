"""`serve --llama-server`: a llama-server of the user's own is run with the same checks, the same door, the same end.

The program is llama.cpp's server out of xllamacpp, started by words alone (helpers/llama_server_program.py); that
upstream's own parser takes these words is asked of a real llama-server where one is named or on the PATH.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from helpers.chat_templates import TEMPLATE
from helpers.llama_server_program import write_program
from helpers.servers import PROMPT, Served, serving
from helpers.tiny_mmproj import write_mmproj
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.native import server_line
from gemma_mtp.native.cpp import Listening, Loading
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings
from gemma_mtp.serve.program import find_program
from gemma_mtp.sources.pairing import check_runnable

#: Names a llama-server binary of upstream's.
VARIABLE = "GEMMA_MTP_TEST_LLAMA_SERVER"
KEY = "secret#1"


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return write_program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def served(program: Path, quantized_pair: tuple[Path, Path], tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "t.jinja").write_text(TEMPLATE)
    eyes = write_mmproj(folder / "mmproj.gguf", check_runnable(quantized_pair[0]).hidden)
    options = ("--chat-template-file", folder / "t.jinja", "--name", "ours", "--reasoning", "on", "--mmproj", eyes)
    with serving(*quantized_pair, "--llama-server", program, "--ctx", "256", *options, key=KEY) as served:
        yield served


def ask(served: Served, path: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    asked = Request(f"{served.address}{path}", data, {"Authorization": f"Bearer {KEY}"})
    with urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def test_it_drafts_and_logprobs_are_right(served: Served):
    asked = {"prompt": PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    drafted = ask(served, "/v1/completions", asked)
    assert drafted["timings"]["draft_n_accepted"] > 0
    plain = ask(served, "/v1/completions", {**asked, "logprobs": 1})["choices"][0]
    assert plain["text"] == drafted["choices"][0]["text"]
    assert all(token["logprob"] < 0 for token in plain["logprobs"]["content"])


def test_it_is_told_everything(served: Served):
    with pytest.raises(HTTPError, match="401") as refused:
        urlopen(f"{served.address}/v1/chat/completions", b"{}", timeout=60)
    refused.value.close()
    (model,) = ask(served, "/v1/models")["data"]
    assert (model["id"], model["meta"]["n_ctx"]) == ("ours", 256)
    assert "image" in model["architecture"]["input_modalities"]
    prompt = ask(served, "/apply-template", {"messages": [{"role": "user", "content": "Hello"}]})["prompt"]
    assert prompt.endswith("<|think|>\n<turn|>\n<|turn>user\nHello<turn|>\n<|turn>model\n")


def below(number: int) -> list[int]:
    """Processes that the one with this number has started, and those that these have."""
    children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    return [process for child in map(int, children) for process in (child, *below(child))]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("dies", ["server", "serve"])
def test_neither_lives_without_the_other(dies: str, program: Path, quantized_pair: tuple[Path, Path]):
    """A llama-server that dies is an error with its signal; and none is left where `serve` itself is killed."""
    with serving(quantized_pair[0], "--no-draft", "--llama-server", program) as served:
        child, server = below(served.process.pid)
        if dies == "server":
            os.kill(server, signal.SIGABRT)
            _, words = served.process.communicate(timeout=60)
            assert served.process.returncode == 1
            assert "llama-server crashed (SIGABRT)" in words
        else:
            handles = [os.pidfd_open(one) for one in (child, server)]
            served.process.kill()
            for handle in handles:  # readable when it has ended
                assert select.select([handle], [], [], 60)[0]
                os.close(handle)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no llama-server to run"),
        ("#!/bin/sh\necho something else\n", "this is no llama-server"),
        ("#!/bin/sh\necho --model --spec-type none,draft-simple\n", "knows no --spec-type draft-mtp"),
        ("no program\n", "cannot be run"),
        ("#!/bin/sh\nkill -ILL $$\n", "dies of SIGILL"),
    ],
)
def test_another_program_is_refused(content, words, quantized_pair: tuple[Path, Path], tmp_path: Path):
    file = tmp_path / "llama-server"
    if content is not None:
        file.write_text(content)
        file.chmod(0o755)
    typed = ["serve", *map(str, quantized_pair), "--port", "0", "--llama-server", str(file)]
    done = CliRunner().invoke(application(), typed)
    assert done.exit_code == (3 if words.startswith(("cannot", "dies")) else 2)
    assert words in done.stderr


@pytest.fixture(scope="module")
def real() -> Path:
    found = os.environ.get(VARIABLE) or shutil.which("llama-server")
    if not found:
        pytest.skip(f"no llama-server here: put one on the PATH, or name it in {VARIABLE}")
    return Path(found)


def test_upstreams_own_parser_takes_every_word(real: Path, tmp_path: Path):
    """All options at once: it comes as far as the file, which is not there."""
    program = find_program(real)
    model = ModelSettings(gpu_layers=3, extra_buffers=False, n_cpu_moe=2, split_mode="layer", main_gpu=0)
    context = ContextSettings(512, 256, threads=1, cache_k="q8_0", cache_v="q8_0", flash_attention="on")
    nowhere = tmp_path / "target.gguf"
    loading = Loading(nowhere, tmp_path / "a.gguf", Drafting(3, 1, 0.5), context, model, 2, 64, tmp_path / "eyes.gguf")
    keys, template = tmp_path / "keys", tmp_path / "t.jinja"
    keys.write_text(f"{KEY}\n")
    template.write_text(TEMPLATE)
    listening = Listening("127.0.0.1", 0, model_name="ours", metrics=True, threads=4, thinking=True)
    for files in ({"keys": keys, "template": template}, {"keys": None, "template": None}):
        words = server_line.serving(loading, listening, program.help, **files)
        done = subprocess.run([real, *words], capture_output=True, text=True, timeout=300, check=False)
        said = done.stdout + done.stderr
        assert str(nowhere) in said
        assert "invalid argument" not in said
        assert "deprecated" not in said
