"""Which functions of the package advise a command of ours, read off its source: what the followed tests must cover."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import gemma_mtp
from gemma_mtp import advice

#: Functions and constants that put a command of ours into a sentence.
MAKERS = {"ours", "into_mainline"}
CONSTANTS = {name for name, value in vars(advice).items() if isinstance(value, str) and "gemma-mtp " in value}
ROOT = Path(gemma_mtp.__file__).parent
#: Where findings are made.
ROOMS = ("validate", "validate/checks")


def advising() -> Counter[str]:
    """module.function -> how many of its sentences name a command of ours."""
    found: Counter[str] = Counter()
    for room in ROOMS:
        for path in sorted((ROOT / room).glob("*.py")):
            for function in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(function, ast.FunctionDef) and (count := _count(function)):
                    found[f"{path.stem}.{function.name}"] = count
    return found


def _count(function: ast.FunctionDef) -> int:
    """Defaults of arguments and docstrings do not count: they are not said to anybody."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return sum(_advises(node) for statement in body for node in ast.walk(statement))


def _advises(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", getattr(node.func, "attr", "")) in MAKERS
    if isinstance(node, ast.Name):
        return node.id in CONSTANTS
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "gemma-mtp " in node.value
