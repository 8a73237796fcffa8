"""Does the installed llama.cpp work on this machine, and with which settings?

A build can load models, decode single tokens, and crash on the first batch: on CPUs with AMX some builds do so for
quantized weights unless the extra buffer types are switched off. So a small quantized model is decoded in a child
process, with extra buffer types and, if that fails, without. The answer is kept in the user's cache folder, under a key
of library and CPU, and asked for once.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gemma_mtp import __version__
from gemma_mtp.advice import quoted
from gemma_mtp.cores import available_cores
from gemma_mtp.errors import BadFileError, EnvironmentProblem, LlamaError, MissingExtra
from gemma_mtp.files.atomic import keep
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.files.text import read_json
from gemma_mtp.native.causes import explain
from gemma_mtp.native.child import NativeCrash, in_child
from gemma_mtp.native.placement import CPU, NONE
from gemma_mtp.native.settings import ContextSettings, ModelSettings

LOG = logging.getLogger(__name__)
PACKAGE = "llama-cpp-python"
SURVEY = f"{__name__}:survey"
#: In the line that ggml's CUDA backend has for each card.
CARD = "compute capability"
#: Where Linux says which version of a GPU's driver is there.
DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version"))
#: Tokens in one batch: a single token takes other kernels than a few, and those others than many.
BATCHES = (1, 4, 32)
#: A batch's last row of logits against the same tokens one by one: the largest difference, relative to the largest
#: logit, that is taken for rounding. (CPU kernels agree to the bit; a GPU multiplies a batch with other kernels.)
TOLERANCE = 0.1


@dataclass(frozen=True)
class Failure:
    """A probe that failed. `what`: the sentence; `signal`: of a crash, else None; `log`: llama.cpp's last lines."""

    extra_buffers: bool
    what: str
    signal: str | None
    log: tuple[str, ...]


@dataclass(frozen=True)
class DeviceProbe:
    """The same small model on one device alone. device: its name, CPU for none but that. what: empty if it works."""

    device: str
    what: str = ""
    log: tuple[str, ...] = ()

    @property
    def remedy(self) -> str | None:
        """What to do, if the reason is known."""
        known = explain("", "\n".join((self.what, *self.log)))
        return known.told() if known else None


@dataclass(frozen=True)
class BackendReport:
    """What the probe found. Memory in bytes.

    cards: what the GPU backend says of each card. alone: where there is a GPU, each device by itself.
    """

    package: str
    library: str
    build: str
    cpu: str
    features: tuple[str, ...]
    devices: tuple[dict[str, Any], ...]
    works: bool
    extra_buffers: bool
    failures: tuple[Failure, ...] = field(default=())
    cards: tuple[str, ...] = ()
    alone: tuple[DeviceProbe, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@cache
def settings_for_this_machine() -> ModelSettings:
    """The settings under which the installed llama.cpp works here: remembered, or probed now.

    Raises EnvironmentProblem if it works under none, or is not installed.
    """
    report = remembered() or probe()
    if not report.works:
        raise broken(report)
    LOG.debug("llama.cpp %s works here, extra buffers: %s", report.build, report.extra_buffers)
    return ModelSettings(extra_buffers=report.extra_buffers)


def broken(report: BackendReport) -> EnvironmentProblem:
    """The error for a llama.cpp that works with no settings, with its last words."""
    failure = report.failures[-1]
    return EnvironmentProblem(
        f"the installed llama.cpp does not work on this machine: {failure.what}",
        where=report.library,
        hint=advice(report),
        log=failure.log,
    )


def advice(report: BackendReport) -> str | None:
    """What to do about a llama.cpp that does not work, or not in full; None if there is nothing to do."""
    if report.works and report.extra_buffers:
        return None
    if report.works:
        return "nothing has to be done: gemma-mtp switches the extra buffer types off by itself"
    failure = report.failures[-1]
    known = explain(failure.signal or "", "\n".join((failure.what, *failure.log)))
    if any(one.device == CPU and not one.what for one in report.alone):
        reason = f": {known.told()}" if known else ""
        return f"it works on the CPU (--device none), the GPU is at fault{reason}"
    if known and not known.portable:
        return known.told()
    if not known and not failure.signal and not report.features:  # it never was loaded
        return f"build it again, on this machine: {built_again(report.package)}"
    built = f'CMAKE_ARGS="-DGGML_NATIVE=OFF" {built_again(report.package)}'
    portable = f"build it without code that is specific to a CPU: {built}"
    if not known and any("GPU" in str(device["kind"]) for device in report.devices):
        return f"`CUDA_VISIBLE_DEVICES=-1 gemma-mtp doctor` tells whether it works without the GPU; if not: {portable}"
    return portable


def built_again(package_version: str) -> str:
    """The command that builds llama.cpp on this machine."""
    return (
        f"{quoted(sys.executable)} -m pip install --force-reinstall --no-cache-dir --no-deps "
        f"--no-binary {PACKAGE} {PACKAGE}=={package_version}"
    )


def versions() -> dict[str, str]:
    """What is installed, by name: what somebody needs to know who is asked for help."""
    known = {
        "gemma-mtp": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.machine()})",
        "system": platform.platform(),
    }
    if driver := gpu_driver():
        known["GPU driver"] = driver
    for name in (PACKAGE, "xllamacpp", "numpy", "gguf"):
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = "not installed"
    return known


