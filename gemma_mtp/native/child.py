"""Native code at arm's length: a function runs in a child process, and what kills the child becomes an error here.

llama.cpp aborts the process on some broken files (GGML_ASSERT), and some builds crash on some machines. A command that
loads a user's file therefore iterates over `in_child(function, ...)`: the generator function runs in a fresh
interpreter, its items arrive one by one, its exceptions are raised here, and a death by signal becomes a LlamaError
that names the signal, the Python call that was running and llama.cpp's last words. What `causes.py` knows about such a
failure is put into the error here, so that every command says it. Starting the child costs about 0.2 s; the parent
itself needs neither NumPy nor llama.cpp.

Protocol: pickles over the child's stdin (the call; in a conversation also what is sent) and a private copy of its
stdout (items, then the end). Both ends are this program, so unpickling is safe. The child's stdout and stderr go to a
temporary file, and to whoever asked for them with `native_log_to`.

A parent that is killed closes nothing in good order: the child looks after it (`_leave_with`), and ends with it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import linecache
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gemma_mtp.advice import ASSISTANT, TARGET, ours
from gemma_mtp.errors import EnvironmentProblem, GemmaMtpError, LlamaError
from gemma_mtp.native.causes import explain, said_so

LOG = logging.getLogger(__name__)

#: Target and assistant that a child works with, where there are any: what advice about its failures names.
Files = tuple[str | Path | None, str | Path | None]
NO_FILES: Files = (None, None)

ITEM, RETURNED, RAISED = "item", "returned", "raised"
#: How long a child may take to end by itself when nobody listens any more, in seconds.
PATIENCE = 2.0
#: How often a child looks whether its parent lives, in seconds.
LOOKING = 0.5
#: In a child's environment: llama.cpp shall tell more than errors.
TELLING = "GEMMA_MTP_NATIVE_LOG"
#: How often a thread of GCC's OpenMP looks before it sleeps at a barrier, where the user does not say. Its own number
#: is 300,000 (libgomp's env.c), milliseconds: on a busy machine threads burn the time that those need who are waited
#: for. 1,000 is what it takes itself when it knows that there are more threads than cores.
SPINS = {"GOMP_SPINCOUNT": "1000"}
#: Lines of llama.cpp's log that an error quotes.
LAST_WORDS = 8
#: Set in a child's environment: llama.cpp's log goes to its stderr at once, for it may not live to tell it otherwise.
ECHO = "GEMMA_MTP_ECHO"
#: Windows' name for the right to wait for a process, and its word for one that does not exist (winnt.h, winerror.h).
SYNCHRONIZE, NO_SUCH_PROCESS = 0x00100000, 87
#: What a crash on Windows leaves as exit code (ntstatus.h).
WINDOWS_CRASHES = {0xC0000005: "access violation", 0xC000001D: "illegal instruction", 0xC0000409: "abort"}
_FRAME = re.compile(r'File "(.+)", line (\d+) in \w+$')
_NATIVE_CALL = re.compile(r"\b(?:llama|ggml)_\w+(?=\()")
#: What is left of faulthandler's list of modules where two threads crashed at once and wrote over each other.
_MODULES = re.compile(r"(?:, ?)?(?:\w+(?:\.\w+)+, ?)+[\w.]*(?: \(total: \d+\)?)?")


#: Gets what a child writes, in pieces, in a thread.
Sink = Callable[[bytes], object]
_sinks: list[Sink] = []


@contextlib.contextmanager
def native_log_to(sink: Sink) -> Iterator[None]:
    """In the block children tell all of llama.cpp's log, and `sink` gets it."""
    _sinks.append(sink)
    try:
        yield
    finally:
        _sinks.remove(sink)


def telling() -> bool:
    """Whether this process is a child whose log somebody wants to read."""
    return TELLING in os.environ


class NativeCrash(LlamaError):
    """The child died of a signal. `signal_name`: SIGSEGV, SIGABRT, ..."""

    def __init__(self, what: str, *, signal_name: str, hint: str | None = None, log: tuple[str, ...] = ()):
        self.signal_name = signal_name
        super().__init__(what, hint=hint, log=log)


def in_child(function: str, *arguments: Any, files: Files = NO_FILES) -> Generator[Any, None, Any]:
    """Iterate over the generator function "module:name" called with `arguments` in a child process.

    The child does not wait for its items to be taken. The generator's return value is this one's too. Closing this
    generator ends the child. files: the pair that it works with, for advice. Raises what the function raises
    (GemmaMtpError and the like; a LlamaError with what is known about its cause), NativeCrash, EnvironmentProblem.
    """
    return _run(function, arguments, files, conversation=False)


