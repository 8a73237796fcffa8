"""Chat templates rendered as transformers renders them, in a process of their own.

A template is a program in a file that strangers wrote. Jinja's sandbox keeps it from the machine, but not from looping
for days or making a text of terabytes, and no list of guarded operations is ever complete. So a small Python process
renders, which has little time and memory; where it ends, an error says so. It imports nothing of this package and lives
as long as the conversation.

Protocol: a line of JSON in, `{"template": text, "variables": {...}}`; a line of JSON out, `{"text": text}` or
`{"error": words}`. Without variables the template is only parsed, and the answer is `{"texts": [...]}`: what it can say
of itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from gemma_mtp.errors import BadFileError, EnvironmentProblem

#: What one rendering may take: seconds of the processor, and bytes beyond what the empty process has.
SECONDS, MEMORY = 1, 128 << 20
#: Seconds on the clock, where a process cannot limit itself (Windows) or gets no processor.
PATIENCE = 30.0
#: Characters of a rendered conversation.
MOST_TEXT = 4 << 20

TOO_LONG = f"it computes for more than {SECONDS} second"
TOO_LARGE = f"it needs more than {MEMORY >> 20} MiB"

#: The child's program. A template gets all that transformers' `_cached_compile_jinja_template` gives it.
PROGRAM = r'''
import sys
sys.path[:] = filter(None, sys.path)  # nothing from the folder that we happen to be in
import json, signal
from datetime import datetime
from functools import lru_cache
from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

SECONDS, MEMORY, MOST_TEXT = map(int, sys.argv[1:4])


class Generation(Extension):
    """{% generation %}: transformers notes there what the assistant said; the text is the same."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller):
        return caller()


class Tables:
    def __call__(self, *values, **named):
        return dict(*values, **named)

    def fromkeys(self, *values):
        return dict.fromkeys(*values)


class Attributes(Namespace):
    def __init__(*values, **named):
        self, values = values[0], values[1:]
        attributes = dict(*values, **named)
        for name in attributes:
            Attributes._check(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Attributes._check(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"the attribute {name!r} of a namespace begins with an underscore")


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise TemplateError(message)


def strftime_now(form):
    return datetime.now().strftime(form)


def environment():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals.update(
        raise_exception=raise_exception, strftime_now=strftime_now, dict=Tables(), namespace=Attributes
    )
    return environment


@lru_cache(maxsize=4)  # the same one is rendered again and again
def compiled(template):
    return environment().from_string(template)


def texts(template):
    """Texts that stand in it, those of its complaints left out. Raises what compiling it raises."""
    compiled(template)
    return list(constants(environment().parse(template)))


def constants(node):
    """Those below a node, as far as they can be computed without the messages: 'a' ~ 'b' is one."""
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "raise_exception":
        return
    if isinstance(node, nodes.TemplateData):
        yield node.data
        return
    if isinstance(node, nodes.Expr):
        try:
            value = node.as_const()
        except nodes.Impossible:
            pass
        else:
            yield from (one for one in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(one, str))
            return
    for child in node.iter_child_nodes():
        yield from constants(child)


def limit():
    """Little memory, and SECONDS of the processor from now on: then the system ends this process (SIGPROF)."""
    try:
        import resource
    except ImportError:
        return
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        size = 1 << 30
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = size + MEMORY
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    except (OSError, ValueError):
        pass  # a system without this limit


def rendered(template, variables):
    """Stops in the midst of a text that grows too long."""
    parts, size = [], 0
    for part in compiled(template).generate(**variables):
        parts.append(part)
        size += len(part)
        if size > MOST_TEXT:
            raise ValueError(f"its text has more than {MOST_TEXT:,} characters")
    return "".join(parts)


def answer(line):
    try:
        request = json.loads(line)
        limit()
        if "variables" in request:
            found = {"text": rendered(request["template"], request["variables"])}
        else:
            found = {"texts": texts(request["template"])}
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        return found
    except MemoryError:
        return {"error": None}
    except RecursionError:
        return {"error": "it calls itself, or nests, without end"}
    except Exception as error:
        try:
            return {"error": (str(error) or type(error).__name__)[:2000]}
        except Exception:
            return {"error": type(error).__name__}


signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops an answer, not the conversation
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(json.dumps(answer(line)).encode() + b"\n")
    sys.stdout.buffer.flush()
'''


class Renderer:
    """A process that renders templates; started when it is first asked, and again after it was ended."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._gave_up = False

    def render(self, template: str, **variables: Any) -> str:
        """The text. variables: of JSON's types.

        Raises BadFileError (the template fails, or takes more than it may), EnvironmentProblem (no process starts).
        """
        return str(self._asked({"template": template, "variables": variables})["text"])

    def texts(self, template: str) -> list[str]:
        """What stands in a template as text of its own, whatever is said to it.

        Raises BadFileError (it is no Jinja template), EnvironmentProblem (no process starts).
        """
        return [str(text) for text in self._asked({"template": template})["texts"]]

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises BadFileError, EnvironmentProblem."""
        child = self._child or self._start()
        assert child.stdin
        assert child.stdout
        alarm = threading.Timer(PATIENCE, self._give_up, [child])
        alarm.start()
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except OSError:
            line = b""
        except BaseException:  # Ctrl-C: the answer that comes later must not be taken for another's
            self.close()
            raise
        finally:
            alarm.cancel()
        if not line.endswith(b"\n"):
            raise BadFileError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BadFileError(answer["error"] or TOO_LARGE)
        return answer

    def close(self) -> None:
        """End the process. Harmless when there is none."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def __del__(self) -> None:
        self.close()

    def _give_up(self, child: subprocess.Popen[bytes]) -> None:
        self._gave_up = True
        child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        path, self._gave_up = os.pathsep.join(filter(None, sys.path)), False
        command = [sys.executable, "-c", PROGRAM, str(SECONDS), str(MEMORY), str(MOST_TEXT)]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
            )
        except OSError as error:
            raise EnvironmentProblem(f"no process for chat templates can be started: {error.strerror}") from error
        return self._child

    def _death(self) -> str:
        child, self._child = self._child, None
        assert child is not None
        child.communicate()
        if self._gave_up or child.returncode == -getattr(signal, "SIGPROF", 0):
            return TOO_LONG
        return f"the process that renders it ended with code {child.returncode}"
