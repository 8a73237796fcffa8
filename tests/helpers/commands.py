"""Our commands as processes."""

from __future__ import annotations

import subprocess
import sys


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gemma_mtp", *map(str, arguments)], capture_output=True, text=True, check=False
    )
