"""`gemma-mtp doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemma_mtp.cli.options import DecodingThreads, Json

#: Of the column of names.
WIDTH = len("failed, extra buffers off")

if TYPE_CHECKING:
    from gemma_mtp.native.backend import BackendReport


def doctor(threads: DecodingThreads = None, json: Json = False) -> None:
    """Tell what is installed, check that llama.cpp works on this machine, and remember with which settings.

    A small quantized model is decoded in a child process, one token and several at a time. Exit code 3 if that fails
    with all settings.

    Example:

        gemma-mtp doctor
    """
    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.native import backend

    if not json:  # before anything can go wrong
        print_rows([(name, version) for name, version in backend.versions().items()])
    print_note("probing llama.cpp in a child process")
    report = backend.probe(threads)
    advice = backend.advice(report)
    if json:
        print_json(
            report.to_dict()
            | {"versions": backend.versions(), "advice": advice, "remembered_in": str(backend.cache_file())}
        )
    else:
        print_report(report)
        print_note(f"remembered in {backend.cache_file()}")
    if not report.works:
        raise backend.broken(report)


def print_report(report: BackendReport) -> None:
    from gemma_mtp.cli.output import human_size

    devices = [
        f"{one['name']}: {one['description']} ({one['kind']}, {human_size(one['memory_total'])})"
        for one in report.devices
    ]
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
    ]
    for failure in report.failures:
        rows.append((f"failed, extra buffers {'on' if failure.extra_buffers else 'off'}", failure.what))
        rows += [("", line) for line in failure.log]
    print_rows(rows)


def print_rows(rows: list[tuple[str, str]]) -> None:
    from gemma_mtp.cli.output import line, results

    for name, value in rows:
        results.print(line(f"{name:<{WIDTH}}  {value}"))