def converse(function: str, *arguments: Any, files: Files = NO_FILES) -> Generator[Any, Any, Any]:
    """As `in_child`, in lock-step: what is sent to this generator is sent to the child's, which goes on only then."""
    return _run(function, arguments, files, conversation=True)


def _run(function: str, arguments: tuple[Any, ...], files: Files, conversation: bool) -> Generator[Any, Any, Any]:
    with tempfile.TemporaryFile() as words, _start(words, sinks := tuple(_sinks)) as child:
        assert child.stdin
        assert child.stdout
        copying = _copying(child, words, sinks)
        try:
            LOG.debug("%s in child process %s", function, child.pid)
            _tell(child.stdin, (function, arguments, conversation))
            if not conversation:
                _hang_up(child.stdin)
            kind, content = yield from _items(child.stdout, child.stdin if conversation else None)
        finally:
            _hang_up(child.stdin)
            _end(child)
            copying.join()
            LOG.debug("child process %s has ended: %s", child.pid, child.returncode)
        if kind == RETURNED:
            return content
        if kind == RAISED:
            error = _rebuilt(*content)
            raise _refusal(error, _tail(words), files) if isinstance(error, LlamaError) else error
        raise _death(child.returncode, _tail(words), files)


def _items(answers: Any, call: Any) -> Generator[Any, Any, tuple[str, Any]]:
    """Pass items on until the child says how it ended, or falls silent. call: where it waits for what is sent."""
    while True:
        try:
            kind, content = pickle.load(answers)
        except (EOFError, pickle.UnpicklingError):
            return "", None
        if kind != ITEM:
            return kind, content
        sent = yield content
        if call:
            _tell(call, sent)


def _tell(call: Any, content: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # a child that is dead is found to be so when it does not answer
        pickle.dump(content, call)
        call.flush()


def _hang_up(call: Any) -> None:
    with contextlib.suppress(BrokenPipeError):
        call.close()


def _rebuilt(kind: type[Exception], arguments: tuple[Any, ...], fields: dict[str, Any]) -> Exception:
    """The child's exception. Its constructor is not called: its arguments may be others than `Exception.args`."""
    error = kind.__new__(kind, *arguments)
    vars(error).update(fields)
    return error


def _refusal(error: LlamaError, words: str, files: Files) -> LlamaError:
    """A failure that llama.cpp lived through. One that tells no reason gets the last lines that the child wrote."""
    return _explained(error, error.log or tuple(_lines(words)), files)


def _explained(error: LlamaError, lines: tuple[str, ...], files: Files) -> LlamaError:
    """The error with its cause and remedy, where they are known, and with the line that says so among the last ones.

    lines: all that is at hand of what llama.cpp said.
    """
    error.log = lines[-LAST_WORDS:]
    signal_name = error.signal_name if isinstance(error, NativeCrash) else ""
    known = explain(signal_name, "\n".join((error.what, *lines)))
    if known:
        error.reason = said_so(known, lines)
        if error.reason and error.reason not in error.log:
            error.log = (error.reason, *error.log[1 - LAST_WORDS :])
        error.explain(known.cause, known.told(*files), known.environment)
    return error


def _copying(child: subprocess.Popen[bytes], words: BinaryIO, sinks: tuple[Sink, ...]) -> threading.Thread:
    """A thread that gives what the child writes to the file and to the sinks. Without sinks it has nothing to do."""

    def copy() -> None:
        while child.stderr and (piece := os.read(child.stderr.fileno(), 1 << 16)):
            words.write(piece)
            for sink in sinks:
                with contextlib.suppress(OSError):  # a full disk under a log is no reason to stop
                    sink(piece)

    thread = threading.Thread(target=copy, name="native log", daemon=True)
    thread.start()
    return thread


def _start(words: BinaryIO, sinks: tuple[Sink, ...]) -> subprocess.Popen[bytes]:
    search_path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    spins = {} if "OMP_WAIT_POLICY" in os.environ else SPINS
    told = {TELLING: "1"} if sinks else {}
    try:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if sinks else words,
            env=spins | os.environ | told | {"PYTHONPATH": search_path, "GGML_NO_BACKTRACE": "1", ECHO: "1"},
        )
    except OSError as error:
        raise EnvironmentProblem(f"no child process can be started: {error.strerror}") from error


