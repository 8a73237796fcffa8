"""The main job, end to end, as a user runs it."""

from __future__ import annotations

from helpers.commands import command
from helpers.schemas import checked

#: A user's demo takes a minute: three times everything, on a target that is eight times as heavy.
SMALL = "from gemma_mtp.demo import demo; demo.REPEATS, demo.INERT_LAYERS = 1, 8"


def test_demo_command(tmp_path):
    """Every step is done, the pair is verified, drafting changes nothing, and most drafts are accepted."""
    done = command("demo", "--json", "--threads", "1", "--keep", tmp_path, before=SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    result = checked(done.stdout)
    assert result["identical_output"] is True
    assert result["verified"] is True
    assert result["acceptance"] >= 0.65
    assert result["heavy_speedup"] > 0
    assert [step["title"] for step in result["steps"]] == [
        *("convert", "quantize", "verify", "run", "make heavier", "run heavier"),
    ]
    made = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert made == {name: size for step in result["steps"] for name, size in step["files"].items()}
