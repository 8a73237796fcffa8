"""A repo that has a card: all that its author wrote is there after a push, in its place; a second push is no news."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from helpers.local_hub.stub import HubStub
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.file_name import parse_published
from gemma_mtp.publish import PushRequest, plan_push, push
from gemma_mtp.publish.assistant_file import AssistantFile
from gemma_mtp.publish.card import TAGS as COMMON
from gemma_mtp.publish.card import read_card, write_card
from gemma_mtp.publish.facts import Facts

TAGS = (*COMMON, *FAMILY.tags)
REPO = "alice/tiny-it-assistant-GGUF"
NAME = "mtp-tiny-it-BF16.gguf"
OURS = ("base_model", "base_model_relation", "library_name", "license", "pipeline_tag", "quantized_by", "tags")
MARK = "\ufeff"
UNLIMITED = 100_000  # columns

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def assistant(tmp_path: Path, assistant_gguf: Callable[[str], Path]) -> Path:
    return Path(shutil.copyfile(assistant_gguf("BF16"), tmp_path / NAME))


def facts(base_model: str | None = None) -> Facts:
    file = AssistantFile(
        path=Path(NAME),
        name=parse_published(NAME),
        dialect=MAINLINE,
        type="BF16",
        bits=16.0,
        size=100,
        sha256="ab" * 32,
        backbone=1536,
        vocabulary=262144,
        license="gemma",
        origin="google/tiny-it-assistant",
    )
    return Facts(REPO, [file], base_model=base_model)


def front(card: str) -> str:
    """The YAML of a card."""
    found = re.match(rf"{MARK}?---\r?\n(.*?)^---\r?$", card, re.S | re.M)
    assert found
    return found[1]


#: How the lines of a card may go on that had an empty key, or its tags in brackets.
GROWING = re.compile(r"(license|tags): *(\[[^]]*)?")


def assert_kept(before: str, after: str) -> None:
    """Every line of the author's is there, in its order."""
    rest = iter(after.splitlines())
    for line in before.splitlines():
        grows = GROWING.match(line)
        start = grows[0] if grows and (grows[2] or grows[0] == line) else None
        assert any(found == line or (start and found.startswith(start)) for found in rest), f"{line!r} is lost"


# ------------------------------------------------------------------ any card

WORDS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="\ufeff"), max_size=12
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.datetimes(), WORDS, st.binary(max_size=6)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)
RESULT = st.fixed_dictionaries(
    {
        "name": WORDS,
        "results": st.lists(st.dictionaries(st.sampled_from(["task", "dataset", "metrics"]), VALUES), max_size=2),
    }
)
KEYS = st.one_of(
    st.sampled_from([*OURS, "model-index", "language", "datasets"]), st.text("abcxyz_-", min_size=1, max_size=8)
)
KNOWN = {
    "tags": st.one_of(st.lists(st.one_of(st.sampled_from(TAGS), WORDS, SCALARS), max_size=4), WORDS, st.none(), VALUES),
    "model-index": st.one_of(st.lists(RESULT, max_size=2), VALUES),
    "license": st.one_of(st.none(), st.sampled_from(["mit", "gemma"]), VALUES),
}
COMMENTS = st.sampled_from(["# mine: [\n", "\n", "#\n", "# ---\n"])


@dataclass(frozen=True)
class Card:
    """An author's card: yaml is None without front matter."""

    mark: str
    yaml: str | None
    body: str

    def __str__(self) -> str:
        return self.mark + ("" if self.yaml is None else f"---\n{self.yaml}---\n") + self.body


