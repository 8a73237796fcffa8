"""Build the sdist and the wheel, and type README's commands with the wheel alone, in an empty environment elsewhere.

    python tools/try_wheel.py                            # builds with this Python, tries with it
    python tools/try_wheel.py --python python3.12        # tries with another
    python tools/try_wheel.py --wheel dist/X.whl         # tries one that is built
    python tools/try_wheel.py --suite tests/files        # and runs tests of the sdist against the wheel
    python tools/try_wheel.py --extras dev --no-readme --suite "tests -m 'not slow'"

Nothing of the repository is imported by what is tried: the files that README names are made by the wheel's program
from the wheel's demo pair, and the repos that it names stand on a Hub on this machine (tests/helpers/local_hub).
Commands are shortened (few tokens, one thread). The suite is the sdist's, unpacked elsewhere and without its package,
so that what the tests and their children import can be the wheel's alone; with `--extras dev` nothing is skipped for
want of a package. Standard library alone; the package `build` if there is a wheel to be built.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 16_000_000  # bytes
EXTRAS = "serve,plot"
#: What the tests import beside the package's own dependencies; more of them run with the extra `dev`.
TESTERS = ("pytest", "pytest-timeout", "hypothesis", "jsonschema")
PACKAGE = "gemma_mtp"
#: What the wheel must hold beside the modules.
PAIR = f"{PACKAGE}/demo/pair"
CONTENT = (
    "gemma_mtp/py.typed",
    f"{PAIR}/SHA256SUMS",
    *(
        f"{PAIR}/{part}/{name}"
        for part in ("target", "assistant")
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    ),
)
#: And the sdist: what a distribution that runs the tests needs.
SOURCES = ("README.md", "LICENSE", "Makefile", "pyproject.toml", "noxfile.py", "tests/conftest.py", "docs/verify.md")

#: Appended to README's lines, by command.
SHORT = {
    "run": ("-n", "4", "-t", "1", "-c", "512"),
    "bench": ("-n", "2", "-r", "1", "-t", "1", "--category", "code"),
    "compare": ("-n", "2", "-r", "1", "-t", "1"),
    "quantize": ("-t", "1"),
    "convert": ("-t", "1"),
    "make": ("-t", "1"),
}
#: Commands whose line comes upon files that another line left.
OVERWRITING = ("convert", "quantize", "edit", "export", "bench", "make")
#: Words of a line -> why it is not typed here.
NOT_TYPED = {
    "adapt": "needs PyTorch, and minutes",
    "serve": "does not end by itself; started below",
    "--server": "asked of the server below",
    "ggml-org/gemma-4-26B-A4B-it-GGUF:Q4_K_M": "wants a target that is no demo",
    "...": "is to be filled in",
}
#: Words of a line that need the extra `runtime`, which is compiled: without it they say so and exit 3.
NEED_RUNTIME = ("--draft", "both")
#: Made by the wheel's program before the lines are typed: name -> part and type.
MADE = {
    "target.gguf": ("target", "Q8_0"),
    "gemma-4-31B-it-Q4_K_M.gguf": ("target", "Q4_K_M"),
    "target-Q4_K_M.gguf": ("target", "Q4_K_M"),
    "assistant.gguf": ("assistant", "Q8_0"),
    "mtp-target.gguf": ("assistant", "Q8_0"),
    "mtp-target-Q8_0.gguf": ("assistant", "Q8_0"),
    "mtp-BF16.gguf": ("assistant", "BF16"),
    "old.gguf": ("assistant", "Q8_0"),
    "new.gguf": ("assistant", "Q8_0"),
    "mtp-gemma-4-31B-it-Q8_0.gguf": ("assistant", "Q8_0"),
}
#: Word of a line -> what is typed before it: `export` takes results of its own pair alone.
BEFORE = {"--bench": "bench target.gguf mtp-target.gguf -o results.json"}
#: What `export --bench` says of a measurement, as short as here, by which no draft length paid: exit 2, and right.
NOT_WORTH_IT = "drafting does not pay here"
REPOS = ("google/gemma-4-26B-A4B-it-assistant", "google/gemma-4-31B-it-assistant", "google/gemma-4-E2B-it-assistant")
TOKEN = "hf_" + "w" * 34  # the local Hub's user who may write
JOBS = '[[job]]\nsource = "google/gemma-4-31B-it-assistant"\noutput = "out"\ntype = ["BF16"]\n'


class Trouble(Exception):
    """What was tried did not go as README says."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the empty environment")
    parser.add_argument("--wheel", type=Path, help="a wheel that is built already")
    parser.add_argument("--sdist", type=Path, help="its sdist, for --suite")
    parser.add_argument("--extras", default=EXTRAS, help=f"extras to install, empty for none (default: {EXTRAS})")
    parser.add_argument(
        "--suite", nargs="+", help="tests of the sdist to run against the wheel, options of pytest, too"
    )
    parser.add_argument("--no-readme", action="store_true", help="don't type README's commands")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gemma-mtp-wheel-") as folder:
        try:
            run(asked, Path(folder))
        except Trouble as trouble:
            sys.exit(f"FAILED: {trouble}")


