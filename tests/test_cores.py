"""How many threads: by affinity, a control group's quota, physical cores, and what is idle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemma_mtp import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine as Linux describes one, in files: eight CPUs, no limit, nothing known of its cores and times."""
    (tmp_path / "groups").write_text("0::/user/shell\n")
    for name, place in (("GROUPS", "groups"), ("CONTROL", "control"), ("TOPOLOGY", "cpu"), ("TIMES", "stat")):
        monkeypatch.setattr(cores, name, tmp_path / place)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "WATCHED", 0)
    cores.decoding_threads.cache_clear()
    yield tmp_path
    cores.decoding_threads.cache_clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "quota", "count"),
    [
        pytest.param({}, None, 8, id="nothing known"),
        pytest.param({"control/user/shell/cpu.max": "max 100000\n"}, None, 8, id="no limit"),
        pytest.param({"control/user/shell/cpu.max": "150000 100000\n"}, 1.5, 2, id="one and a half"),
        pytest.param({"control/cpu.max": "50000 100000\n"}, 0.5, 1, id="a half, in a container"),
        pytest.param({"control/cpu.max": "1600000 100000\n"}, 16, 8, id="more than there are"),
        pytest.param({"control/cpu.max": "nonsense"}, None, 8, id="nonsense"),
        pytest.param(
            {"control/cpu/cpu.cfs_quota_us": "300000", "control/cpu/cpu.cfs_period_us": "100000"}, 3, 3, id="version 1"
        ),
        pytest.param(
            {"control/cpu/cpu.cfs_quota_us": "-1", "control/cpu/cpu.cfs_period_us": "100000"}, None, 8, id="1, no limit"
        ),
    ],
)
def test_a_quota_counts(machine: Path, files: dict[str, str], quota: float | None, count: int):
    for name, text in files.items():
        write(machine / name, text)
    assert cores.cpu_quota() == quota
    assert cores.available_cores() == count


def test_two_threads_of_one_core_are_one_for_decoding(machine: Path):
    for number in range(8):
        first = number % 4
        write(machine / f"cpu/cpu{number}/topology/thread_siblings_list", f"{first},{first + 4}\n")
    assert cores.available_cores() == 8
    assert cores.decoding_threads() == 4


@pytest.mark.parametrize(("busy", "threads"), [((), 8), ((3,), 7), ((0, 1, 2, 3, 4), 3), (tuple(range(8)), 1)])
def test_cores_that_others_use_are_left_to_them(
    machine: Path, monkeypatch: pytest.MonkeyPatch, busy: tuple[int, ...], threads: int
):
    """The tick counts of /proc/stat go on while it sleeps: user time of busy CPUs, idle time of the others."""

    def write_times(idle: int, used: int) -> None:
        rows = [f"cpu{n} {used if n in busy else 0} 0 0 {0 if n in busy else idle} 0 0 0 0 0 0" for n in range(9)]
        (machine / "stat").write_text("\n".join(["cpu 1 2 3 4", *rows, "intr 5"]))

    write_times(0, 0)
    monkeypatch.setattr(cores, "sleep", lambda _: write_times(25, 25))
    assert cores.decoding_threads() == threads


def test_this_machine():
    assert 1 <= cores.decoding_threads() <= cores.available_cores()
    assert 0 <= cores.idle_share(range(64)) <= 1
