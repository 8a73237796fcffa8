"""Documents from files, and their split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma_mtp.adapt.texts import Document, hold_out, loop_share, looping, read_documents
from gemma_mtp.errors import UsageError
from gemma_mtp.model.part import Part


def lines(path: Path, *items: object) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return path


def chat(*contents: str) -> dict[str, object]:
    roles = ("user", Part.ASSISTANT)
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]}


def test_forms_of_jsonl(tmp_path: Path):
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "in "}, {"text": "parts"}]}]}
    file = lines(tmp_path / "a.jsonl", {"text": "plain"}, chat("a question", "an answer"), {"prompt": "why?"}, parts)
    plain, talk, prompt, joined = read_documents([file])
    assert plain.text == "plain"
    assert talk.messages == (("user", "a question"), ("assistant", "an answer"))
    assert (talk.answered, prompt.answered) == (True, False)
    assert joined.messages == (("user", "in parts"),)


def test_plain_texts_are_parted_by_lines_of_dashes_and_questions_by_line(tmp_path: Path):
    file = tmp_path / "a.txt"
    file.write_text("one\nstill one\n---\ntwo\n")
    assert [document.text for document in read_documents([file])] == ["one\nstill one\n", "two\n"]
    asked = read_documents([file], questions=True)
    assert [document.messages[0][1] for document in asked] == ["one", "still one", "---", "two"]


def test_an_answer_that_is_there_is_left_out_of_a_question(tmp_path: Path):
    file = lines(tmp_path / "a.jsonl", chat("q", "a", "q2", "a2"))
    (asked,) = read_documents([file], questions=True)
    assert [content for _, content in asked.messages] == ["q", "a", "q2"]


def test_a_servers_log(tmp_path: Path):
    """Each turn logs the whole conversation so far: only the longest is kept."""
    first, second = chat("hello"), chat("hello", "hi", "and?")
    answer = {"choices": [{"message": {"role": "assistant", "content": "well"}}]}
    file = tmp_path / "server.log"
    file.write_text(
        "main: server is listening\n"
        f"srv  log_server_r: request:  {json.dumps(first)}\n"
        "srv  log_server_r: response: \n"
        f"srv  log_server_r: request:  {json.dumps(second)}\n"
        f"srv  log_server_r: response: {json.dumps(answer)}\n"
        'srv  log_server_r: request:  {"cut off\n'
    )
    (document,) = read_documents([file])
    assert [content for _, content in document.messages] == ["hello", "hi", "and?", "well"]


def test_the_same_text_in_two_files_counts_once(tmp_path: Path):
    a = lines(tmp_path / "a.jsonl", {"text": "same"}, {"text": "mine"})
    b = lines(tmp_path / "b.jsonl", {"text": "same"}, {"text": "yours"})
    assert [document.text for document in read_documents([a, b])] == ["same", "mine", "yours"]


@pytest.mark.parametrize("content", ['{"words": 1}', "[1]", "{", '{"messages": []}'])
def test_a_line_that_says_nothing_is_named(tmp_path: Path, content: str):
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"text": "fine"}}\n{content}\n')
    with pytest.raises(UsageError, match="line 2"):
        read_documents([file])


def test_an_empty_file_and_an_empty_folder_are_refused(tmp_path: Path):
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(UsageError, match="no text"):
        read_documents([tmp_path / "a.txt"])
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match="no file"):
        read_documents([tmp_path / "sub"])


def test_held_out_by_document_not_by_turn():
    talks = [
        Document("f", messages=(("user", f"question {i}"), ("assistant", str(turn))))
        for i in range(20)
        for turn in (1, 2)
    ]
    split = hold_out(talks, 0.1, seed=1)
    held = {document.family for document in split if document.held}
    assert len(held) == 2
    assert not held & {document.family for document in split if not document.held}
    assert split == hold_out(talks, 0.1, seed=1) != hold_out(talks, 0.1, seed=2)


def test_one_document_cannot_be_split():
    with pytest.raises(UsageError, match="two are needed"):
        hold_out([Document("f", "a")], 0.1, 1)


def test_loops():
    assert looping([1, 2, 3, 4, 5] * 3)[:10] == [False] * 10
    assert looping([1, 2, 3, 4, 5] * 3)[-1]
    assert loop_share([7] * 100) > 0.9
    assert loop_share(range(100)) == loop_share([]) == 0