def run(asked: argparse.Namespace, folder: Path) -> None:
    wheel, sdist = (asked.wheel, asked.sdist) if asked.wheel else build(folder / "dist")
    check_content(wheel, sdist)
    place = Environment.made(folder / "venv", asked.python, wheel.resolve(), asked.extras)
    say(f"{wheel.name}[{asked.extras}] under {place.output('python', '--version')}")
    if not asked.no_readme:
        try_readme(place, folder, asked.extras)
    if asked.suite:
        if sdist is None:
            raise Trouble("--suite needs --sdist beside --wheel")
        run_suite(place, sdist, folder / "source", asked.suite)


def try_readme(place: Environment, folder: Path, extras: str) -> None:
    shelf = folder / "a folder elsewhere"
    shelf.mkdir()
    with hub(folder / "hub", place) as address:
        prepare(place, shelf, bool(extras))
        type_readme(place, shelf, address, extras)
    if has(extras, "serve"):
        try_server(place, shelf)


def has(extras: str, name: str) -> bool:
    """Whether an extra is among those that are installed. `dev` has all of them."""
    return bool({name, "dev"} & set(extras.split(",")))


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel, made from the sdist, and the sdist."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def check_content(wheel: Path, sdist: Path | None) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gemma_mtp").rglob("*.py")}
    missing = sorted((modules | set(CONTENT)) - names)
    foreign = sorted(name for name in names if not re.match(r"gemma_mtp(-[\w.+]+\.dist-info)?/", name))
    if missing or foreign:
        raise Trouble(f"{wheel.name} lacks {missing[:5]} and has {foreign[:5]}")
    if wheel.stat().st_size >= LIMIT:
        raise Trouble(f"{wheel.name} has {wheel.stat().st_size:,} bytes, {LIMIT:,} are too many")
    say(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(names)} files")
    if sdist is not None:
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        if lacking := sorted({*CONTENT, *SOURCES} - inside):
            raise Trouble(f"{sdist.name} lacks {lacking}")
        say(f"{sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB, {len(inside)} files")


