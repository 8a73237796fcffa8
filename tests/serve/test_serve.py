"""`gemma-mtp serve`, asked by the real OpenAI client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest
from helpers import commands, servers
from helpers.servers import Served

KEY = "a-key-for-tests"
PROMPT = "class Stack:\n\n    def __init__(self):\n        self._items = []\n\n    def push(self, item):\n"
GREEDY = {"max_tokens": 40, "temperature": 0}
Client = Callable[..., openai.OpenAI]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "gemma_mtp", "serve", *map(str, arguments), "--threads", "1", "--ctx", "512"]


def serving(*arguments: str | Path, key: str | None = KEY) -> AbstractContextManager[Served]:
    return servers.serving(*arguments, key=key)


@pytest.fixture(scope="module")
def pair(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("F32"), assistant_gguf("F32")


@pytest.fixture(scope="module")
def served(pair: tuple[Path, Path]) -> Iterator[Served]:
    with serving(*pair, "--name", "demo") as running:
        yield running


@pytest.fixture
def client() -> Iterator[Client]:
    """`client(served)` is one of OpenAI's, which is closed in the end."""
    with ExitStack() as stack:

        def connect(served: Served, key: str = KEY) -> openai.OpenAI:
            address = f"{served.address}/v1"
            return stack.enter_context(openai.OpenAI(base_url=address, api_key=key, max_retries=0, timeout=300))

        yield connect


def test_chat(client: Client, served: Served):
    answer = client(served).chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "def main():"}], **GREEDY
    )
    assert answer.model == "demo"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 40


def test_streaming_says_the_same_in_pieces(client: Client, served: Served):
    asked = {"model": "demo", "messages": [{"role": "user", "content": "def main():"}], **GREEDY}
    whole = client(served).chat.completions.create(**asked).choices[0].message.content
    chunks = list(client(served).chat.completions.create(**asked, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 5
    assert "".join(pieces) == whole
    assert chunks[-1].model_extra["timings"]["draft_n"] > 0


def test_drafts_are_made_accepted_and_counted(client: Client, served: Served):
    answer = client(served).completions.create(model="demo", prompt=PROMPT, **GREEDY)
    timings = answer.model_extra["timings"]
    assert timings["draft_n"] >= timings["draft_n_accepted"] > 0
    with urlopen_with_key(f"{served.address}/metrics") as metrics:
        text = metrics.read().decode()
    assert "llamacpp:spec_decode_num_accepted_tokens_total" in text


def urlopen_with_key(address: str):
    return urlopen(Request(address, headers={"Authorization": f"Bearer {KEY}"}), timeout=300)


def test_the_text_is_that_of_run(client: Client, served: Served, pair: tuple[Path, Path]):
    answer = client(served).completions.create(model="demo", prompt=PROMPT, **GREEDY)
    done = commands.command("run", *pair, "-p", PROMPT, "-n", "40", "--json", "-t", "1")
    assert answer.choices[0].text == json.loads(done.stdout)["text"]


@pytest.mark.parametrize("key", ["another", KEY[:-1], KEY + "x"])
def test_a_wrong_key_is_refused(client: Client, served: Served, key: str):
    with pytest.raises(openai.AuthenticationError):
        client(served, key).completions.create(model="demo", prompt=PROMPT, **GREEDY)


def test_a_prompt_that_is_too_long_is_refused(client: Client, served: Served):
    with pytest.raises(openai.BadRequestError, match="exceeds the available context"):
        client(served).completions.create(model="demo", prompt="x " * 600, **GREEDY)


def test_the_model_is_listed(client: Client, served: Served):
    assert [model.id for model in client(served).models.list()] == ["demo"]


def test_web_pages_of_others_may_not_use_a_server_without_a_key(served: Served, pair: tuple[Path, Path]):
    def allowed(address: str, origin: str) -> str | None:
        with urlopen(Request(f"{address}/health", headers={"Origin": origin}), timeout=300) as answer:
            return answer.headers["Access-Control-Allow-Origin"]

    with serving(*pair, key=None) as open_to_all:
        with pytest.raises(HTTPError, match="403") as refused:
            allowed(open_to_all.address, "http://page.example")
        refused.value.close()
        assert allowed(open_to_all.address, "http://localhost:3000") == "http://localhost:3000"
    assert allowed(served.address, "http://page.example") == "http://page.example"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_good_order(client: Client, pair: tuple[Path, Path], number: int):
    """While it generates; the port is free again, nothing is left running, and it says what it did."""
    with serving(*pair, key=None) as served:
        asked = {"model": "any", "prompt": PROMPT, "max_tokens": 400, "temperature": 0}
        stream = client(served, "unused").completions.create(**asked, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        os.killpg(served.process.pid, number)  # as a terminal does: the whole group
        output, errors = served.process.communicate(timeout=300)
        assert served.process.returncode == 0, errors
        assert output == ""
        assert "stopped" in errors
        assert "drafted" in errors
        assert "Traceback" not in errors
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex(("127.0.0.1", int(served.address.rsplit(":", 1)[1]))) != 0


def test_the_server_does_not_outlive_a_killed_parent(pair: tuple[Path, Path]):
    with serving(*pair) as served:
        served.process.kill()
        served.process.wait()
        port = int(served.address.rsplit(":", 1)[1])
        for _ in range(3000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return
            time.sleep(0.1)
        pytest.fail("it still listens")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("{target}", "{target}"), 1, "assistant", id="no assistant"),
        pytest.param(("{target}", "none.gguf"), 1, "none.gguf", id="no file"),
        pytest.param(("{target}", "{assistant}", "--port", "{taken}"), 2, "cannot listen", id="port taken"),
        pytest.param(("{target}", "{assistant}", "--host", "192.0.2.1"), 2, "cannot listen", id="foreign address"),
        pytest.param(("{target}", "{assistant}", "--api-key", ""), 2, "API key is empty", id="empty key"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    pair: tuple[Path, Path], arguments: tuple[str, ...], code: int, words: str
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {
            "{target}": str(pair[0]),
            "{assistant}": str(pair[1]),
            "{taken}": str(taken.getsockname()[1]),
        }
        arguments = tuple(names.get(argument, argument) for argument in arguments)
        done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_without_the_package_its_extra_is_named(pair: tuple[Path, Path]):
    code = (
        "from importlib import metadata; real = metadata.version\n"
        "def version(name):\n"
        "    if name == 'xllamacpp': raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        f"import sys; sys.argv = ['gemma-mtp', *{command(*pair)[3:]!r}]\n"
        "from gemma_mtp.cli.main import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    assert 'pip install "gemma-mtp[serve]"' in done.stderr