def _end(child: subprocess.Popen[bytes]) -> None:
    """The child ends when it notices that its pipe is closed; one that computes for long is told twice."""
    assert child.stdout
    child.stdout.close()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _tail(words: BinaryIO, size: int = 20_000) -> str:
    words.seek(max(0, words.seek(0, os.SEEK_END) - size))
    return words.read().decode("utf-8", errors="replace")


def _death(code: int, words: str, files: Files) -> LlamaError:
    name = signal_name(code)
    lines = _lines(words)
    if name is None:
        error = LlamaError(f"the child process ended with code {code} without a word")
        return _explained(error, tuple(lines), files)
    call = next((call for call in map(_native_call, lines) if call), None)
    target, assistant = files
    verify = ours("verify", target or TARGET, assistant or ASSISTANT)
    crash = NativeCrash(
        f"llama.cpp crashed{f' in {call}' if call else ''} ({name})",
        signal_name=name,
        hint=f"the file may be broken ({verify} tells), or the build of llama.cpp ({ours('doctor')} tells)",
    )
    return _explained(crash, tuple(line for line in lines if not _is_stack(line)), files)


def _lines(words: str) -> list[str]:
    return [line.strip() for line in words.splitlines() if line.strip()]


def _native_call(line: str) -> str | None:
    """The C function that the Python line named in a line of faulthandler's report calls."""
    frame = _FRAME.search(line)
    call = _NATIVE_CALL.search(linecache.getline(frame[1], int(frame[2]))) if frame else None
    return call[0] if call else None


def _is_stack(line: str) -> bool:
    """Whether this is a line of faulthandler's report, which `_FRAME` has been read from."""
    begins = ("Fatal Python error", "Current thread", "Thread 0x", "File ", "Extension modules")
    return line.startswith(begins) or _MODULES.fullmatch(line) is not None


def signal_name(code: int) -> str | None:
    """What killed a process with this exit code; None: nothing, it has ended by itself."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return WINDOWS_CRASHES.get(code & 0xFFFFFFFF)


def _serve(call: BinaryIO, answers: BinaryIO) -> None:
    """The child: run the function, send its items and its end."""

    def send(kind: str, content: Any) -> None:
        pickle.dump((kind, content), answers)
        answers.flush()

    def hear() -> Any:
        try:
            return pickle.load(call)
        except EOFError as end:
            raise BrokenPipeError from end

    name, arguments, conversation = hear()
    try:
        module, _, attribute = name.partition(":")
        generator = getattr(importlib.import_module(module), attribute)(*arguments)
        with contextlib.closing(generator):
            try:
                item = next(generator)
                while True:
                    send(ITEM, item)
                    item = generator.send(hear()) if conversation else next(generator)
            except StopIteration as stop:
                send(RETURNED, stop.value)
    except BrokenPipeError:  # nobody listens any more
        return
    except GemmaMtpError as error:
        send(RAISED, (type(error), error.args, vars(error)))
    except OSError as error:
        send(RAISED, (OSError, (error.errno, error.strerror or str(error), error.filename), {}))
    except MemoryError:
        refused = LlamaError("memory could not be allocated")
        send(RAISED, (type(refused), refused.args, vars(refused)))
    except Exception:
        send(RAISED, (RuntimeError, ("in the child process:\n" + traceback.format_exc(),), {}))


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: a long call would compute on for nobody, and notice at its next item.

    Waiting for the end of stdin would not do: on Windows a DLL's start asks what stdin is, and waits for the reader.
    """
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(SYNCHRONIZE, False, parent)
        if handle:
            kernel.WaitForSingleObject(ctypes.c_void_p(handle), -1)
        elif ctypes.get_last_error() != NO_SUCH_PROCESS:  # it lives, and may not be looked after
            return
    else:
        own = os.getppid()  # the orphan of a dead process gets another one
        while os.getppid() == own:
            time.sleep(LOOKING)
    os._exit(1)


def main(parent: int) -> None:
    """Serve one call. The parent alone answers to Ctrl-C: it closes the pipe, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    threading.Thread(target=_leave_with, args=(parent,), name="parent", daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that native code prints may get between the answers
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, answers)
    # Closed pipe or not, nothing is left to flush: llama.cpp's objects were released with the generator.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
