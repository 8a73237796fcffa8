"""A section for the preset file of llama.cpp's router.

Its grammar (common/preset.cpp, `parse_ini_from_file`): a value goes to the end of its line and cannot be quoted; `;`
and `#` begin a comment wherever they stand; a section's name ends at the first `]`.
"""

from __future__ import annotations

import re

from gemma_mtp.errors import UsageError
from gemma_mtp.hosts.record import Preset
from gemma_mtp.hosts.values import Values, filled

#: What ends a value before its time.
_ENDS_VALUE = re.compile(r"[;#\r\n]")


def written(form: Preset, values: Values) -> str:
    """Raises UsageError: a path that cannot stand there."""
    lines = [f"[{values.name}]"]
    lines += [f"{key} = {checked(str(value))}" for key, value in filled(form.keys, values).items()]
    return "\n".join(lines) + "\n"


def checked(value: str) -> str:
    """The value as it can stand in a preset file. Raises UsageError."""
    if (found := _ENDS_VALUE.search(value)) or value != value.strip(" \t"):
        what = f"{found[0]!r} in it" if found else "a space at its beginning or end"
        raise UsageError(
            f"a preset file has no way to write this path: {what} would be cut off", where=value, hint="rename the file"
        )
    return value
