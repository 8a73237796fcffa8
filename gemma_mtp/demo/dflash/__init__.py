"""A trained DFlash drafter for the demo pair's target: an ordinary checkpoint in z-lab's layout (see TRAINING.md)."""

from pathlib import Path

#: The checkpoint's folder.
DRAFTER = Path(__file__).parent
