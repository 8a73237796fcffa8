"""Completion in a shell, asked for as the shells' scripts ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_mtp.cli.main import COMMANDS

#: As pip writes it.
ENTRY = "import sys; sys.argv[0] = 'gemma-mtp'; from gemma_mtp.cli.main import main; main()"


def asked(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ENTRY, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | variables)


def completed(line: str) -> list[str]:
    """What bash is offered at the end of the line."""
    words = line.split(" ")
    done = asked(_GEMMA_MTP_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert done.stderr == ""
    return done.stdout.split()


def test_commands():
    assert completed("gemma-mtp ") == list(COMMANDS)
    assert completed("gemma-mtp con") == ["convert"]
    assert completed("gemma-mtp zz") == []


def test_options_and_their_values():
    assert {"--draft", "--draft-max", "--draft-min"} <= set(completed("gemma-mtp run --dra"))
    assert completed("gemma-mtp run --draft ") == ["fixed", "auto", "off"]
    assert completed("gemma-mtp bench --flash-attention o") == ["on", "off"]
    assert completed("gemma-mtp --vers") == ["--version"]


def test_only_the_command_that_is_completed_is_loaded():
    code = (
        "import sys, os\n"
        "from gemma_mtp.cli.main import application\n"
        "os.environ |= {'_GEMMA_MTP_COMPLETE': 'complete_bash', 'COMP_WORDS': 'gemma-mtp con', 'COMP_CWORD': '1'}\n"
        "try: application()([])\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('gemma_mtp.cli.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["convert"]
    assert "'gemma_mtp.cli.convert'" in done.stderr
    assert "'gemma_mtp.cli.run'" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str):
    done = asked("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "gemma-mtp" in done.stdout
    assert "_GEMMA_MTP_COMPLETE" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is asked itself")
def test_bash_with_the_installed_script(tmp_path: Path):
    """--install-completion, then bash's own completion function on a half word."""
    program = tmp_path / "bin" / "gemma-mtp"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{ENTRY}\n")
    program.chmod(0o755)
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    subprocess.run(["gemma-mtp", "--install-completion", "bash"], env=environment, check=True, capture_output=True)
    script = (
        f"source {tmp_path}/.bash_completions/gemma-mtp.sh; COMP_WORDS=(gemma-mtp insp); COMP_CWORD=1; "
        "_gemma_mtp_completion gemma-mtp; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", script], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "inspect"