def probe(threads: int | None = None) -> BackendReport:
    """Probe now, in child processes, and remember the answer. threads: to decode with; None: four, or all cores.

    Raises EnvironmentProblem: no llama.cpp installed.
    """
    package, folder = installed()
    facts: dict[str, Any] = {}
    failures: list[Failure] = []
    with scratch_folder() as scratch:
        for extra_buffers in (True, False):
            failure = _attempt(scratch / f"probe-{extra_buffers}.gguf", extra_buffers, threads, facts)
            if failure is None:
                break
            failures.append(failure)
        alone = _each_alone(scratch, extra_buffers, threads, facts.get("devices", ()))
    report = BackendReport(
        package=package,
        library=facts.get("library", str(folder)),
        build=facts.get("build", "unknown"),
        cpu=cpu_name(),
        features=tuple(facts.get("features", ())),
        devices=tuple(facts.get("devices", ())),
        works=failure is None,
        extra_buffers=extra_buffers and failure is None,
        failures=tuple(failures),
        cards=tuple(facts.get("cards", ())),
        alone=alone,
    )
    keep(cache_file(), json.dumps(report.to_dict(), indent=2).encode())  # without it the next start probes again
    return report


def _each_alone(
    scratch: Path, extra_buffers: bool, threads: int | None, devices: Sequence[Mapping[str, Any]]
) -> tuple[DeviceProbe, ...]:
    """Which device it is that works or fails; nothing where there is the CPU alone, which was probed."""
    gpus = [str(device["name"]) for device in devices if "GPU" in str(device["kind"])]
    found = list[DeviceProbe]()
    for name in [*gpus, CPU] if gpus else []:
        path, device = scratch / f"probe-{len(found)}.gguf", NONE if name == CPU else name
        failure = _attempt(path, extra_buffers, threads, {}, device)
        found.append(DeviceProbe(name, failure.what, failure.log) if failure else DeviceProbe(name))
    return tuple(found)


def _attempt(
    path: Path, extra_buffers: bool, threads: int | None, facts: dict[str, Any], device: str | None = None
) -> Failure | None:
    """One probe in a child process, on all devices or one. `facts` takes what it learns of the library on the way."""
    stage = "loading llama.cpp"
    asked = (path, extra_buffers, threads, *([device] if device else []))
    try:
        for stage, found in in_child(SURVEY, *asked):  # noqa: B007 - the last one is told
            facts.update(found)
    except (LlamaError, EnvironmentProblem) as error:
        what = error.what if isinstance(error, NativeCrash) else str(error)
        signal = error.signal_name if isinstance(error, NativeCrash) else None
        return Failure(extra_buffers, f"while {stage}: {what}", signal, error.log)
    return None


