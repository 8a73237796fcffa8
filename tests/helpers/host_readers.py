"""How hosts read what is written for them: their grammars, from their sources, independent of what writes."""

from __future__ import annotations

import re

#: llama.cpp common/preset.cpp, `parse_ini_from_file`, rule by rule. A value stops at the first comment or line end.
_EOL = r"[ \t]*(?:[;#][^\r\n]*)?(?:\r\n|\n|\r|\Z)"
_HEADER = re.compile(rf"\[[ \t]*(?P<name>[^\]]+)\]{_EOL}")
_PAIR = re.compile(rf"(?P<key>[a-zA-Z_][a-zA-Z0-9_.-]*)[ \t]*=[ \t]*(?P<value>(?:(?![ \t]*(?:[;#\r\n]|\Z)).)*){_EOL}")
_BLANK = re.compile(r"[ \t]*(?:[;#][^\r\n]*)?(?:\r\n|\n|\r)")


def read_preset(text: str) -> dict[str, dict[str, str]]:
    """Sections by name. Raises ValueError where llama.cpp says "failed to parse server config file"."""
    found: dict[str, dict[str, str]] = {}
    section, at = "default", 0
    while at < len(text):
        if match := _HEADER.match(text, at):
            section = match["name"]
            found[section] = {}
        elif match := _PAIR.match(text, at):
            found.setdefault(section, {})[match["key"]] = match["value"]
        elif not (match := _BLANK.match(text, at)):
            raise ValueError(text[at : at + 40])
        at = match.end()
    return found


INSTRUCTIONS = ["from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter"]


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """(name, argument) as Ollama's parser/parser.go reads them, one line each: the states name, value, parameter."""
    commands = []
    for line in re.split(r"[\r\n]", text):
        if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
            continue
        match = re.match(r"[ \t]*([a-zA-Z]+)[ \t](.*)", line)
        if not match or match[1].lower() not in INSTRUCTIONS:
            raise ValueError(line)
        name, rest = match[1].lower(), match[2]
        if name == "parameter":
            parameter = re.match(r"([a-zA-Z0-9_]+)[ \t](.*)", rest)
            if not parameter:
                raise ValueError(line)
            name, rest = parameter[1], parameter[2]
        argument = "".join(one for one in rest if one.isprintable()).strip(" \t")
        for mark in ('"""', '"'):
            if argument.startswith(mark):
                if len(argument) < 2 * len(mark) or not argument.endswith(mark):
                    raise ValueError(line)
                argument = argument[len(mark) : -len(mark)]
                break
        commands.append(("model" if name == "from" else name, argument))
    if "model" not in dict(commands):
        raise ValueError("no FROM line")
    return commands
