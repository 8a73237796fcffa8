"""Every test of this room has a local Hub with the demo pair in every form that a repo can have."""

from __future__ import annotations

import shutil

import pytest
from helpers.local_hub.fixtures import logged_in, loopback_only, stub
from helpers.local_hub.stub import HubStub
from helpers.placed import CHECKPOINTS, LONELY, PAIR_REPO, SPLIT, Models, split

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.model.part import Part

__all__ = ["logged_in", "loopback_only", "stub"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, target_gguf, assistant_gguf) -> Models:
    """Read them, don't change them."""
    found = Models(tmp_path_factory.mktemp("models"))
    for part, made in ((Part.TARGET, target_gguf("BF16")), (Part.ASSISTANT, assistant_gguf("BF16"))):
        found[part, "whole"].parent.mkdir(exist_ok=True)
        found[part, "split"].parent.mkdir(exist_ok=True)
        shutil.copyfile(made, found[part, "whole"])
        split(made, found[part, "split"])
    return found


@pytest.fixture
def hub(stub: HubStub, models: Models) -> HubStub:
    """The repos above."""
    for repo in (PAIR_REPO, LONELY, SPLIT, *CHECKPOINTS.values()):
        stub.make_repo(repo)
    for part in Part:
        whole = models[part, "whole"]
        stub.add_file(PAIR_REPO, whole.name, whole.read_bytes())
        for path in sorted(models[part, "split"].parent.glob(models[part, "split"].name.replace("00001", "*", 1))):
            stub.add_file(SPLIT, path.name, path.read_bytes())
        for path in (PAIR / part.value).iterdir():
            stub.add_file(CHECKPOINTS[part], path.name, path.read_bytes())
    stub.add_file(LONELY, "gemma-4-E2B-it-BF16.gguf", models[Part.TARGET, "whole"].read_bytes())
    return stub
