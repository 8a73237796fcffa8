"""The front matter of a card as text: values are put into it, and every other character of it stays.

    ---                       <- maybe after a byte order mark
    license: gemma            # comments, order, quotes, line ends and keys of others are the author's
    tags: [mine]
    ---

Parsing and dumping would lose them. So PyYAML only tells where each value stands, and after each change whether all
else still reads as before; a change that would spoil anything (a list that is an alias, say) is not made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import yaml

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.files.text import require_shallow_yaml

MARK = "\ufeff"
_BLOCK = re.compile(
    rf"(?P<head>{MARK}?\s*---[ \t]*(?:\r\n|\r|\n))(?P<yaml>.*?)(?P<tail>(?<=[\r\n])---[ \t]*(?:\r\n|\r|\n|\Z).*)", re.S
)
_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True)
class FrontMatter:
    """A card in three pieces: all up to the first ---, the YAML, and all from the second --- on.

    newline: what ends its lines, and those that are added. where: what an error is about.
    """

    head: str
    yaml: str
    tail: str
    newline: str
    where: str

    @classmethod
    def of(cls, card: str, where: str) -> FrontMatter:
        """Of a card without front matter, an empty one before its text. Raises EnvironmentProblem: it is no YAML."""
        newline = "\r\n" if 2 * card.count("\r\n") > card.count("\n") else "\n"
        match = _BLOCK.match(card)
        if match is None:
            mark = MARK if card.startswith(MARK) else ""
            text = card.removeprefix(MARK)
            return cls(f"{mark}---{newline}", "", f"---{newline}{newline}{text}", newline, where)
        found = cls(match["head"], match["yaml"], match["tail"], newline, where)
        found._require_mapping()
        return found

    def has(self, key: str) -> bool:
        """Whether the key is there, with a value."""
        node = _find(_root(self.yaml), key)
        return node is not None and not _is_null(node)

    def with_text(self, key: str, value: str, over: bool = False) -> FrontMatter:
        """With this value, if the key has none. over: also if it has another; of a list it is then one item."""
        node = _find(_root(self.yaml), key)
        if node is None:
            return self._changed(key, [value], _appended(self.yaml, self.newline, key, [value], is_list=False))
        if isinstance(node, yaml.SequenceNode) and over:
            return self.with_items(key, [value])
        if _is_null(node) or (over and node.value != value):
            return self._changed(key, [value], _replaced(self.yaml, node, _scalar(value)), kept=False)
        return self

    def with_items(self, key: str, items: Iterable[str]) -> FrontMatter:
        """With these items in the list at `key`, which may be one text, or missing."""
        node = _find(_root(self.yaml), key)
        there = _texts(node)
        missing = [item for item in items if item not in there]
        if not missing:
            return self
        if node is None:
            return self._changed(key, missing, _appended(self.yaml, self.newline, key, missing, is_list=True))
        if isinstance(node, yaml.SequenceNode):
            into = _into_flow if node.flow_style else _into_block
            return self._changed(key, missing, into(self.yaml, node, missing, self.newline))
        return self._changed(key, missing, _replaced(self.yaml, node, _flow([*there, *missing])))

    def __str__(self) -> str:
        return f"{self.head}{self.yaml}{self.tail}"

    def _changed(self, key: str, added: Sequence[str], text: str, kept: bool = True) -> FrontMatter:
        """With other YAML, which has these texts at `key`; as it was if that would have changed anything else."""
        try:
            old, new = _root(self.yaml), _root(text)
            fits = _others(key, new) == _others(key, old) and {*added} <= {*_texts(_find(new, key))}
            before = _shapes(_find(old, key)) if kept else []
            fits = fits and [shape for shape in _shapes(_find(new, key)) if shape[1] not in added] == before
        except (yaml.YAMLError, RecursionError):
            fits = False
        return replace(self, yaml=text) if fits else self

    def _require_mapping(self) -> None:
        try:
            require_shallow_yaml(self.yaml)
            root = _root(self.yaml)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise self._damaged(*_complaint(error)) from error
        if not isinstance(root, yaml.MappingNode | None):
            raise self._damaged("it is no list of keys and values", root.start_mark.index)

    def _damaged(self, what: str, index: int) -> EnvironmentProblem:
        line = 1 + f"{self.head}{self.yaml[:index]}".count("\n")
        return EnvironmentProblem(
            f"the front matter of the repo's README.md is no YAML, in line {line}: {what}",
            where=self.where,
            hint=f"mend line {line} of it on the Hub and run it again; nothing was uploaded",
        )


@lru_cache(maxsize=4)
def _root(text: str) -> yaml.Node | None:
    """Raises YAMLError, RecursionError."""
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _complaint(error: Exception) -> tuple[str, int]:
    """What a parser has to say, and at which character."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return str(getattr(error, "problem", None) or getattr(error, "context", None)), mark.index
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character U+{error.character:04X} is not allowed", error.position
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error), 0