@st.composite
def cards(draw: st.DrawFn) -> Card:
    """Front matter in blocks and in brackets, comments between, with and without a mark."""
    lines: list[str] = []
    for key in draw(st.lists(KEYS, max_size=5, unique=True)):
        value, indent = draw(KNOWN.get(key, VALUES)), draw(st.sampled_from([2, 4]))
        if draw(st.booleans()) and isinstance(value, list | dict):
            lines.append(f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=UNLIMITED)}")
        else:
            lines.append(yaml.safe_dump({key: value}, indent=indent, default_flow_style=False, allow_unicode=True))
        lines += draw(st.lists(COMMENTS, max_size=2))
    words = draw(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=60))
    title = draw(st.sampled_from(["# Mine\n\n| a |\n| - |\n", "\n"]))
    front = draw(st.sampled_from(["".join(lines)] if lines else [None, "", "# nothing yet\n"]))
    return Card(draw(st.sampled_from(["", MARK])), front, title + words)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(card=cards(), carriage_returns=st.booleans())
@example(Card("", "license: gemma\n", ""), False)
@example(Card("", "x: &t [a]\ntags: *t\n", "mine\n"), False)
@example(Card("", "{tags: [a,], license: null}\n", "mine"), False)
@example(Card("", "tags:\n- |\n  foo\nx: |+\n  k\n\n", "mine"), False)
@example(Card("", "? license\n: mit\n? tags\n", "mine"), False)
@example(Card("", None, "<!-- gemma-mtp:files:begin -->\nlost its end\n"), False)
@example(Card("", None, "<!-- gemma-mtp:files:end -->\nmine\n<!-- gemma-mtp:files:begin -->\n"), False)
def test_any_card_survives_two_pushes(card: Card, carriage_returns: bool):
    newline = "\r\n" if carriage_returns else "\n"
    text = str(card).replace("\n", newline)
    once = write_card(facts(), text)
    assert write_card(facts(), once) == once
    assert once.startswith(MARK) == text.startswith(MARK)
    assert card.body.replace("\n", newline) in once
    assert_same_values((card.yaml or "").replace("\n", newline), front(once))
    assert (once.count("\r\n") == once.count("\n")) == carriage_returns


def authors(node: yaml.Node) -> list[str]:
    """The items of a list, or one text, that are not ours."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    others = [item for item in items if getattr(item, "value", "") not in TAGS]
    return [item.value if isinstance(item, yaml.ScalarNode) else yaml.serialize(item) for item in others]


def assert_same_values(before: str, after: str) -> None:
    """Each key of the author's has its value and its place; of tags and empty keys, what was there is there."""
    old, new = yaml.compose(before), yaml.compose(after)
    pairs = old.value if old else []
    for (name, value), (new_name, new_value) in zip(pairs, new.value, strict=False):
        assert yaml.serialize(name) == yaml.serialize(new_name)
        if value.tag.endswith(":null"):
            continue
        if name.value == "tags" and not isinstance(value, yaml.MappingNode):
            assert authors(new_value) == authors(value)
        else:
            assert yaml.serialize(value) == yaml.serialize(new_value)
    assert len(new.value) >= len(pairs)


# ------------------------------------------------------------------ certain cards, all the way

CARDS = {
    "comments": "---\n# the licence of the weights\nlicense: gemma # not ours\n\n"
    "tags: # three\n  - foo   # one\n  - 'bar'\nzeta: 1\nalpha: 2024-01-01\n---\n\n# Mine\n",
    "carriage returns": "---\r\nlicense: gemma\r\ntags:\r\n- foo\r\n---\r\n\r\n# Mine\r\nwords\r\n",
    "a mark": f"{MARK}---\nlicense: gemma\ntags: [foo]\n---\nmine\n",
    "results of two": "---\nmodel-index:\n- name: First\n  results:\n  - task: {type: t}\n"
    "    dataset: {name: A, type: a}\n    metrics:\n    - {type: acc, value: 1}\n"
    "- name: Second\n  results: []\n---\nmine\n",
    "odd results": "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: text-generation}\n---\nmine\n",
    "front matter alone": "---\nlicense: gemma\n---\n",
    "odd types": "---\nlicense: [gemma, other]\nlanguage: {en: 1}\nlibrary_name: 7\nbase_model: [a/b, c/d]\n"
    "tags: {a: b}\n---\n",
    "empty keys": "---\nlicense:\ntags:\nlanguage: ~\n---\nmine\n",
    "no front matter": "Just words.\n\n---\n\nand more",
}


