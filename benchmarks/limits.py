"""Memory, processor time and bytes read of each command at full size: the 26B-A4B's assistant (839 MB), a target of 27
GB, 262,144 tokens.

    python benchmarks/limits.py [--folder FOLDER] [--table] [COMMAND ...]

Each command runs in a process of its own; all is told beside what `--help` takes. What is read and the memory are
ratios to the size of what the command is for: of a pair that is looked at, to the headers (the target is a hole behind
its header), else to the files. Time is processor time, user and system, children included, as a ratio to reading as
many bytes once. The assistant's checkpoint has random weights and the official shapes; what is decoded with is the demo
pair, because no target of full size fits a test machine. 5 GB of disk are needed in the folder, where the inputs stay.

Bounds that must hold, else the exit code is 1, as it is where a command fails: see `BOUNDS`.

--table: Markdown, as docs/platforms.md has it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from full_size import make_checkpoint

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from helpers.hub_checkpoints import add_checkpoint  # noqa: E402
from helpers.local_hub.fixtures import WRITE_TOKEN  # noqa: E402
from helpers.local_hub.stub import HubStub  # noqa: E402
from helpers.real_shapes import SHAPE_26B, write_hollow  # noqa: E402

from gemma_mtp.demo.pair import PAIR  # noqa: E402
from gemma_mtp.files.gguf_reader import GGUFFile  # noqa: E402

MB = 1e6
#: `full_size` gives its assistant as many key heads in all layers.
SHAPE = replace(SHAPE_26B, kv_heads_full=SHAPE_26B.kv_heads_sliding)


@dataclass(frozen=True)
class Bound:
    """The most that a kind of command may take, as ratios to what it is for. None: only told."""

    read: float | None
    memory: float | None


HEADER, DATA, TEXT, TINY = "header", "data", "text", "tiny"
BOUNDS = {
    HEADER: Bound(4.0, 8.0),  # a header, once more when its length is known, and a sample of the weights
    DATA: Bound(
        5.0, 0.6
    ),  # never a file in memory; once from the disk, and out of the page cache for each type and hash
    TEXT: Bound(1.5, 0.6),
    TINY: Bound(None, None),  # files so small that llama.cpp and numpy are all there is
}


@dataclass(frozen=True)
class Row:
    """A command: its words, its kind, the files that it is for, and its exit code."""

    words: str
    kind: str
    files: tuple[str, ...]
    code: int = 0


CHECKPOINT, BF16, Q8_0, TARGET = "checkpoint/model.safetensors", "mtp-26B-BF16.gguf", "mtp-26B-Q8_0.gguf", "target.gguf"
PAIR_FILES, TINY_FILES = (TARGET, BF16), ("tiny.gguf", "mtp-tiny-BF16.gguf")
_DATA, _HEADERS, _TINY = (DATA, (BF16,)), (HEADER, PAIR_FILES), (TINY, TINY_FILES)
COMMANDS = {
    "convert": Row("convert checkpoint -o out.gguf --type BF16 --force -t 1", DATA, (CHECKPOINT,)),
    "convert, 3 types": Row("convert checkpoint --type BF16 --type Q8_0 --type Q4_0 --force -t 1", DATA, (CHECKPOINT,)),
    "convert --dialect": Row(f"convert {BF16} -o out.gguf --dialect atomic --force", *_DATA),
    "quantize": Row(f"quantize {BF16} out.gguf Q4_K_M --force -t 1", *_DATA),
    "quantize, 3 types": Row(f"quantize {BF16} Q8_0 Q4_0 draft-q4 --force -t 1", *_DATA),
    "quantize --list": Row(f"quantize --list {BF16}", HEADER, (BF16,)),
    "edit": Row(f"edit {BF16} -o out.gguf --set general.name=x --force", *_DATA),
    "diff": Row(f"diff {BF16} out.gguf", DATA, (BF16, "out.gguf"), 1),  # what edit made: another name, the same bytes
    "make": Row("make checkpoint --type BF16 --type Q8_0 -o made --force -t 1", DATA, (CHECKPOINT,)),
    "make, done already": Row("make checkpoint --type BF16 --type Q8_0 -o made -t 1", DATA, (CHECKPOINT,)),
    "make --dry-run": Row("make checkpoint --type Q4_0 -o other --dry-run", DATA, (CHECKPOINT,)),
    "push --dry-run": Row(f"push {BF16} {Q8_0} --repo alice/x --dry-run", DATA, (BF16, Q8_0)),
    "push --dry-run --from": Row(f"push {Q8_0} --repo alice/x --from {BF16} --dry-run", DATA, (Q8_0, BF16)),
    "verify --deep": Row(f"verify {BF16} --deep", *_DATA),
    "verify --from": Row(f"verify {Q8_0} --from {BF16}", DATA, (Q8_0, BF16)),
    "verify --from checkpoint": Row(f"verify {Q8_0} --from checkpoint", DATA, (Q8_0, CHECKPOINT)),
    "verify, one file": Row(f"verify {BF16}", HEADER, (BF16,)),
    "verify, the target": Row(f"verify {TARGET}", HEADER, (TARGET,)),
    "verify": Row(f"verify {TARGET} {BF16}", *_HEADERS),
    "verify --strict --all": Row(f"verify {TARGET} {BF16} --strict --all --json", *_HEADERS, 1),
    "verify, a checkpoint": Row(f"verify {TARGET} checkpoint", HEADER, (TARGET, "checkpoint/tokenizer.json")),
    "fit": Row(f"fit {TARGET} {BF16} --vram 40GB --ctx 131072", *_HEADERS),
    "fit, too small": Row(f"fit {TARGET} {BF16} --vram 16GB --ctx 131072", *_HEADERS, 1),
    "inspect": Row(f"inspect {TARGET}", HEADER, (TARGET,)),
    "inspect --tensors": Row(f"inspect {TARGET} --tensors --json", HEADER, (TARGET,)),
    "inspect KEY": Row(f"inspect {TARGET} tokenizer.ggml.tokens", HEADER, (TARGET,)),
    "export": Row(f"export llama-server {TARGET} {BF16}", *_HEADERS),
    "adapt --dry-run": Row(f"adapt {TARGET} {BF16} --text words.txt --dry-run", *_HEADERS),
    "explain": Row("explain server.log", TEXT, ("server.log",)),
    "doctor": Row("doctor -t 1", *_TINY),
    "run": Row("run tiny.gguf mtp-tiny-BF16.gguf -p def -n 32 -t 1 -c 512", *_TINY),
    "bench": Row("bench tiny.gguf mtp-tiny-BF16.gguf -n 8 -r 1 -t 1 --category code", *_TINY),
    "verify --run": Row("verify tiny.gguf mtp-tiny-BF16.gguf --run -n 16 -t 1", *_TINY),
    "imatrix": Row("imatrix tiny.gguf mtp-tiny-BF16.gguf --text words.txt --tokens 2k -t 1 --force", *_TINY),
}


@dataclass(frozen=True)
class Cost:
    """Peak memory and bytes read, processor seconds, exit code."""

    memory: int
    read: int
    seconds: float
    code: int


#: Starts a command from a small process: until it is replaced, a new process counts as large as its parent. Between its
#: end and our hearing of it the system still says what it and its children have read.
LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=open("said.txt", "w"))
os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
read = open(f"/proc/{process.pid}/io").readline().split()[1]
_, status, used = os.wait4(process.pid, 0)
print(used.ru_maxrss * 1024, read, used.ru_utime + used.ru_stime, os.waitstatus_to_exitcode(status))
"""


