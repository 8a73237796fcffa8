"""Memory and processor time of each command at full size: the 26B-A4B's assistant, a target of 27 GB, 262,144 tokens.

    python benchmarks/limits.py [--folder FOLDER] [COMMAND ...]

Each command runs in a process of its own. Memory is its peak beside what `--help` takes, as a ratio to the size of what
it reads (of the target, which is a hole but for its header, to that header's size); time is processor time, user and
system, beside that of `--help`, as a ratio to reading the same files once. The assistant's checkpoint has random
weights and the official shapes. 4 GB of disk are needed in the folder, where the inputs stay.

Bounds that must hold, else the exit code is 1: no command that reads headers takes more than 12 times the header, and
none that reads data takes more memory than 60% of the file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from full_size import make_checkpoint

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from helpers.real_shapes import SHAPE_26B, write_hollow  # noqa: E402

from gemma_mtp.files.gguf_reader import GGUFFile  # noqa: E402

MB = 1e6
HEADER, DATA = "header", "data"
#: The most memory of each kind of command, as a ratio to what it reads.
BOUNDS = {HEADER: 12.0, DATA: 0.6}
#: Name -> the command's words, whether it reads headers or data, and the files that it reads.
COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "convert": ("convert checkpoint -o out.gguf --type BF16 --force -t 1", DATA, ("checkpoint/model.safetensors",)),
    "convert, 3 types": (
        "convert checkpoint --type BF16 --type Q8_0 --type Q4_0 --force -t 1",
        DATA,
        ("checkpoint/model.safetensors",),
    ),
    "quantize": ("quantize mtp-BF16.gguf out.gguf Q4_K_M --force -t 1", DATA, ("mtp-BF16.gguf",)),
    "respell": ("convert mtp-BF16.gguf -o out.gguf --dialect atomic --force", DATA, ("mtp-BF16.gguf",)),
    "edit": ("edit mtp-BF16.gguf -o out.gguf --set general.name=x --force", DATA, ("mtp-BF16.gguf",)),
    "verify --deep": ("verify mtp-BF16.gguf --deep", DATA, ("mtp-BF16.gguf",)),
    "diff": ("diff mtp-BF16.gguf mtp-BF16.gguf", DATA, ("mtp-BF16.gguf",)),
    "make": ("make checkpoint --type BF16 --type Q8_0 -o made --force -t 1", DATA, ("checkpoint/model.safetensors",)),
    "verify": ("verify target.gguf mtp-BF16.gguf", HEADER, ("target.gguf", "mtp-BF16.gguf")),
    "fit": ("fit target.gguf mtp-BF16.gguf --vram 24GB --ctx 131072", HEADER, ("target.gguf", "mtp-BF16.gguf")),
    "inspect": ("inspect target.gguf", HEADER, ("target.gguf",)),
    "inspect --tensors": ("inspect target.gguf --tensors --json", HEADER, ("target.gguf",)),
    "export": ("export llama-server target.gguf mtp-BF16.gguf", HEADER, ("target.gguf", "mtp-BF16.gguf")),
}


@dataclass(frozen=True)
class Cost:
    """Peak memory in bytes, processor seconds, exit code."""

    memory: int
    seconds: float
    code: int


#: Starts a command from a small process: until it is replaced, a new process counts as large as its parent.
LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(used.ru_maxrss * 1024, used.ru_utime + used.ru_stime, os.waitstatus_to_exitcode(status))
"""


def cost(words: list[str], folder: Path) -> Cost:
    """What a process of its own takes."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-c", LAUNCH, sys.executable, "-m", "gemma_mtp", *words]
    said = subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout
    memory, seconds, code = said.split()
    return Cost(int(memory), float(seconds), int(code))


def sizes(names: tuple[str, ...], kind: str, folder: Path) -> int:
    """Bytes of what is read."""
    total = 0
    for name in names:
        if kind == DATA:
            total += (folder / name).stat().st_size
            continue
        with GGUFFile(folder / name) as file:
            total += file.header.data_start
    return total


def reading(count: int) -> float:
    """Processor seconds for reading so many bytes once, of a file that is in the page cache."""
    room = bytearray(1 << 20)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(64 << 20))
        file.flush()
        begin = time.process_time()
        done = 0
        while done < min(count, 1 << 30):
            file.seek(done % (64 << 20))
            done += file.readinto(room)
    return (time.process_time() - begin) * max(1.0, count / max(done, 1)) if done else 1e-9


def prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    make_checkpoint("26B-A4B", folder / "checkpoint")
    if not (folder / "target.gguf").exists():
        write_hollow(folder / "target.gguf", SHAPE_26B, "Q8_0")
    if not (folder / "mtp-BF16.gguf").exists():
        assert cost(["convert", "checkpoint", "-o", "mtp-BF16.gguf", "--type", "BF16"], folder).code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "gemma-mtp-full-size")
    options = parser.parse_args()
    prepare(options.folder)
    bare = cost(["--help"], options.folder)
    print(f"--help: {bare.memory / MB:,.0f} MB, {bare.seconds:.2f} s")
    print(f"{'':18} {'reads':>10} {'memory':>9} {'':>7} {'time':>8} {'':>7}")
    kept = True
    for name in options.commands:
        words, kind, files = COMMANDS[name]
        size, found = sizes(files, kind, options.folder), cost(words.split(), options.folder)
        memory, seconds = max(0, found.memory - bare.memory), max(0.0, found.seconds - bare.seconds)
        ratio = memory / size
        kept &= ratio <= BOUNDS[kind]
        mark = "" if ratio <= BOUNDS[kind] else f"  more than {BOUNDS[kind]:g}x"
        print(
            f"{name:18} {size / MB:7,.0f} MB {memory / MB:6,.0f} MB {ratio:6.2f}x {seconds:6.2f} s"
            f" {seconds / reading(size):6.1f}x  exit code {found.code}{mark}",
            flush=True,
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
