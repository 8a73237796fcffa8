"""The grammar of source arguments, as one table, and what is refused, as another."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.hub.source import Source, parse_source, suggest_repo

SHA = "0123456789abcdef0123456789abcdef01234567"

#: text, what it means, its canonical spelling (None: the same as the text)
ACCEPTED = [
    ("google/gemma-4-E2B-it-assistant", Source(repo="google/gemma-4-E2B-it-assistant"), None),
    ("a/b@v1.0", Source(repo="a/b", revision="v1.0"), None),
    (f"a/b@{SHA}", Source(repo="a/b", revision=SHA), None),
    ("a/b@refs/pr/3", Source(repo="a/b", revision="refs/pr/3"), None),
    ("a/b:Q4_K_M", Source(repo="a/b", quant="Q4_K_M"), None),
    ("a/b@main:q8_0", Source(repo="a/b", revision="main", quant="q8_0"), None),
    ("hf://a/b", Source(repo="a/b"), "a/b"),
    ("hf://a/b@v1:Q8_0", Source(repo="a/b", revision="v1", quant="Q8_0"), "a/b@v1:Q8_0"),
    ("hf://a/b/m.gguf", Source(repo="a/b", file="m.gguf"), None),
    ("hf://a/b@v1/sub/m.gguf", Source(repo="a/b", revision="v1", file="sub/m.gguf"), None),
    ("hf://a/b@refs/pr/3/m.gguf", Source(repo="a/b", revision="refs/pr/3", file="m.gguf"), None),
    ("hf://models/x", Source(repo="models/x"), "models/x"),
    ("here", Source(path=Path("here")), None),
    ("here/model.gguf", Source(path=Path("here/model.gguf")), None),
    ("./here", Source(path=Path("here")), "here"),
    ("here/odd@name:Q8_0", Source(path=Path("here/odd@name:Q8_0")), None),
]

#: what is pasted from a browser or a download button, what it means
ADDRESSES = [
    ("https://huggingface.co/a/b", Source(repo="a/b")),
    ("https://huggingface.co/a/b/", Source(repo="a/b")),
    ("https://huggingface.co/a/b?library=transformers", Source(repo="a/b")),
    ("https://huggingface.co/a/b#usage", Source(repo="a/b")),
    ("https://huggingface.co/a/b:Q8_0", Source(repo="a/b", quant="Q8_0")),
    ("https://huggingface.co/here/b", Source(repo="here/b")),
    ("huggingface.co/a/b", Source(repo="a/b")),
    ("hf.co/a/b:Q4_K_M", Source(repo="a/b", quant="Q4_K_M")),
    ("https://huggingface.co/a/b/tree/main", Source(repo="a/b")),
    ("https://huggingface.co/a/b/tree/v1.0", Source(repo="a/b", revision="v1.0")),
    ("https://huggingface.co/a/b/tree/refs%2Fpr%2F3", Source(repo="a/b", revision="refs/pr/3")),
    ("https://huggingface.co/a/b/blob/main/m.gguf", Source(repo="a/b", file="m.gguf")),
    ("https://huggingface.co/a/b/blob/refs/pr/3/m.gguf", Source(repo="a/b", revision="refs/pr/3", file="m.gguf")),
    (
        "https://huggingface.co/a/b/resolve/v1/s/m.gguf?download=true",
        Source(repo="a/b", revision="v1", file="s/m.gguf"),
    ),
    ("https://huggingface.co/a/b/raw/main/it%20is.gguf", Source(repo="a/b", file="it is.gguf")),
    ("http://mirror.example:8080/a/b/resolve/main/m.gguf", Source(repo="a/b", file="m.gguf")),
]

#: text, error, words of its message and hint
REFUSED = [
    ("hf://a/b/../m.gguf", UsageError, "no path inside a repo"),
    ("hf://a/b@v1/x\\m.gguf", UsageError, "no path inside a repo"),
    ("hf://gemma", UsageError, "hf://owner/repo/file.gguf"),
    ("hf://a/b@", UsageError, "no place on the Hub"),
    ("a--b/c", UsageError, "not the name of a repo"),
    (f"a/{'b' * 100}", UsageError, "not the name of a repo"),
    ("https://huggingface.co/a/b/tree/main/BF16", UsageError, "hf://a/b/BF16/FILE.gguf"),
    ("https://huggingface.co/datasets/a/b", UsageError, "the address of datasets"),
    ("https://huggingface.co/spaces/a/b/tree/main", UsageError, "the address of spaces"),
    ("https://huggingface.co/collections/a/b-1", UsageError, "the address of collections"),
    ("https://huggingface.co/a/b/blob/main/../m.gguf", UsageError, "no path inside a repo"),
    ("gemma", BadFileError, "no such file or folder"),
    ("./models/gemma", BadFileError, "no such file or folder"),
    ("/models/gemma", BadFileError, "no such file or folder"),
    ("models/google/gemma", BadFileError, "no such file or folder"),
    ("models/gemma.gguf", BadFileError, "no such file or folder"),
    ("here/modle", BadFileError, "the folder here exists"),
    ("here/modle:Q8_0", BadFileError, "hf://here/modle:Q8_0"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    for name in ("model.gguf", "odd@name:Q8_0"):
        (tmp_path / "here" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("text", "meaning", "canonical"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_accepted(text: str, meaning: Source, canonical: str | None):
    source = parse_source(text)
    assert source == meaning
    assert str(source) == (canonical or text)
    assert parse_source(str(source) if source.is_local or source.file else f"hf://{source}") == meaning


@pytest.mark.parametrize(("text", "meaning"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_addresses(text: str, meaning: Source):
    assert parse_source(text) == meaning


@pytest.mark.parametrize(("text", "error", "words"), REFUSED, ids=[row[0][:40] for row in REFUSED])
def test_refused(text: str, error: type[Exception], words: str):
    with pytest.raises(error) as caught:
        parse_source(text)
    assert type(caught.value) is error
    assert words in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"path": Path("x"), "repo": "a/b"},
        {"path": Path("x"), "quant": "Q8_0"},
        {"repo": "a/b", "file": "m.gguf", "quant": "Q8_0"},
        {"repo": "a/b", "revision": "x y"},
        {"repo": "b"},
    ],
)
def test_combinations_that_mean_nothing(parts: dict[str, object]):
    with pytest.raises(UsageError):
        Source(**parts)


def test_a_local_folder_wins_over_a_repo_of_the_same_name(folder: Path):
    (folder / "google" / "gemma").mkdir(parents=True)
    assert parse_source("google/gemma").is_local
    assert parse_source("hf://google/gemma").repo == "google/gemma"


def test_the_home_folder_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder))
    assert parse_source("~/here").path == folder / "here"


@pytest.mark.parametrize(
    ("repo", "meant"),
    [
        ("google/gemma-4-e2b-it-asistant", "google/gemma-4-E2B-it-assistant"),
        ("google/gemma4-31B-it-assistant", "google/gemma-4-31B-it-assistant"),
        ("google/gemma-4-31B-it-assistant", None),
        ("alice/llama", None),
    ],
)
def test_suggestions(repo: str, meant: str | None):
    assert suggest_repo(repo) == meant
