"""What a proof of origin says of a file, as results beside those of the checks."""

from __future__ import annotations

from gemma_mtp import advice
from gemma_mtp.errors import some
from gemma_mtp.validate.findings import ORIGIN, Finding, Result, error, note, ok, skipped
from gemma_mtp.validate.proof import Proof

#: Names that a finding lists at most.
MOST_NAMED = 4


def results(proof: Proof) -> tuple[Result, ...]:
    """What the proof says of the file, as two results beside those of the checks."""
    return (
        Result(ORIGIN, "Made from its source", _of_bytes(proof)),
        Result("origin-keys", "Keys are the source's", _of_keys(proof)),
    )


def _of_bytes(proof: Proof) -> Finding:
    told = f"{proof.kind} of {proof.source}"
    if proof.holds:
        words = f"{len(proof.tensors)} tensors have the bytes of {told}"
        if proof.unseen:
            words += f" ({len(proof.unseen)} not compared: {some(proof.unseen, MOST_NAMED)})"
        return ok(words, words, words)
    faults = {
        f"{len(proof.different)} of {len(proof.tensors)} tensors have other bytes": proof.different,
        f"{len(proof.missing)} are missing": proof.missing,
        f"{len(proof.foreign)} are not in the source in this shape": proof.foreign,
    }
    said = "; ".join(f"{what} ({some(names, MOST_NAMED)})" for what, names in faults.items() if names)
    return error(
        f"not {told}: {said or 'no tensor could be compared'}",
        "name the source that it was made of (that revision, the 16-bit file between, the importance matrix), or make "
        f"it anew with {_command(proof)}",
    )


def _command(proof: Proof) -> str:
    if proof.of_checkpoint:
        return advice.ours("convert", proof.source, options={"-o": advice.OUTPUT, "--type": proof.type})
    return advice.ours("quantize", proof.source, advice.OUTPUT, proof.type)


def _of_keys(proof: Proof) -> Finding:
    if not proof.keys:
        return ok() if not proof.unseen else skipped(f"not compared: {some(proof.unseen, MOST_NAMED)}")
    return note(f"{len(proof.keys)} keys differ from the source's: {some(proof.keys, MOST_NAMED)}")
