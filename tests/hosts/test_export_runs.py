"""What is exported, started for real: in xllamacpp's server, and in a llama-server of upstream's where there is one."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.host_readers import read_preset
from helpers.llama_running import NotStarted, completion, free_port, llama, routed

from gemma_mtp.hosts import HOSTS, Wishes, export_pair
from gemma_mtp.hosts.record import Preset
from gemma_mtp.native.causes import meaning

#: Preset key -> the option of llama-server's command line: a key is an option's name without its dashes.
KEYS = {
    "model": "-m",
    "model-draft": "-md",
    "spec-type": "--spec-type",
    "spec-draft-n-max": "--spec-draft-n-max",
    "ctx-size": "-c",
    "parallel": "-np",
}


def text(name: str, pair: tuple[Path, Path]) -> str:
    return export_pair(name, str(pair[0]), str(pair[1]), Wishes(ctx=512)).text


def test_the_exported_command_drafts(pair):
    words = shlex.split(text("llama-server", pair))
    assert words.pop(0) == "llama-server"
    with llama(*words) as address:
        assert completion(address)["timings"]["draft_n"] > 0


def test_the_routers_trap_and_its_cure(pair, capfd):
    """--models-dir names both files and no type. Builds before xllamacpp's drop the assistant without a word, this one
    ends at loading. The exported preset cures both."""
    (section,) = read_preset(text("llama-router", pair)).values()
    found_by_the_router = {key: section[key] for key in ("model", "model-draft")}
    words = [word for key, value in found_by_the_router.items() for word in (KEYS[key], value)]
    with pytest.raises(NotStarted), llama(*words):
        pass
    causes = [cause for line in capfd.readouterr().err.splitlines() if (cause := meaning(line))]
    assert "--spec-type draft-mtp" in causes[0].told()
    with llama(*(word for key, value in section.items() for word in (KEYS[key], value))) as address:
        assert completion(address)["timings"]["draft_n"] > 0


def test_llama_cpp_has_every_option_that_is_written():
    """Names in the table of common/arg.cpp, which stand as texts in the library."""
    spec = importlib.util.find_spec("xllamacpp")  # not imported: two builds of ggml in one process clash
    assert spec
    (library,) = Path(spec.submodule_search_locations[0]).glob("xllamacpp*.so")
    known = set(re.findall(rb"--?[a-z][a-z-]+", library.read_bytes()))
    (router,) = (host.form for host in HOSTS if host.name == "llama-router")
    assert isinstance(router, Preset)
    assert {f"--{key}".encode() for key in router.keys} <= known
    (server,) = (host.form for host in HOSTS if host.name == "llama-server")
    words = [word for item in server.commands[0] for word in ([item] if isinstance(item, str) else item)]
    assert {word.encode() for word in words if word.startswith("--")} <= known


def test_upstreams_server_reads_the_command(pair, llama_server):
    words = shlex.split(text("llama-server", pair))[1:]
    good = subprocess.run([llama_server, *words, "--version"], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    bad = subprocess.run([llama_server, *words, "--no-such-option", "--version"], capture_output=True, check=False)
    assert bad.returncode != 0


def test_upstreams_router_reads_the_preset(pair, llama_server, tmp_path):
    file = tmp_path / "preset.ini"
    file.write_text(text("llama-router", pair))
    port = free_port()
    command = [llama_server, "--models-preset", str(file), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--no-models-autoload"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        arguments = routed(port)[pair[0].stem]
    finally:
        process.kill()
        process.wait()
    pairs = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    assert pairs["--model"] == str(pair[0])
    assert pairs["--model-draft"] == str(pair[1])
    assert pairs["--spec-type"] == "draft-mtp"
    assert pairs["--spec-draft-n-max"] == "3"


def test_upstreams_router_finds_files_and_no_type(pair, llama_server, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    for name, file in zip(("demo.gguf", "mtp-demo.gguf"), pair, strict=True):
        (folder / name).write_bytes(file.read_bytes())
    port = free_port()
    command = [llama_server, "--models-dir", str(tmp_path), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--no-models-autoload"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        arguments = routed(port)["demo"]
    finally:
        process.kill()
        process.wait()
    assert str(folder / "demo.gguf") in arguments
    assert "--spec-type" not in arguments