def cost(words: list[str], folder: Path, endpoint: str = "") -> Cost:
    """What a process of its own takes."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "HF_HOME": str(folder / "home")}
    variables |= (
        {"HF_ENDPOINT": endpoint, "HF_TOKEN": WRITE_TOKEN, "NO_PROXY": "127.0.0.1,localhost"} if endpoint else {}
    )
    command = [sys.executable, "-S", "-c", LAUNCH, sys.executable, "-m", "gemma_mtp", *words]
    said = subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout
    memory, read, seconds, code = said.split()
    return Cost(int(memory), int(read), float(seconds), int(code))


def size_of(row: Row, folder: Path) -> int:
    """Bytes of what the command is for."""
    total = 0
    for path in (folder / name for name in row.files):
        if row.kind != HEADER or path.suffix != ".gguf":
            total += path.stat().st_size
            continue
        with GGUFFile(path) as file:
            total += file.header.data_start
    return total


def reading(count: int) -> float:
    """Processor seconds for reading so many bytes once, of a file that is in the page cache."""
    room = bytearray(1 << 20)
    most = max(min(count, 1 << 30), 64 << 20)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(64 << 20))
        file.flush()
        begin, done = time.process_time(), 0
        while done < most:
            file.seek(done % (64 << 20))
            done += file.readinto(room)
    return (time.process_time() - begin) * count / done


def write_target(folder: Path) -> None:
    """A hole with the header of a target for the assistant: its tokenizer, its rope factors.

    Every other tensor (F32 or Q8_0) has a number that is not zero: zeros alone are looked at to their end.
    """
    with GGUFFile(folder / BF16) as drafter:
        keys = {key: value for key, value in drafter.metadata.items() if key.startswith("tokenizer.")}
        factors = drafter.data(drafter.tensors["rope_freqs.weight"]).tobytes()
    write_hollow(folder / TARGET, SHAPE, "Q8_0", keys)
    with GGUFFile(folder / TARGET) as file, (folder / TARGET).open("r+b") as target:
        for tensor in file.tensors.values():
            target.seek(tensor.offset)
            target.write(factors if tensor.name == "rope_freqs.weight" else b"\x00\x3c\x01\x01")


def prepare(folder: Path) -> None:
    """The inputs; nothing is done for those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    make_checkpoint("26B-A4B", folder / "checkpoint")
    (folder / "words.txt").write_text(
        "\n---\n".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
    )
    lines = "slot update: id 0 | task 17 | n_past = 4711, n_tokens = 99, progress = 0.5\n" * 800_000
    (folder / "server.log").write_text(f"{lines}Gemma4Assistant requires ctx_other to be set\n")
    made = {BF16: f"checkpoint --type BF16 -o {BF16}", Q8_0: f"checkpoint --type Q8_0 -o {Q8_0}"}
    made |= {"tiny.gguf": f"{PAIR / 'target'} --type Q8_0 -o tiny.gguf"}
    made |= {"mtp-tiny-BF16.gguf": f"{PAIR / 'assistant'} --type BF16 -o mtp-tiny-BF16.gguf"}
    for name, words in made.items():
        if not (folder / name).exists():
            assert cost(["convert", *words.split(), "-t", "1"], folder).code == 0, (folder / "said.txt").read_text()
    if not (folder / TARGET).exists():
        write_target(folder)


