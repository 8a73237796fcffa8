"""`gemma-mtp doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gemma_mtp.cli.options import DecodingThreads, Json

#: Of the column of names.
WIDTH = len("failed, extra buffers off")

if TYPE_CHECKING:
    from gemma_mtp.demo.probe import CppReport
    from gemma_mtp.native.backend import BackendReport


def doctor(threads: DecodingThreads = None, json: Json = False) -> None:
    """Tell what is installed and what works with it, and check that each engine works on this machine.

    With the Python loop's llama.cpp a small quantized model is decoded in a child process, one token and several at a
    time; with which settings that works is remembered. The C++ engine decodes the pair that is shipped, with drafts and
    without. Exit code 3 if an engine that is installed fails.

    Example:

        gemma-mtp doctor
    """
    from gemma_mtp import extras
    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.native import backend, engines

    present = engines.present()
    if not json:  # before anything can go wrong
        print_rows([(name, version) for name, version in backend.versions().items()])
    found: dict[str, Any] = {}
    problems = []
    for engine in present:
        print_note(f"probing {engines.TITLE[engine]} in a child process")
        report, problem = PROBES[engine](threads, json)
        found[engine] = report
        problems += [problem] if problem else []
    can = {feature: extras.available(feature) for feature in extras.FEATURES}
    if json:
        works = not problems if found else None
        print_json(
            found.get(engines.PYTHON, {})
            | {"works": works, "versions": backend.versions(), "engine": present[0] if present else None}
            | {"engines": {engine: found.get(engine) for engine in engines.TITLE}, "can": can}
        )
    else:
        print_rows([(f"{'yes' if there else 'no':>3}", _told(feature, there)) for feature, there in can.items()])
    if problems:
        raise problems[0]


def _python(threads: int | None, json: bool) -> tuple[Mapping[str, Any], Exception | None]:
    """What the Python loop's probe found, told unless it is to be JSON, and the error if it does not work."""
    from gemma_mtp.cli.output import print_note
    from gemma_mtp.native import backend

    report = backend.probe(threads)
    if not json:
        print_report(report)
        print_note(f"remembered in {backend.cache_file()}")
    told = {"advice": backend.advice(report), "remembered_in": str(backend.cache_file())}
    return report.to_dict() | told, None if report.works else backend.broken(report)


def _cpp(threads: int | None, json: bool) -> tuple[Mapping[str, Any], Exception | None]:
    """The same of the C++ engine."""
    from gemma_mtp.demo import probe

    report = probe.probe_cpp(threads)
    if not json:
        print_cpp(report)
    return report.to_dict(), None if report.works else probe.broken(report)


#: By `--engine`'s names.
PROBES = {"python": _python, "cpp": _cpp}


def _told(feature: str, there: bool) -> str:
    """A feature, and what it lacks."""
    from gemma_mtp.extras import FEATURES, command

    return feature if there else f"{feature}: {' or '.join(command(*way) for way in FEATURES[feature])}"


def print_report(report: BackendReport) -> None:
    from gemma_mtp.native.backend import architectures

    devices = [f"{one['name']}: {one['description']} ({one['kind']}, {_room(one)})" for one in report.devices]
    verdict = "works" if report.works else "does not work"
    if report.works and not report.extra_buffers:
        verdict += " with the extra buffer types switched off"
    rows = [
        ("llama.cpp", verdict),
        ("its version", report.build),
        ("library", report.library),
        ("CPU", report.cpu),
        ("features", ", ".join(report.features)),
        *[("device", device) for device in devices],
        *[("card", card) for card in report.cards],
    ]
    if kernels := architectures(report):
        rows.append(("kernels for", kernels))
    for one in report.alone:
        rows.append((f"on {one.device} alone", one.what or "works"))
        rows += [("", line) for line in (*one.log, *([f"what to do: {one.remedy}"] if one.remedy else []))]
    for failure in report.failures:
        rows.append((f"failed, extra buffers {'on' if failure.extra_buffers else 'off'}", failure.what))
        rows += [("", line) for line in failure.log]
    print_rows(rows)


def _room(device: Mapping[str, Any]) -> str:
    """A device's memory, and what of it is free."""
    from gemma_mtp.cli.output import human_size

    total, free = device["memory_total"], device["memory_free"]
    return f"{human_size(free)} free of {human_size(total)}" if total else "memory unknown"


def print_cpp(report: CppReport) -> None:
    rows = [
        ("C++ engine", "works" if report.works else "does not work"),
        *[("device", device) for device in report.devices],
        *([("failed", report.failure), *[("", line) for line in report.log]] if report.failure else []),
    ]
    print_rows(rows)


def print_rows(rows: list[tuple[str, str]]) -> None:
    from gemma_mtp.cli.output import line, results

    for name, value in rows:
        results.print(line(f"{name:<{WIDTH}}  {value}"))
