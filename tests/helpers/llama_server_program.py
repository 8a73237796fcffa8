"""A program that is started as llama-server is, and is llama.cpp's server: `llama_words.py`, for want of the binary."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: What it says of itself, as far as anybody looks.
PROGRAM = """#!/bin/sh
case "$1" in
--help) echo "--model --spec-type none,draft-simple,draft-mtp --cors-origins --reasoning [on|off|auto]" ;;
--version) echo "version: 11549 (a1b2c3)" >&2 ;;
--list-devices) echo "Available devices:" ;;
*) PYTHONPATH="{path}" exec "{python}" "{words}" "$@" ;;
esac
"""


def write_program(folder: Path) -> Path:
    """As an executable file."""
    program = folder / "llama-server"
    path = os.pathsep.join(sys.path)
    words = Path(__file__).with_name("llama_words.py")
    program.write_text(PROGRAM.format(path=path, python=sys.executable, words=words))
    program.chmod(0o755)
    return program
