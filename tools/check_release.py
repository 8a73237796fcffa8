"""Whether a tag may be released: it is the package's version, and CHANGELOG.md has that version with its day.

python tools/check_release.py v1.2.3
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fault(tag: str, root: Path = ROOT) -> str:
    """Why this tag is not to be released; empty if it is."""
    source = (root / "gemma_mtp" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    version = found[1] if found else ""
    if tag != f"v{version}":
        return f"the tag is {tag}, the package's version is {version} (gemma_mtp/__init__.py)"
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## \[{re.escape(version)}\] - (\S+)\n(.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL)
    if section is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", section[1]):
        return f"CHANGELOG.md has no line `## [{version}] - YYYY-MM-DD`"
    if "Tested with" not in section[2]:
        return f"CHANGELOG.md does not say which llama.cpp {version} was tested with"
    return ""


if __name__ == "__main__":
    sys.exit(fault(*sys.argv[1:2]) or 0)
