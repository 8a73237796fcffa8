"""`verify --server` beside llama.cpp's real server in its states, and beside what other servers were seen to answer."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import command
from helpers.llama_running import free_port, llama, routed
from helpers.schemas import checked

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hosts import ask_server
from gemma_mtp.hosts.asking import Witness, given, judged

DRAFTING = ("--spec-type", "draft-mtp", "--spec-draft-n-max", "3")


def test_with_its_drafter(pair):
    with llama("-m", pair[0], "-md", pair[1], *DRAFTING) as address:
        report = ask_server(address)
    witness = report.witness
    assert report.verdict.drafts is True
    assert witness.types == ("draft-mtp",)
    assert witness.model == str(pair[0])
    assert 0 < witness.accepted <= witness.drafted
    assert (witness.tokens, witness.context, witness.slots, witness.images) == (48, 512, 1, False)
    assert f"{witness.drafted} tokens were drafted" in report.verdict.why


def test_without_a_drafter(pair):
    with llama("-m", pair[0]) as address:
        report = ask_server(f"{address}/v1/")
    assert report.verdict.drafts is False
    assert report.witness.types == ()
    assert "no type" in report.verdict.why
    assert "--spec-type draft-mtp" in report.verdict.remedy


def test_with_another_method(pair):
    with llama("-m", pair[0], "--spec-type", "ngram-mod") as address:
        report = ask_server(address)
    assert report.verdict.drafts is False
    assert "ngram-mod" in report.verdict.why


def test_with_several_slots(pair):
    with llama("-m", pair[0], "-md", pair[1], *DRAFTING, "-np", "2") as address:
        report = ask_server(address)
    assert report.verdict.drafts is True
    assert report.witness.slots == 2


def test_a_key_is_asked_for_and_taken(pair):
    with llama("-m", pair[0], "-md", pair[1], *DRAFTING, "--api-key", "secret") as address:
        with pytest.raises(UsageError, match="wants an API key"):
            ask_server(address)
        with pytest.raises(UsageError, match="refuses this API key"):
            ask_server(address, api_key="wrong")
        assert ask_server(address, api_key="secret").verdict.drafts is True


def test_the_command_line(pair):
    with llama("-m", pair[0], "-md", pair[1], *DRAFTING) as address:
        told = verified("--server", address)
        asked = verified("--server", address, "--json")
        files = verified("--server", address, str(pair[0]))
    assert told.returncode == 0
    assert "drafts: " in told.stdout
    assert checked(asked.stdout)["drafts"] is True
    assert files.returncode == 2


def test_nobody_there():
    done = verified("--server", f"127.0.0.1:{free_port()}")
    assert done.returncode == 3
    assert "no server answers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://", "http://host:port", "ftp://x", "http://[::1"])
def test_what_is_no_address(address):
    with pytest.raises(UsageError):
        ask_server(address)


def test_no_pair_and_no_server():
    assert verified().returncode == 2


def verified(*arguments: str) -> subprocess.CompletedProcess[str]:
    return command("verify", *arguments)


#: What a router of b10434 passes to a model of --models-dir with a drafter beside it, and of a preset.
TRAPPED = ["llama-server", "--host", "127.0.0.1", "--port", "0", "--alias", "demo", "--model", "/m/demo.gguf"]
TRAPPED += ["--model-draft", "/m/mtp-demo.gguf"]


def test_the_routers_trap_is_named():
    verdict = judged(given(TRAPPED, Witness("llama.cpp's router", drafted=0)))
    assert verdict.drafts is False
    assert "/m/mtp-demo.gguf" in verdict.why
    assert "spec-type = draft-mtp" in verdict.remedy


def test_a_router_with_a_type_is_not_trapped():
    verdict = judged(given([*TRAPPED, "--spec-type", "draft-mtp"], Witness("llama.cpp's router", drafted=9, tokens=20)))
    assert verdict.drafts is True


def test_upstreams_router_is_asked(pair, llama_server, tmp_path):
    """The arguments that a real router shows are read; whether its model loads depends on the machine."""
    file = tmp_path / "preset.ini"
    file.write_text(f"[demo]\nmodel = {pair[0]}\nmodel-draft = {pair[1]}\n")
    port = free_port()
    words = [llama_server, "--models-preset", str(file), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        routed(port)
        report = ask_server(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
    assert report.witness.kind == "llama.cpp's router"
    assert report.witness.drafter == str(pair[1])
    assert report.verdict.drafts is False
    assert "no type is" in report.verdict.why


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[str]:
    """A server of others that answers so, and 404 to all else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = answers.get(self.path)
            raw = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


KOBOLD = {
    "/api/extra/version": {"result": "KoboldCpp", "version": "1.115", "vision": False},
    "/api/v1/model": {"result": "koboldcpp/gemma"},
    "/api/v1/generate": {"results": [{"text": "x"}]},
    "/api/extra/true_max_context_length": {"value": 4096},
}


@pytest.mark.parametrize(("good", "bad", "drafts"), [(20, 10, True), (0, 0, False)])
def test_koboldcpp(good, bad, drafts):
    perf = {"last_draft_success": good, "last_draft_failed": bad, "last_token_count": 48}
    with answering({**KOBOLD, "/api/extra/perf": perf}) as address:
        report = ask_server(address)
    assert report.verdict.drafts is drafts
    assert (report.witness.kind, report.witness.context) == ("KoboldCpp", 4096)


@pytest.mark.parametrize(("modelfile", "drafter"), [("FROM a\nDRAFT /b.gguf\n", "/b.gguf"), ("FROM a\n", None)])
def test_of_ollama_it_is_not_known(modelfile, drafter):
    answers = {
        "/api/version": {"version": "0.32.7"},
        "/api/tags": {"models": [{"name": "gemma"}]},
        "/api/ps": {"models": []},
        "/api/show": {"modelfile": modelfile},
    }
    with answering(answers) as address:
        report = ask_server(address)
    assert (report.verdict.drafts, report.witness.drafter) == (None, drafter)


def test_a_plain_endpoint_is_not_known_and_llama_cpp_behind_one_is():
    answers = {"/v1/models": {"data": [{"id": "m"}]}, "/v1/completions": {"usage": {"completion_tokens": 48}}}
    with answering(answers) as address:
        assert ask_server(address).verdict.drafts is None
    answers["/v1/completions"] = {"timings": {"predicted_n": 48, "draft_n": 30, "draft_n_accepted": 20}}
    with answering(answers) as address:
        assert ask_server(address).verdict.drafts is True


@pytest.mark.parametrize("page", [b"<html>hello</html>", b"\xff\xfe", b"[" * 100_000, b"null", b"[]"])
def test_something_else_behind_the_address(page):
    with answering({"/props": page, "/v1/models": page}) as address, pytest.raises(EnvironmentProblem, match="known"):
        ask_server(address)


def test_numbers_that_are_none(tmp_path: Path):
    answers = {
        "/props": {"default_generation_settings": {"n_ctx": "many"}, "total_slots": [], "modalities": 3},
        "/completion": {"timings": {"draft_n": "x", "predicted_n": None}, "generation_settings": 7},
    }
    with answering(answers) as address:
        assert ask_server(address).verdict.drafts is None
