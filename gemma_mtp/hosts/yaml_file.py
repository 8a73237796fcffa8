"""Settings in YAML."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from gemma_mtp.errors import UsageError
from gemma_mtp.hosts.command_line import words
from gemma_mtp.hosts.record import YamlFile
from gemma_mtp.hosts.values import Values, filled

#: Stands in a record where the command line goes.
SHELL = "<command>"
#: Ends of lines to YAML 1.1, beside the usual ones: PyYAML writes them raw into a quoted text and reads them as spaces.
_LINE_ENDS = "\x85\u2028\u2029"


def written(form: YamlFile, values: Values) -> str:
    """Raises UsageError: a path with `${`, which llama-swap takes for a macro."""
    content = filled(form.content, values)
    if form.shell:
        for path in (values.target, values.assistant):
            if "${" in path:
                raise UsageError("`${` begins a macro in this file", where=path, hint="rename the file")
        content = _with(content, shlex.join(words(form.shell, values)).replace("'${PORT}'", "${PORT}"))
    raw = not any(end in path for end in _LINE_ENDS for path in (values.target, values.assistant))
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=raw, width=10_000)
    return text


def _with(content: Any, command: str) -> Any:
    if isinstance(content, dict):
        return {key: _with(item, command) for key, item in content.items()}
    return command if content == SHELL else content