@dataclass(frozen=True)
class Line:
    """What a command took beside `--help`, and what is wrong with that."""

    name: str
    size: int
    read: int
    memory: int
    seconds: float
    slower: float
    faults: tuple[str, ...]

    def text(self) -> str:
        return (
            f"{self.name:24} {self.size / MB:7,.0f} MB {self.read / self.size:6.2f}x {self.memory / MB:6,.0f} MB"
            f" {self.memory / self.size:6.2f}x {self.seconds:7.2f} s {self.slower:7.1f}x  {'; '.join(self.faults)}"
        ).rstrip()

    def row(self) -> str:
        return (
            f"| {self.name} | {self.size / MB:,.0f} MB | {self.read / self.size:.2f}x | {self.memory / MB:,.0f} MB, "
            f"{self.memory / self.size:.2f}x | {self.seconds:.1f} s, {self.slower:.1f}x |"
        )


def measured(name: str, bare: Cost, folder: Path, endpoint: str) -> Line:
    row = COMMANDS[name]
    size, found = size_of(row, folder), cost(row.words.split(), folder, endpoint)
    read, memory = max(0, found.read - bare.read), max(0, found.memory - bare.memory)
    seconds = max(0.0, found.seconds - bare.seconds)
    bound = BOUNDS[row.kind]
    pairs = (("read", read / size, bound.read), ("memory", memory / size, bound.memory))
    faults = [f"{what} more than {most:g}x" for what, ratio, most in pairs if most is not None and ratio > most]
    if found.code != row.code:
        faults.append(f"exit code {found.code}: {(folder / 'said.txt').read_text()[-300:].strip()}")
    return Line(name, size, read, memory, seconds, seconds / reading(size), tuple(faults))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "gemma-mtp-full-size")
    parser.add_argument("--table", action="store_true", help="Markdown")
    options = parser.parse_args()
    prepare(options.folder)
    bare = cost(["--help"], options.folder)
    print(f"--help: {bare.memory / MB:,.0f} MB, {bare.read / MB:,.0f} MB read, {bare.seconds:.2f} s")
    print(f"{'':24} {'is for':>10} {'reads':>7} {'memory':>9} {'':>7} {'time':>9}")
    kept = True
    with HubStub(options.folder / "hub") as hub:
        add_checkpoint(hub, "google/gemma-4-26B-A4B-it-assistant")
        for name in options.commands:
            line = measured(name, bare, options.folder, hub.endpoint)
            kept &= not line.faults
            print(line.row() if options.table else line.text(), flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
