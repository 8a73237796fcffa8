"""The entrances of the child process of `verify --run` and `--reference`: limits first, then what may die of them.

The clock runs before llama.cpp is loaded, because a broken driver can hang that already. What llama.cpp logs goes to
the parent's file as well, so that the last lines are there when the process dies.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gemma_mtp.errors import EnvironmentProblem, LlamaError
from gemma_mtp.extras import command
from gemma_mtp.native.engines import CPP
from gemma_mtp.validate.comparison import Comparison, Job, ReferenceComparison, ReferenceJob

STDERR = 2


def compare(job: Job) -> Iterator[Comparison]:
    """A comparison for each prompt. Raises LlamaError; may die in any way that llama.cpp can."""
    limit_time(job.seconds)
    if job.engine == CPP:
        from gemma_mtp.validate.served import comparisons as served

        _limit_memory(job.memory)
        yield from served(job, lambda: limit_time(job.seconds))
        return
    from gemma_mtp.validate.decoding import comparisons

    with limited_memory(job.memory):
        for comparison in comparisons(job):
            yield comparison
            limit_time(job.seconds)


def compare_with_official(job: ReferenceJob) -> Iterator[ReferenceComparison]:
    """The same for `--reference`. Raises CheckpointError, LlamaError, EnvironmentProblem."""
    limit_time(job.pair.seconds)
    try:
        from gemma_mtp.validate.official import comparisons
    except (ImportError, OSError) as error:
        raise EnvironmentProblem(
            f"transformers or torch cannot be loaded: {error}", hint=f"install them anew: {command('reference')}"
        ) from error

    with limited_memory(job.pair.memory):
        for comparison in comparisons(job):
            yield comparison
            limit_time(job.pair.seconds)


@contextmanager
def limited_memory(limit: int | None) -> Iterator[None]:
    """From now on so many bytes for this process, with llama.cpp's log echoed. Raises LlamaError if Python runs out."""
    from gemma_mtp.native.llama import LOG

    LOG.echo = STDERR
    _limit_memory(limit)
    try:
        yield
    except MemoryError as error:
        raise LlamaError("memory could not be allocated", log=LOG.since(0)) from error


def limit_time(seconds: int) -> None:
    """From now on this process has so long; the signal kills it even inside of native code."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)


def _limit_memory(limit: int | None) -> None:
    if limit is not None:
        with suppress(ImportError, ValueError, OSError):  # no such limit on Windows, or a stricter one already
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