def _find(root: yaml.Node | None, key: str) -> yaml.Node | None:
    """The value of a key; of one that is there twice the last, as YAML's readers take it."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    named = (value for name, value in reversed(pairs) if isinstance(name, yaml.ScalarNode) and name.value == key)
    return next(named, None)


def _others(key: str, root: yaml.Node | None) -> list[tuple[str, str]]:
    """All other keys with their values, as texts: equal if they read alike, aliases included."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return [
        (yaml.serialize(name), yaml.serialize(value)) for name, value in pairs if getattr(name, "value", None) != key
    ]


def _shapes(node: yaml.Node | None) -> list[tuple[str, str]]:
    """Each item of a list, or one text: what it is and what it says."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    there = [item for item in items if item is not None and (item is not node or not _is_null(item))]
    return [(item.tag, item.value if isinstance(item, yaml.ScalarNode) else yaml.serialize(item)) for item in there]


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _texts(node: yaml.Node | None) -> list[str]:
    """The items of a list, or one text, as texts."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return [item.value for item in items if isinstance(item, yaml.ScalarNode) and not _is_null(item)]


def _scalar(value: str) -> str:
    """A text as YAML, plain if it can be."""
    plain = _PLAIN.fullmatch(value) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)


def _flow(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_scalar, items))}]"


def _replaced(text: str, node: yaml.Node, value: str) -> str:
    start, stop = node.start_mark.index, node.end_mark.index
    gap = " " if text[start - 1 : start] == ":" else ""
    return f"{text[:start]}{gap}{value}{text[stop:]}"


def _appended(text: str, newline: str, key: str, values: Sequence[str], is_list: bool) -> str:
    """With one more key after all others."""
    root = _root(text)
    if root is not None and root.flow_style:
        return _before_end(text, root, f"{key}: {_flow(values) if is_list else _scalar(values[0])}")
    lines = [f"{key}:", *(f"- {_scalar(value)}" for value in values)] if is_list else [f"{key}: {_scalar(values[0])}"]
    starts = (token.start_mark.column for token in yaml.scan(text) if isinstance(token, yaml.BlockMappingStartToken))
    indent = " " * next(starts, 0)
    return text + "".join(f"{indent}{line}{newline}" for line in lines)


def _into_flow(text: str, node: yaml.Node, items: Sequence[str], _: str) -> str:
    return _before_end(text, node, ", ".join(map(_scalar, items)))


def _before_end(text: str, node: yaml.Node, content: str) -> str:
    """With more content before the closing bracket of a flow collection."""
    end = node.end_mark.index - 1
    before = [token for token in yaml.scan(text) if token.end_mark.index <= end][-1]
    opened = (yaml.FlowEntryToken, yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
    return f"{text[:end]}{'' if isinstance(before, opened) else ', '}{content}{text[end:]}"


def _into_block(text: str, node: yaml.Node, items: Sequence[str], newline: str) -> str:
    """With more lines in a list: after its last item; before its first where the end of the last is hard to tell."""
    last = node.value[-1]
    dashes = [token for token in yaml.scan(text) if isinstance(token, yaml.BlockEntryToken)]
    simple = isinstance(last, yaml.ScalarNode) and last.style in (None, "'", '"')
    if simple:
        dash = [token for token in dashes if token.start_mark.index <= last.start_mark.index][-1]
        line_end = text.find("\n", last.end_mark.index)
        at = len(text) if line_end < 0 else line_end + 1
    else:
        dash = next(token for token in dashes if token.start_mark.index >= node.start_mark.index)
        at = dash.start_mark.index - dash.start_mark.column
    indent = " " * dash.start_mark.column
    lines = "".join(f"{indent}- {_scalar(item)}{newline}" for item in items)
    return f"{text[:at]}{lines}{text[at:]}"
