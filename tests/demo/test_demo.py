"""The main job, end to end, as a user runs it."""

from __future__ import annotations

from helpers.commands import command
from helpers.schemas import checked


def test_demo_command(tmp_path):
    """Every step is done, the pair is verified, drafting changes nothing, and most drafts are accepted."""
    done = command("demo", "--json", "--threads", "1", "--keep", tmp_path)
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
