"""`fit` over the Hub: the answer for local files, before a download."""

from __future__ import annotations

from helpers.local_hub.stub import HubStub

from gemma_mtp.bench.fit import fit
from gemma_mtp.native.settings import ContextSettings

REPO = "acme/tiny-GGUF"


def test_the_same_as_for_local_files(stub: HubStub, target_gguf, assistant_gguf):
    stub.make_repo(REPO)
    stub.add_file(REPO, "tiny-BF16.gguf", target_gguf("BF16").read_bytes())
    stub.add_file(REPO, "mtp-tiny-BF16.gguf", assistant_gguf("BF16").read_bytes())
    room = {"vram": 10**9, "context": ContextSettings(1024)}
    here = fit(target_gguf("BF16"), assistant_gguf("BF16"), **room)
    there = fit(f"hf://{REPO}/tiny-BF16.gguf", f"hf://{REPO}/mtp-tiny-BF16.gguf", **room)
    assert there.devices == here.devices
    assert there.fits
    assert there.devices.gpu.total > 0
