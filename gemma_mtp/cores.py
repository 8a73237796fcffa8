"""How many cores there are to use, and how many of them for decoding: what every `threads=None` means."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from math import ceil
from pathlib import Path
from time import sleep

#: Where Linux tells about CPUs, what they have done, and a control group's share of them (cgroup v2, then v1).
TOPOLOGY = Path("/sys/devices/system/cpu")
TIMES = Path("/proc/stat")
GROUPS = Path("/proc/self/cgroup")
CONTROL = Path("/sys/fs/cgroup")
#: Seconds in which CPUs are watched. Their clock ticks 100 times a second.
WATCHED = 0.25


def available_cores() -> int:
    """The CPU cores that this process may use: by its affinity, and by the quota of its control group."""
    cores = len(_affinity()) or os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, ceil(quota)))


@cache
def decoding_threads() -> int:
    """Threads to decode with: the physical cores that this process may use and that are idle right now, at least one.

    llama.cpp's threads meet after every operation, some thousand times a token: one that shares its core with another
    program makes all wait for a time slice, again and again. Two threads of one core share its arithmetic.
    Watches the CPUs for a moment (Linux; elsewhere nothing is known of them) and remembers the answer.
    """
    cpus = _affinity()
    cores = _physical(cpus) if cpus else available_cores()
    return max(1, min(cores, available_cores(), round(cores * idle_share(cpus))))


def cpu_quota() -> float | None:
    """CPUs that the control group grants, as `docker run --cpus` sets it. None: no limit, or none that is known."""
    with suppress(OSError, ValueError):
        folder = next(line.split(":", 2)[2] for line in GROUPS.read_text().splitlines() if line.startswith("0::"))
        for place in (CONTROL / folder.strip("/"), CONTROL):
            with suppress(OSError):
                limit, period = (place / "cpu.max").read_text().split()
                return None if limit == "max" else int(limit) / int(period)
        limit, period = ((CONTROL / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(limit) / int(period) if int(limit) > 0 else None
    return None


def idle_share(cpus: Iterable[int]) -> float:
    """The share of these CPUs' time that nobody used just now. 1 where that is not known."""
    wanted = {f"cpu{number}" for number in cpus}
    before = _times(wanted)
    if not before:
        return 1.0
    sleep(WATCHED)
    after = _times(wanted)
    idle, total = (sum(after[cpu][part] - before[cpu][part] for cpu in before.keys() & after) for part in (0, 1))
    return idle / total if total > 0 else 1.0


def _times(wanted: set[str]) -> dict[str, tuple[int, int]]:
    """(idle, all) ticks of each CPU since the machine's start (proc_stat(5)). What a host took from it was not idle."""
    with suppress(OSError, ValueError, IndexError):
        rows = [line.split() for line in TIMES.read_text().splitlines()]
        ticks = {row[0]: [int(text) for text in row[1:9]] for row in rows if row and row[0] in wanted}
        return {cpu: (row[3] + row[4], sum(row)) for cpu, row in ticks.items()}
    return {}


def _affinity() -> set[int]:
    """The numbers of the CPUs that this process may use; none where no call tells them (macOS, Windows)."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:
        return set()


def _physical(cpus: set[int]) -> int:
    """The number of cores behind these CPUs: those that name the same siblings are one."""
    siblings = set()
    for number in cpus:
        try:
            siblings.add((TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list").read_text().strip())
        except OSError:
            siblings.add(f"cpu{number}")
    return len(siblings)
