"""Lessons for tests: texts of the standard library, few tokens, one thread."""

from __future__ import annotations

import inspect
import json as json_module
import string as string_module
import textwrap
from pathlib import Path
from types import ModuleType

from gemma_mtp.adapt.lesson import Lesson, donors
from gemma_mtp.adapt.signals import Signals, begin_folder, open_signals
from gemma_mtp.adapt.teacher import teach
from gemma_mtp.adapt.texts import Document, hold_out
from gemma_mtp.adapt.weights import open_weights
from gemma_mtp.model.part import Part
from gemma_mtp.native.settings import ContextSettings, ModelSettings


def functions(*modules: ModuleType) -> list[Document]:
    """The functions of some modules, a document each."""
    found = []
    for module in modules:
        for _, thing in sorted(inspect.getmembers(module, inspect.isfunction)):
            if thing.__module__ == module.__name__:
                found.append(Document(module.__name__, inspect.getsource(thing)))
    return found


DOCUMENTS = tuple(hold_out(functions(textwrap, json_module, string_module), 0.3, 1))


def lesson_of(target: Path, folder: Path, documents: tuple[Document, ...], **changes: object) -> Lesson:
    with open_weights(target, Part.TARGET) as weights:
        found = donors(weights.model)
    options = {
        "tokens": 1500,
        "length": 200,
        "openings": 3,
        "opening": 16,
        "continuation": 40,
        "parallel": 3,
        "share": 0.3,
        "context": ContextSettings(threads=1),
        "model": ModelSettings(extra_buffers=False),
        **changes,
    }
    return Lesson(target, folder, documents, found, **options)


def recorded(target: Path, folder: Path, documents: tuple[Document, ...], **changes: object) -> Signals:
    begin_folder(folder, {"target": target.name})
    for _ in teach(lesson_of(target, folder, documents, **changes)):
        pass
    return open_signals(folder)
