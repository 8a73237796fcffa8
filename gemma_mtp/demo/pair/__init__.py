"""The trained demo pair: two ordinary Hugging Face checkpoints (see TRAINING.md), shipped as package data."""

from pathlib import Path

#: The folder with `target/` and `assistant/`.
PAIR = Path(__file__).parent