def survey(
    path: Path, extra_buffers: bool, threads: int | None = None, device: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs in the child: (what comes next, facts found so far), before each step. Raises LlamaError."""
    try:
        from gemma_mtp.native import llama
    except (OSError, ImportError, AttributeError, RuntimeError) as error:
        raise EnvironmentProblem(f"{PACKAGE} cannot be loaded: {error}") from error
    from gemma_mtp.native.probe_model import write_probe_model

    facts = {
        "library": str(llama.library_path()),
        "build": llama.build_info(),
        "features": llama.features(),
        "devices": [asdict(one) for one in llama.devices()],
        "cards": [line.strip() for _, line in llama.LOG.lines if CARD in line],
    }
    yield "loading a model", facts
    write_probe_model(path)
    settings = ContextSettings(size=256, batch=max(BATCHES), outputs=1, threads=threads or min(4, available_cores()))
    with llama.Model(path, ModelSettings(extra_buffers=extra_buffers, device=device)) as model:
        for count in BATCHES:
            yield f"decoding {count} token{'s' * (count > 1)} in a batch", {}
            _check_batch(model, settings, count)


def _check_batch(model: Any, settings: ContextSettings, count: int) -> None:
    """Decode `count` tokens in one batch and one by one; the last rows must agree. Raises LlamaError."""
    import numpy as np

    from gemma_mtp.native.llama import Context

    tokens = [(37 * index) % model.vocabulary for index in range(count)]
    with Context(model, settings) as together, Context(model, settings) as single:
        together.decode(tokens, 0, 1)
        for position, token in enumerate(tokens):
            single.decode([token], position, 1)
        found, wanted = together.logits()[0], single.logits()[0]
        if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            raise LlamaError("llama_decode gave logits that are not finite")
        difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if difference > TOLERANCE:
            raise LlamaError(
                f"llama_decode gave other logits for a batch than for single tokens ({difference:.0%} off)"
            )


def installed() -> tuple[str, Path]:
    """Version of llama-cpp-python and the folder of its libraries. Raises EnvironmentProblem. Loads nothing."""
    spec = find_spec("llama_cpp")
    try:
        if spec is None or not spec.submodule_search_locations:
            raise PackageNotFoundError
        package = version(PACKAGE)
    except PackageNotFoundError:
        raise MissingExtra("runtime", feature="the Python loop") from None
    override = os.environ.get("LLAMA_CPP_LIB_PATH")
    return package, Path(override) if override else Path(spec.submodule_search_locations[0]) / "lib"


def gpu_driver() -> str:
    """The GPU driver as Linux tells it; empty where it tells nothing."""
    for file in DRIVERS:
        with suppress(OSError):
            return file.read_text(errors="replace").splitlines()[0].strip()
    return ""


def architectures(report: BackendReport) -> str:
    """The GPUs that this build has kernels for, in its numbers (900 is compute capability 9.0); empty if unknown."""
    return next((one.partition("ARCHS = ")[2] for one in report.features if "ARCHS = " in one), "")


def cpu_name() -> str:
    """The CPU's model name as the system tells it."""
    return _of_cpu("model name") or platform.processor() or platform.machine()


def _of_cpu(*names: str) -> str:
    """What Linux says of the first core under one of these names; empty if nothing."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(names):
                return line.partition(":")[2].strip()
    return ""


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again. GEMMA_MTP_CACHE overrides it.

    Raises EnvironmentProblem: a user without a home.
    """
    override = os.environ.get("GEMMA_MTP_CACHE")
    if override:
        return Path(override)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "gemma-mtp" / "Cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "gemma-mtp"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "gemma-mtp"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise EnvironmentProblem("this user has no home folder", hint="set HOME, or GEMMA_MTP_CACHE") from error


def cache_file() -> Path:
    """The report's file for this library on this CPU. Raises EnvironmentProblem if llama.cpp is not installed."""
    package, folder = installed()
    libraries = sorted(path for path in folder.glob("*") if path.is_file() and not path.is_symlink())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in libraries]
    flags = _of_cpu("flags", "Features")  # which a virtual machine may change under the same model name
    key = json.dumps([package, str(folder), stats, cpu_name(), flags, BATCHES])
    return cache_folder() / f"backend-{sha256(key.encode()).hexdigest()[:16]}.json"


def remembered() -> BackendReport | None:
    """The report of an earlier probe; None if there is none or its file cannot be understood."""
    try:
        content = read_json(cache_file())
        failures = tuple(Failure(**{**one, "log": tuple(one["log"])}) for one in content.pop("failures"))
        alone = tuple(DeviceProbe(**{**one, "log": tuple(one["log"])}) for one in content.pop("alone"))
        report = BackendReport(
            **{
                **content,
                "features": tuple(content["features"]),
                "devices": tuple(content["devices"]),
                "cards": tuple(content["cards"]),
            },
            failures=failures,
            alone=alone,
        )
    except (BadFileError, ValueError, TypeError, KeyError, AttributeError):
        return None
    # A failure is worth probing again: the machine may have been out of memory.
    return report if report.works is True and isinstance(report.extra_buffers, bool) else None
