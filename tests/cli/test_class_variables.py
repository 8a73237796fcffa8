"""What every Python that is promised takes."""

from __future__ import annotations

import re
from pathlib import Path

import gemma_mtp

PACKAGE = Path(gemma_mtp.__file__).parent


def test_class_variables_name_their_type():
    """Python 3.10 cannot read the hints of a dataclass with a plain ClassVar, and options are read so."""
    plain = [path.name for path in PACKAGE.rglob("*.py") if re.search(r": ClassVar\b(?!\[)", path.read_text("utf-8"))]
    assert plain == []