@dataclass(frozen=True)
class Environment:
    """A virtual environment that has the wheel and nothing of the repository."""

    folder: Path
    variables: Mapping[str, str]

    @classmethod
    def made(cls, folder: Path, python: str, wheel: Path, extras: str) -> Environment:
        subprocess.run([python, "-m", "venv", folder], check=True)
        programs = folder / ("Scripts" if os.name == "nt" else "bin")
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        home = folder.parent / "home"
        variables = {
            **kept,
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
            "VIRTUAL_ENV": str(folder),
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "GEMMA_MTP_CACHE": str(home / "cache"),
        }
        environment = cls(folder, variables)
        wanted = f"{wheel}[{extras}]" if extras else str(wheel)
        environment.call(["python", "-m", "pip", "install", "--quiet", wanted], folder.parent)
        return environment

    def call(
        self, words: Sequence[str], folder: Path, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A program of the environment, where it stands first on the path. Raises Trouble unless it exits 0."""
        done = self.started(words, folder, more)
        if done.returncode:
            raise Trouble(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return done

    def started(
        self, words: Sequence[str], folder: Path, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        program = shutil.which(words[0], path=self.variables["PATH"])
        command, variables = [program or words[0], *words[1:]], {**self.variables, **(more or {})}
        return subprocess.run(
            command, cwd=folder, env=variables, input="Hello\n", capture_output=True, text=True, check=False
        )

    def output(self, *words: str) -> str:
        return self.call(words, self.folder.parent).stdout.strip()

    @property
    def pair(self) -> Path:
        return Path(self.output("python", "-c", "from gemma_mtp.demo.pair import PAIR; print(PAIR)"))


def hub(folder: Path, place: Environment):  # type: ignore[no-untyped-def]  # a context manager of the tests' helpers
    """A Hub on this machine with the repos that README names, which hold the wheel's demo pair."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.local_hub.stub import HubStub

    class Hub(HubStub):
        def __enter__(self):  # type: ignore[no-untyped-def]
            super().__enter__()
            for user in self.tokens.values():
                user["orgs"] = [*user["orgs"], "me"]
            for repo in REPOS:
                self.make_repo(repo)
                for path in (place.pair / "assistant").iterdir():
                    self.add_file(repo, path.name, path.read_bytes())
            return self.endpoint

    return Hub(folder)


def prepare(place: Environment, shelf: Path, quantized: bool) -> None:
    """The files that README names. Without an engine's kernels all of them are BF16."""
    source = (ROOT / "tests" / "helpers" / "chat_templates.py").read_text(encoding="utf-8")
    (shelf / "chat_template.jinja").write_text(source.split('"""\\\n')[1].split('"""')[0].replace("\\\\", "\\"))
    (shelf / "jobs.toml").write_text(JOBS)
    shutil.copytree(place.pair / "assistant", shelf / "gemma-4-E2B-it-assistant")
    for name, (part, kind) in MADE.items():
        words = ["convert", str(place.pair / part), "--type", kind if quantized else "BF16", "-o", name]
        place.call(["gemma-mtp", *words], shelf)
    words = ["edit", "target.gguf", "-o", "templated.gguf", "--chat-template", "chat_template.jinja"]
    place.call(["gemma-mtp", *words], shelf)
    (shelf / "templated.gguf").replace(shelf / "target.gguf")
    words = ["convert", "assistant.gguf", "--dialect", "atomic", "-o", "old-atomic-assistant.gguf"]
    place.call(["gemma-mtp", *words], shelf)


def type_readme(place: Environment, shelf: Path, address: str, extras: str) -> None:
    """Every command of README's blocks. Raises Trouble."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    online = {"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    place.call(["gemma-mtp", "--help"], shelf)
    place.call(["python", "-m", "gemma_mtp", "help", "verify"], shelf)
    for row in re.findall(r"^    (gemma-mtp .*)$", text, re.MULTILINE):
        words = shlex.split(row, comments=True)
        reason = next((why for word, why in NOT_TYPED.items() if word in words), "")
        if reason:
            say(f"  not typed  {row.split('  ')[0]}: {reason}")
            continue
        first = next((line for word, line in BEFORE.items() if word in words), "")
        if first and not extras:
            say(f"  not typed  {row.split('  ')[0]}: after `gemma-mtp {first}`, which needs an engine")
            continue
        if first:
            place.call(typed(["gemma-mtp", *first.split()], shelf), shelf)
        done = place.started(typed(words, shelf), shelf, online)
        judge(row.split("  ")[0], words, done, extras)


def typed(words: Sequence[str], shelf: Path) -> list[str]:
    """A line of README as it is typed here: patterns filled in, made short, over files that it left before."""
    command = "compare" if "--compare" in words else words[1]
    found = [
        match
        for word in words
        for match in (sorted(glob.glob(word, root_dir=shelf)) if ".gguf" in word else []) or [word]
    ]
    if command == "push":  # one type a file: what other lines left behind is of the same name
        found = [word for word in words if ".gguf" not in word]
        found[2:2] = ["mtp-gemma-4-31B-it-Q8_0.gguf"]
    over = ("--force",) if command in OVERWRITING and "--list" not in words else ()
    short = () if "--list" in words else SHORT.get(command, ())
    return [*found, *short, *over]


def judge(row: str, words: Sequence[str], done: subprocess.CompletedProcess[str], extras: str) -> None:
    """Raises Trouble unless the line did what it is for, or said which extra it needs."""
    lacks = not extras or (not has(extras, "runtime") and any(word in words for word in NEED_RUNTIME))
    if "Traceback" in done.stderr:
        raise Trouble(f"{row}\n{done.stderr[-2000:]}")
    if done.returncode == 2 and "--bench" in words and NOT_WORTH_IT in done.stderr:
        say(f"  says that nothing pays  {row}")
    elif done.returncode == 3 and lacks and "pip install" in done.stderr:
        say(f"  says what it needs  {row}")
    elif done.returncode:
        raise Trouble(f"{row}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    else:
        say(f"  works  {row}")


def try_server(place: Environment, shelf: Path) -> None:
    """`serve`, and what `verify --server` says of it."""
    words = ["gemma-mtp", "serve", "target.gguf", "assistant.gguf", "--draft-max", "3", "--port", "0", "-c", "512"]
    program = shutil.which("gemma-mtp", path=place.variables["PATH"])
    with subprocess.Popen(
        [str(program), *words[1:], "-t", "1"],
        cwd=shelf,
        env=dict(place.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            place.call(["gemma-mtp", "verify", "--server", address], shelf)
            say("  works  gemma-mtp serve, verify --server")
        finally:
            server.terminate()


def run_suite(place: Environment, sdist: Path, folder: Path, tests: Sequence[str]) -> None:
    """Tests of the sdist, from which the package is taken away. Raises Trouble."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    root = next(folder.iterdir())
    shutil.rmtree(root / PACKAGE)
    place.call(["python", "-m", "pip", "install", "--quiet", *TESTERS], root)
    check_origin(place, root)
    words = [word for one in tests for word in shlex.split(one)]
    program = shutil.which("python", path=place.variables["PATH"])
    done = subprocess.run(
        [str(program), "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=root,
        env=dict(place.variables),
        check=False,
    )
    if done.returncode:
        raise Trouble(f"the suite: exit code {done.returncode}")


def check_origin(place: Environment, root: Path) -> None:
    """Raises Trouble unless what a test would import, and a child of it elsewhere, is the wheel's."""
    for folder in (root, root.parent):
        found = Path(
            place.call(["python", "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"], folder).stdout.strip()
        )
        if not found.is_relative_to(place.folder):
            raise Trouble(f"the tests would import {found}, which is not the wheel's")
    say(f"tests of {root.name} import {found.parent}")


def say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    main()
