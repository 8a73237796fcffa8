"""The text for each kind of file that a host reads: commands, a preset, a Modelfile, YAML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from gemma_mtp.errors import UsageError
from gemma_mtp.hosts.record import SHELL, CommandLine, Modelfile, Preset, Word, YamlFile
from gemma_mtp.hosts.values import Values, filled, kept

#: What ends a preset's value before its time.
_ENDS_VALUE = re.compile(r"[;#\r\n]")

#: Ends of lines to YAML 1.1, beside the usual ones: PyYAML writes them raw into a quoted text and reads them as spaces.
_LINE_ENDS = "\x85\u2028\u2029"


def commands(form: CommandLine, values: Values) -> str:
    """One command a line, for a POSIX shell; whatever a path holds, it is one word (shlex)."""
    return "".join(f"{shlex.join(words(command, values))}\n" for command in form.commands)


def words(command: Iterable[Word], values: Values) -> list[str]:
    """A command's words, with everything in its place."""
    found = filled(tuple(command), values)
    return [str(word) for item in found for word in (item if isinstance(item, list) else [item])]


def preset(form: Preset, values: Values) -> str:
    """A section for the preset file of llama.cpp's router. Raises UsageError: a path that cannot stand there.

    Its grammar (common/preset.cpp, `parse_ini_from_file`): a value goes to the end of its line and cannot be quoted;
    `;` and `#` begin a comment wherever they stand; a section's name ends at the first `]`.
    """
    lines = [f"[{values.name}]"]
    lines += [f"{key} = {preset_value(str(value))}" for key, value in filled(form.keys, values).items()]
    return "\n".join(lines) + "\n"


def preset_value(value: str) -> str:
    """The value as it can stand in a preset file. Raises UsageError."""
    if (found := _ENDS_VALUE.search(value)) or value != value.strip(" \t"):
        what = f"{found[0]!r} in it" if found else "a space at its beginning or end"
        raise UsageError(
            f"a preset file has no way to write this path: {what} would be cut off", where=value, hint="rename the file"
        )
    return value


def modelfile(form: Modelfile, values: Values) -> str:
    """Ollama's Modelfile. Raises UsageError: a path that cannot stand there.

    Its grammar (ollama parser/parser.go): an instruction, a space, an argument to the end of the line, without the
    spaces around it unless it stands in quotation marks. There are no escapes, and characters that cannot be printed
    vanish.
    """
    lines = ((instruction, str(filled(text, values))) for instruction, text in kept(form.lines, values))
    return "".join(f"{instruction} {_argument(text)}\n" for instruction, text in lines)


def _argument(text: str) -> str:
    if not text.replace(" ", "").isprintable():
        raise UsageError("a Modelfile has no way to write this path", where=text, hint="rename the file")
    return f'"""{text}"""' if text != text.strip(" \t") else text


def yaml_file(form: YamlFile, values: Values) -> str:
    """Settings in YAML. Raises UsageError: a path with `${`, which llama-swap takes for a macro."""
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


#: A form of `record` -> what writes it.
WRITERS: Mapping[type, Callable[..., str]] = {
    CommandLine: commands,
    Preset: preset,
    Modelfile: modelfile,
    YamlFile: yaml_file,
}
