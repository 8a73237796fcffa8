"""Kill a command at random times, again and again, and look at what is left.

    python tools/kill_often.py --times 100 convert quantize make push adapt
    python tools/kill_often.py --times 100 --seed 7 --rest 10 adapt

After each SIGKILL (of the process alone, or of its children too) every file under a final name must pass
`gemma-mtp verify`, a repo of the local Hub must hold either nothing or all of its files, and no child may live on;
after every `--rest` kills the command runs to its end, which must succeed, give the same files as an undisturbed run,
and leave nothing unfinished behind. It needs what the tests need (`pip install ".[dev]"`), and prints a line a command.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from helpers.left_behind import assert_sound, contents, fresh, unfinished  # noqa: E402
from helpers.local_hub.fixtures import WRITE_TOKEN  # noqa: E402
from helpers.local_hub.stub import HubStub  # noqa: E402

from gemma_mtp.convert import Output, convert_checkpoint  # noqa: E402
from gemma_mtp.demo.pair import PAIR  # noqa: E402
from gemma_mtp.files.gguf_reader import GGUFFile  # noqa: E402
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan  # noqa: E402

#: Seconds within which the children of a killed process must be gone.
ORPHANS_END = 60
REPO = "alice/killed-GGUF"
#: A folder that PyTorch makes among temporary ones, once for a user, and keeps.
TORCHS_OWN = "torchinductor_"
COMMANDS = {
    "convert": "convert checkpoint --type BF16 --type Q8_0 --type Q4_K_M --threads 1 --force",
    "quantize": "quantize mtp-demo-BF16.gguf Q8_0 IQ4_XS Q3_K_S draft-q4 --threads 1 --force",
    "make": "make checkpoint --type BF16 --type Q4_0 --type Q4_K_M -o made --threads 1",
    "push": f"push mtp-demo-BF16.gguf mtp-demo-Q8_0.gguf --repo {REPO} --collection Drafters",
    "adapt": "adapt target-Q8_0.gguf misfit-BF16.gguf --text functions.jsonl -o mtp-adapted-Q8_0.gguf "
    "--signals signals --tokens 2k --held-out 0.2 --length 200 --openings 6 --continuation 24 -t 1 --force",
}


@dataclass
class Place:
    """Where a command works, with what, and the Hub that it talks to."""

    sources: Path
    work: Path
    hub: HubStub
    words: list[str]

    def environment(self) -> dict[str, str]:
        home = str(self.work.parent / "home")
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOME": home,
            "HF_HOME": home,
            "TMPDIR": str(self.work.parent / "tmp"),
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_TOKEN": WRITE_TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gemma_mtp", *self.words],
            cwd=self.work,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def whole(self) -> float:
        """A run to its end; its seconds."""
        begin = time.monotonic()
        process = self.start()
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return time.monotonic() - begin


def sources_in(folder: Path) -> Path:
    folder.mkdir()
    shutil.copytree(PAIR / "assistant", folder / "checkpoint")
    convert_checkpoint(PAIR / "target", [Output(folder / "target-Q8_0.gguf", "Q8_0")])
    convert_checkpoint(
        PAIR / "assistant", [Output(folder / f"mtp-demo-{kind}.gguf", kind) for kind in ("BF16", "Q8_0")]
    )
    _misfit(folder / "mtp-demo-BF16.gguf", folder / "misfit-BF16.gguf")
    import json

    from helpers.lessons import DOCUMENTS

    lines = (json.dumps({"text": document.text}) for document in DOCUMENTS)
    (folder / "functions.jsonl").write_text("\n".join(lines))
    return folder


def _misfit(source: Path, path: Path) -> None:
    """The assistant with its first projection disturbed, so that `adapt` has something to gain."""
    with GGUFFile(source) as file:
        plans = [TensorPlan(one.name, one.shape, one.type) for one in file.tensors.values()]
        with GGUFWriter(path, file.metadata, plans) as writer:
            for tensor in file.tensors.values():
                data = file.data(tensor)
                if tensor.name == "nextn.pre_projection.weight":
                    numbers = (data.view("<u2").astype("<u4") << 16).view("<f4")
                    noise = np.random.default_rng(2).standard_normal(len(numbers), np.float32)
                    data = ((numbers + 2.5 * numbers.std() * noise).view("<u4") >> 16).astype("<u2").view(np.uint8)
                writer.write_next([data.data])


def living(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def kill(process: subprocess.Popen[str], alone: bool) -> None:
    """SIGKILL the process, or all of its session; then its children must end by themselves."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL) if alone else os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    end = time.monotonic() + ORPHANS_END
    while living(process.pid):
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError("a child outlives its killed parent")
        time.sleep(0.02)


def assert_hub_sound(place: Place) -> None:
    """Nothing, or all of it, and each file whole."""
    repo = place.hub.repos.get(REPO)
    tree = repo["commits"][-1]["tree"] if repo and repo["commits"] else {}
    pushed = {name for name in tree if name.endswith(".gguf")}
    wanted = {word for word in place.words if word.endswith(".gguf")}
    assert not pushed or pushed == wanted, pushed
    for name in pushed:
        assert place.hub.blob_path(tree[name]["sha"]).read_bytes() == (place.sources / name).read_bytes()


def kill_often(name: str, times: int, seed: int, rest: int, folder: Path) -> str:
    """What came of it, in a line. Raises AssertionError for what must not be."""
    choose = random.Random(f"{name} {seed}")
    (folder / "tmp").mkdir()
    with HubStub(folder / "hub") as hub:
        place = Place(sources_in(folder / "sources"), folder / "work", hub, COMMANDS[name].split())
        fresh(place.sources, place.work)
        seconds = place.whole()
        wanted = contents(place.work)
        early = 0
        for number in range(times):
            if number % rest == 0:
                fresh(place.sources, place.work)
                hub.repos.clear()
                hub.collections.clear()
            process = place.start()
            with suppress(subprocess.TimeoutExpired):
                process.wait(choose.uniform(0, seconds))
                early += 1
            kill(process, alone=choose.random() < 0.5)
            assert_sound(place.work)
            assert_hub_sound(place)
            if (number + 1) % rest == 0:
                seconds = (seconds + place.whole()) / 2
                check_end(name, place, wanted)
                print(f"{name}: {number + 1} of {times}, sound so far", file=sys.stderr, flush=True)
    return f"{name}: killed {times - early} times of {times} ({early} had ended before), seed {seed}: all sound"


def check_end(name: str, place: Place, wanted: dict[str, str]) -> None:
    found = contents(place.work)
    if name == "adapt":  # a recording goes on where it ended, and its shards are others then
        assert {file for file in found if "/" not in file} == {file for file in wanted if "/" not in file}
    else:
        assert found == wanted, (found, wanted)
    assert not unfinished(place.work), unfinished(place.work)
    left = [path for path in (place.work.parent / "tmp").iterdir() if not path.name.startswith(TORCHS_OWN)]
    assert not left, left
    assert_hub_sound(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="+", choices=[*COMMANDS], metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rest", type=int, default=1, help="kills between two runs to the end")
    options = parser.parse_args()
    for name in options.commands:
        with tempfile.TemporaryDirectory() as folder:
            print(kill_often(name, options.times, options.seed, options.rest, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
