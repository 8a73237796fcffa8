"""`serve --chat-template-file`: the server renders with it, and one that fails is refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

import pytest
from helpers.chat_templates import TEMPLATE
from helpers.servers import serving
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.errors import BadFileError
from gemma_mtp.mtp_runtime.conversation import read_template


def test_the_server_renders_with_it(quantized_pair: tuple[Path, Path], tmp_path: Path):
    file = tmp_path / "t.jinja"
    file.write_text(TEMPLATE)
    with serving(*quantized_pair, "--chat-template-file", file) as served:
        with urlopen(f"{served.address}/props", timeout=60) as answer:
            assert json.load(answer)["chat_template"] == TEMPLATE.rstrip()
        body = {"messages": [{"role": "user", "content": "Hello there"}]}
        prompt = served.post("/apply-template", body)["prompt"]
    assert "<|turn>user\nHello there<turn|>\n" in prompt


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for %}", "fails"),
        ("{{ raise_exception('no') }}", "no"),
        ("{% for a in range(99999999) %}{% for b in range(99999999) %}{% endfor %}{% endfor %}", "fails"),
    ],
)
def test_one_that_fails_is_refused(template: str, words: str, tmp_path: Path):
    file = tmp_path / "t.jinja"
    file.write_text(template)
    with pytest.raises(BadFileError) as error:
        read_template(file)
    assert words in str(error.value)


def test_the_command_says_so(quantized_pair: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "t.jinja").write_text("{% for %}")
    words = ["serve", *map(str, quantized_pair), "--port", "0", "--chat-template-file", str(tmp_path / "t.jinja")]
    done = CliRunner().invoke(application(), words)
    assert done.exit_code == 1
    assert "chat template fails" in done.stderr
