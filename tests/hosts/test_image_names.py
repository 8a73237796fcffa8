"""Docker takes a model's name for that of an OCI artifact, which is spelled by stricter rules than a file."""

from __future__ import annotations

import re
import shlex

import pytest

from gemma_mtp.hosts import HOSTS
from gemma_mtp.hosts.export import shown
from gemma_mtp.hosts.values import Values

#: The grammar of a repository's name (github.com/distribution/reference, `path-component`).
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


@pytest.mark.parametrize(
    "file",
    ["gemma-4-31B-it-Q4_K_M.gguf", "Mein Modell__2.gguf", "a..b-_C.gguf", "_x_.gguf", "漢字.gguf", "x.GGUF.gguf"],
)
def test_any_file_has_a_name_for_docker(file):
    assert COMPONENT.fullmatch(Values(f"/m/{file}", "/m/mtp-x.gguf", 3).image)


def test_the_commands_use_it():
    (host,) = [host for host in HOSTS if host.name == "docker-model-runner"]
    commands = [shlex.split(line) for line in shown(host).splitlines() if line.startswith("docker model")]
    assert len(commands) == 4
    assert all(COMPONENT.fullmatch(command[-1]) or command[-1] == "draft-mtp" for command in commands)
    assert commands[2][commands[2].index("--") - 1] == commands[0][-1]
