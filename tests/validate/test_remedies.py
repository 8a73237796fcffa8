"""Every remedy that is a command of ours is followed: the fault is built, the command is read from what `verify` says,
run as it is printed, and the fault is gone.

`CASES` says for each function that gives such advice how its fault is built; a function without one fails
`test_every_advice_is_followed`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.advising import advising
from helpers.demo_files import remade
from helpers.followed_advice import ASSISTANT, FOLDER, TARGET, Done, advised, run

from gemma_mtp.advice import CHECKPOINT
from gemma_mtp.convert import convert_dialect
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import ATOMIC, DIALECTS, IK
from gemma_mtp.validate.checks.known import KNOWN

A, T = "gemma4-assistant", "gemma4"
F16, F32, I32 = GGMLType.F16, GGMLType.F32, GGMLType.I32

#: What makes the faulty file: from the good one, at this path.
Spoil = Callable[[Path, Path], object]


def changed(keys: dict | None = None, tensors: dict | None = None) -> Spoil:
    return lambda good, path: remade(good, path, keys, tensors)


def respelled(dialect: str) -> Spoil:
    return lambda good, path: convert_dialect(good, path, DIALECTS[dialect], force=True)


def as_it_was(good: Path, path: Path) -> None:
    shutil.copy(good, path)


def scattered(good: Path, path: Path) -> None:
    """The data of two tensors of the same size change places, and their records with it: whole, but out of order."""
    from gemma_mtp.files.gguf_reader import GGUFFile

    with GGUFFile(good) as file:
        one, other = file.tensors["blk.0.attn_norm.weight"], file.tensors["blk.1.attn_norm.weight"]
        start, content = file.header.data_start, bytearray(good.read_bytes())
    for tensor, place in ((one, other), (other, one)):
        content[place.offset : place.offset + place.nbytes] = good.read_bytes()[
            tensor.offset : tensor.offset + tensor.nbytes
        ]
        name = tensor.name.encode()
        record = content.index(len(name).to_bytes(8, "little") + name) + 8 + len(name)
        at = record + 4 + 8 * len(tensor.shape) + 4
        content[at : at + 8] = (place.offset - start).to_bytes(8, "little")
    path.write_bytes(content)


@dataclass(frozen=True)
class Case:
    """by: the function that advises. check: the result that has the remedy. spoil: the fault. options: of `verify`.

    side: which of the two files is faulty, or 0 for none. makes: what the command makes is verified in the faulty one's
    place; without, the advised command itself must find the check good.
    """

    by: str
    check: str
    spoil: Spoil
    options: tuple[str, ...] = ()
    side: int = 2
    makes: bool = True
    after: tuple[str, ...] | None = None


OWN_WIDTH = changed({f"{A}.embedding_length_out": gv.u32(256)})
CENTROID_KEYS = {
    f"{A}.mtp.centroid_count": gv.u32(4),
    f"{A}.mtp.centroid_top_k": gv.u32(2),
    f"{A}.mtp.centroids": gv.array(gv.ValueType.FLOAT32, [1.0] * 4 * 256),
    f"{A}.mtp.centroids_type": gv.string("BF16"),
    f"{A}.mtp.token_ordering": gv.array(gv.ValueType.INT32, [0] * 2048),
}
MASKED = {
    "masked_embd_centroids.weight": (F16, (2048, 256)),
    "masked_embd_ordering": (I32, (2048,)),
}
TQ3 = {"general.architecture": gv.string(T), f"{T}.assistant.type": gv.string("mtp")}
SHARED = {f"{A}.nextn_shared_target_tensors": gv.boolean(True)}

CASES = [
    Case("header._judged", "assistant-keys", changed({f"{A}.embedding_length_out": None})),
    Case("header.mtp_layers", "mtp-layers", changed({f"{A}.nextn_predict_layers": gv.u32(1)})),
    Case("header.own_width", "own-width", OWN_WIDTH),
    Case("identity._remedy_unknown", "parts", changed(TQ3)),
    Case("tensors.layout", "assistant-layout", scattered),
    Case("tensors.present", "assistant-tensors", changed(tensors={"blk.1.ffn_up.weight": None})),
    Case("tensors.present", "assistant-tensors", changed(SHARED, {"token_embd.weight": None})),
    Case("tensors.shapes", "assistant-shapes", changed(tensors={"blk.1.attn_norm.weight": (F32, (128,))})),
    Case("tensors._types", "assistant-types", changed(tensors={"blk.1.attn_norm.weight": (F16, (256,))})),
    Case("tensors.unexpected", "assistant-extra", changed(tensors={"blk.1.attn_k.weight": (F32, (256,))})),
    Case("tensors.masked_embeddings", "masked-embeddings", changed(tensors=MASKED)),
    Case("weights.token_ordering", "token-ordering", changed(CENTROID_KEYS)),
    Case("weights.token_ordering", "token-ordering", changed({**CENTROID_KEYS, f"{A}.mtp.centroid_count": gv.u32(3)})),
    Case("weights.centroids", "centroids", changed({**CENTROID_KEYS, f"{A}.mtp.centroids": None})),
    Case("hosts.dialect", "dialect", respelled(ATOMIC.name), ("--runtime", "ik@2026-05-09"), after=()),
    Case("hosts._respelled", "dialect", respelled(IK.name)),
    Case("hosts._respelled", "dialect", respelled(ATOMIC.name), ("--runtime", "atomic@b10018")),
    Case("hosts._respelled", "dialect", as_it_was, ("--runtime", "ik@2026-06-10")),
    Case("hosts._respelled", "dialect", as_it_was, ("--runtime", "atomic@b10017")),
    Case("tensors.layout", "target-layout", scattered, side=1),
    Case("tensors.unexpected", "target-extra", changed(tensors={"blk.1.odd.weight": (F32, (256,))}), side=1),
    Case("header._judged", "target-keys", changed({f"{T}.rope.freq_base": None}), side=1),
    Case(
        "provenance.fine_tune",
        "fine-tune",
        changed({"general.name": gv.string("Gemma 4 31B It Heretic")}),
        ("-n", "8"),
        side=1,
        makes=False,
    ),
]
IDS = [f"{case.check} {number}" for number, case in enumerate(CASES)]


@dataclass
class Place:
    """A folder with a pair in it, and the checkpoints that the pair was made of."""

    folder: Path
    good: dict[int, Path]
    names: dict[int, str] = field(default_factory=lambda: {1: TARGET, 2: f"./{ASSISTANT}"})

    def verify(self, *options: str, **names: str) -> Done:
        files = {**self.names, **{int(key[-1]): name for key, name in names.items()}}
        return run(["verify", files[1], files[2], *options], self.folder)

    def checkpoint(self, side: int) -> None:
        shutil.copytree(PAIR / {1: "target", 2: "assistant"}[side], self.folder / CHECKPOINT)


@pytest.fixture
def place(tmp_path, target_gguf, assistant_gguf) -> Place:
    folder = tmp_path / FOLDER
    folder.mkdir()
    good = {1: target_gguf("BF16"), 2: assistant_gguf("BF16")}
    for side, name in ((1, TARGET), (2, ASSISTANT)):
        shutil.copy(good[side], folder / name)
    return Place(folder, good)


def result(content: dict, check: str) -> dict:
    return next(one for one in content["checks"] if one["id"] == check)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_following(case: Case, place: Place):
    case.spoil(place.good[case.side], place.folder / (TARGET, ASSISTANT)[case.side - 1])
    place.checkpoint(case.side)
    before = result(place.verify(*case.options, "--json").json, case.check)
    assert before["status"] in ("error", "warning")
    (command,) = advised(before["remedy"])
    assert command in advised(place.verify(*case.options).out)
    there = set(place.folder.iterdir())
    short = ("-n", "8", "--json") if command[0] == "verify" else ()
    done = run([*command, *short], place.folder)
    if not case.makes:
        assert result(done.json, "run-acceptance")["target"].endswith("drafted")
        return
    assert done.code == 0, done.err
    (made,) = {path.name for path in place.folder.iterdir()} - {path.name for path in there}
    options = case.options if case.after is None else case.after
    after = place.verify(*options, "--json", **{f"side{case.side}": made}).json
    assert result(after, case.check)["status"] in ("ok", "note", "skipped")
    assert after["ok"]


def test_swapped_arguments(place: Place):
    swapped = {"side1": f"./{ASSISTANT}", "side2": TARGET}
    done = place.verify("--json", **swapped)
    (command,) = advised(result(done.json, "parts")["remedy"])
    assert command in advised(place.verify(**swapped).out)
    assert run(command, place.folder).code == 0


def test_every_advice_is_followed():
    """A new remedy that names a command of ours needs a case above, or a test of its own in `ELSEWHERE`."""
    followed = Counter(case.by for case in CASES) + Counter(ELSEWHERE.values())
    lacking = {name: count for name, count in advising().items() if followed[name] < count}
    assert not lacking
    assert followed.keys() == advising().keys()
    # Sentences of the table of known problems stand outside of functions.
    assert {row.id for row in KNOWN if "gemma-mtp " in f"{row.message} {row.remedy}"} == FOLLOWED_ROWS.keys()


#: Rows of known problems with a command of ours -> the test that follows it.
FOLLOWED_ROWS = {"router-folder": "tests/hosts/test_export_runs.py: test_the_routers_trap_and_its_cure"}

#: The tests beside `test_following` that follow one, by name -> what they follow.
ELSEWHERE = {
    "test_swapped_arguments": "identity.parts",
    "test_templates.test_the_advised_template_cures": "template._remedy",
    "test_remedies_run.test_little_is_accepted": "run.acceptance",
    "test_remedies_run.test_it_is_slower": "run.speed",
    "test_remedies_run.test_the_text_differs": "run.judged",
    "test_remedies_run.test_an_unknown_death": "run._failure",
    "test_proof.test_the_advised_command_makes_the_file_anew[GGUF]": "proof_told._command",
    "test_proof.test_the_advised_command_makes_the_file_anew[checkpoint]": "proof_told._command",
    "test_dflash.test_the_advised_command_writes_a_forks_file_for_mainline": "dflash._anew",
    "test_pairing.test_what_this_llama_cpp_cannot_load_is_a_finding_of_the_run": "run.answers",
    "test_remedies_run.test_other_drafts_than_transformers": "reference.with_reference",
    "test_foreign_drafters.test_a_successor_is_told_by_its_name_and_measured": "dflash.dialect",
    "test_foreign_drafters.test_whoever_would_do_more_is_told_what_can_be_done": "identity._foreign",
}
