"""`gemma-mtp doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemma_mtp.cli.options import Json

if TYPE_CHECKING:
    from gemma_mtp.mtp_runtime.backend import BackendReport


def doctor(json: Json = False) -> None:
    """Check that the installed llama.cpp works on this machine, and remember with which settings.

    A small quantized model is decoded in a child process, one token and several at a time. Exit code 3 if that fails
    with all settings.

    Example:

        gemma-mtp doctor
    """
    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.mtp_runtime import backend

    print_note("probing llama.cpp in a child process")
    report = backend.probe()
    advice = backend.advice(report)
    if json:
        print_json(report.as_dict() | {"advice": advice, "remembered_in": str(backend.cache_file())})
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
        ("version", f"llama-cpp-python {report.package}, {report.build}"),
        ("library", report.library),
        ("CPU", report.cpu),
        ("features", ", ".join(report.features)),
        *[("device", device) for device in devices],
    ]
    for failure in report.failures:
        rows.append((f"failed, extra buffers {'on' if failure.extra_buffers else 'off'}", failure.what))
        rows += [("", line) for line in failure.log]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