def card_of(stub: HubStub, repo: str) -> bytes:
    return stub.blob_path(stub.repos[repo]["commits"][-1]["tree"]["README.md"]["sha"]).read_bytes()


@pytest.mark.filterwarnings("ignore:Warnings while validating metadata")  # the Hub does not see through a mark
@pytest.mark.parametrize("name", CARDS)
def test_a_push_keeps_the_authors_card(name: str, stub: HubStub, assistant: Path, logged_in: str):
    before = CARDS[name]
    stub.make_repo(REPO)
    stub.add_file(REPO, "README.md", before.encode())
    push(plan_push(PushRequest([assistant], REPO)))
    after = card_of(stub, REPO).decode()
    assert_kept(before, after)
    if "\r\n" in before:
        assert "\n" not in after.replace("\r\n", "")
    count = len(stub.repos[REPO]["commits"])
    assert push(plan_push(PushRequest([assistant], REPO))).commit is None
    assert len(stub.repos[REPO]["commits"]) == count


def test_a_card_is_brought_up_to_date_in_its_own_line_ends(stub: HubStub, assistant: Path, logged_in: str):
    stub.make_repo(REPO)
    stub.add_file(REPO, "README.md", b"words\r\n")
    push(plan_push(PushRequest([assistant], REPO, skip_verify=True)))
    assert b"published without verification" in card_of(stub, REPO)
    push(plan_push(PushRequest([assistant], REPO)))
    after = card_of(stub, REPO)
    assert b"published without verification" not in after
    assert after.count(b"gemma-mtp:verification:begin") == 1
    assert after.count(b"\n") == after.count(b"\r\n")


def test_text_between_a_lonely_mark_and_the_next_section_stays():
    card = write_card(facts(), "mine\n").replace("<!-- gemma-mtp:files:end -->", "", 1) + "my last words\n"
    once = write_card(facts(), card)
    assert "my last words" in once
    assert write_card(facts(), once) == once


def test_a_base_model_that_was_asked_for_is_put_over_another():
    card = "---\nbase_model: wrong/one # hm\ntags: [a]\n---\n"
    assert "base_model: wrong/one # hm\n" in write_card(facts(), card)
    assert "base_model: right/one # hm\n" in write_card(facts("right/one"), card)
    assert "base_model: [a/b, right/one]\n" in write_card(facts("right/one"), "---\nbase_model: [a/b]\n---\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("license: mit\nmodel_name: Gemma: the drafter", 3),
        ("tags: [a", 3),
        ("tags:\n\t- a", 3),
        ("a: 1\nb: \x07", 3),
        ("- a\n- b", 2),
        ("[" * 100_000, 2),
        ("a: 1\nb: " + "? " * 3000, 3),
        ("a: *nothing", 2),
    ],
)
def test_front_matter_that_is_no_yaml_is_refused_by_line(text: str, line: int):
    with pytest.raises(EnvironmentProblem, match=rf"README\.md is no YAML, in line {line}: ") as caught:
        write_card(facts(), f"---\n{text}\n---\nmine\n")
    assert f"mend line {line} " in caught.value.hint


def test_a_card_in_another_encoding_is_refused_by_line(stub: HubStub, assistant: Path, logged_in: str):
    stub.make_repo(REPO)
    stub.add_file(REPO, "README.md", "eins\nzw\xf6lf\n".encode("latin-1"))
    with pytest.raises(EnvironmentProblem, match=r"README\.md is not UTF-8, in line 2"):
        plan_push(PushRequest([assistant], REPO))
    assert read_card("zw\xf6lf".encode(), REPO) == "zw\xf6lf"
