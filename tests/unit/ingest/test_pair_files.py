"""Files of other tools: what each form says, what cannot be used, and that nothing is lost on the way out and in again."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.forms import Form, PromptAndAnswer, dataset_info, write_row
from schemas.synthesis import Columns
from workers.catalog.examples.export import write_file
from workers.errors import NotFound, UserError
from workers.ingest import pair_files
from workers.ingest.curated_files import BadLine, CuratedLine
from workers.ingest.pair_files import read
from workers.ingest.readers.text import LONGEST_LINE

AS_IT_IS = Columns()
INSTRUCTION = "Summarize the tweet."
# All that Postgres can store and that is more than white space: emoji, quotes, line ends of every kind, control characters.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60).filter(str.strip)
TRICKY = 'a "b", c\r\nd\re\u2028f\u2029g\x85h\u200d🏳️‍🌈\t\\n\ufeff ,"" \x1f\v'


def good(rows: list[CuratedLine | BadLine]) -> list[tuple[str, str | None, str | None]]:
    return [(row.key, row.text, row.summary) for row in rows if isinstance(row, CuratedLine)]


def bad(rows: list[CuratedLine | BadLine]) -> list[tuple[str, str | None]]:
    return [(row.place, row.field) for row in rows if isinstance(row, BadLine)]


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def said(*turns: str, by: tuple[str, str] = ("from", "value")) -> list[dict[str, str]]:
    """`said("human: a", "gpt: b")`"""
    return [dict(zip(by, turn.split(": "), strict=True)) for turn in turns]


def turns(*said: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


class TestRoundTrip:
    @given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), form=st.sampled_from(Form))
    @example(pairs=[(TRICKY, TRICKY[::-1]), ("\ufeff", "=cmd()"), ("'", '"')], form=Form.CSV)
    @example(pairs=[(TRICKY, TRICKY[::-1])], form=Form.MESSAGES)
    def test_what_is_written_is_read_again_and_written_alike(self, pairs: list[tuple[str, str]], form: Form) -> None:
        with tempfile.TemporaryDirectory() as folder:
            once, again = Path(folder) / f"once.{form.suffix}", Path(folder) / f"again.{form.suffix}"
            write_file(once, form, ((PromptAndAnswer(*pair), INSTRUCTION) for pair in pairs))

            rows = list(read(once, form, AS_IT_IS))
            assert [(prompt, answer) for _, prompt, answer in good(rows)] == pairs
            assert bad(rows) == []

            write_file(again, form, ((PromptAndAnswer(prompt or "", answer or ""), INSTRUCTION) for _, prompt, answer in good(rows)))
            assert again.read_bytes() == once.read_bytes()

    @given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=6), indent=st.sampled_from([None, 2]), ascii_=st.booleans())
    def test_an_array_says_the_same_as_lines(self, pairs: list[tuple[str, str]], indent: int | None, ascii_: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            rows = [{"instruction": INSTRUCTION, "input": prompt, "output": answer} for prompt, answer in pairs]
            path.write_bytes(json.dumps(rows, indent=indent, ensure_ascii=ascii_).encode())

            found = list(read(path, Form.ALPACA, AS_IT_IS))

            assert good(found) == [(f"item {number}", *pair) for number, pair in enumerate(pairs, 1)]
            assert len(found) == len(pairs)

    def test_the_number_of_rows_and_the_hash_of_the_bytes_are_told(self, tmp_path: Path) -> None:
        told = write_file(tmp_path / "a.csv", Form.CSV, [(PromptAndAnswer("a\nb", "c"), INSTRUCTION)])
        assert told == (1, hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest())

    def test_nothing_to_write_leaves_no_file(self, tmp_path: Path) -> None:
        assert write_file(tmp_path / "a.jsonl", Form.ALPACA, []) is None
        assert list(tmp_path.iterdir()) == []

    def test_a_writing_that_fails_leaves_what_was_there(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.jsonl", "before")

        def rows() -> Any:
            yield PromptAndAnswer("a", "b"), INSTRUCTION
            raise ConnectionError

        with pytest.raises(ConnectionError):
            write_file(path, Form.ALPACA, rows())
        assert path.read_text() == "before\n"
        assert list(tmp_path.iterdir()) == [path]


class TestWhatARowSays:
    @pytest.mark.parametrize(
        ("form", "row"),
        [
            (Form.MESSAGES, turns(("user", "so late"), ("assistant", "It is late."))),
            (Form.MESSAGES, turns(("system", "Do it."), ("user", "so late"), ("assistant", "It is late."))),
            (Form.PROMPT_COMPLETION, {"prompt": "so late", "completion": "It is late.", "id": 7}),
            (
                Form.PROMPT_COMPLETION,
                {
                    "prompt": said("user: so late", by=("role", "content")),
                    "completion": said("assistant: It is late.", by=("role", "content")),
                },
            ),
            (Form.ALPACA, {"instruction": "Do it.", "input": "so late", "output": "It is late."}),
            (Form.ALPACA, {"instruction": "so late", "input": "", "output": "It is late."}),
            (Form.ALPACA, {"instruction": "so late", "output": "It is late.", "history": []}),
            (Form.ALPACA, {"instruction": "so late", "input": "<noinput>", "output": "It is late."}),
            (Form.ALPACA, {"instruction": "so late", "input": float("nan"), "output": "It is late."}),
            (Form.ALPACA, {"instruction": "Do it.", "input": ["so late"], "output": "It is late."}),
            (Form.SHAREGPT, {"conversations": said("Human: so late", "chatgpt: It is late.")}),
            (
                Form.MESSAGES,
                {"messages": [{"role": "user", "content": "so late"}, {"role": "Model", "content": "It is late.", "weight": 1}]},
            ),
            (
                Form.MESSAGES,
                turns(("user", [{"type": "text", "text": "so late"}]), ("assistant", [{"type": "text", "text": "It is late."}])),
            ),
            (Form.MESSAGES, turns(("user", ["so", "late"]), ("assistant", [{"text": "It is "}, {"type": "output_text", "text": "late."}]))),
            (Form.MESSAGES, turns(("user", "so late"), ("assistant", [{"type": "thinking", "thinking": "x"}, {"text": "It is late."}]))),
            (
                Form.MESSAGES,
                {
                    "messages": [
                        {"role": "user", "content": "so late"},
                        {"role": "assistant", "content": "It is late.", "reasoning_content": "hm"},
                    ]
                },
            ),
            (Form.MESSAGES, turns(("user", "so late"), ("assistant", "<think>hm</think>\n\nIt is late."))),
            (Form.PROMPT_COMPLETION, {"prompt": "so late", "completion": "hm</think>It is late."}),
            (Form.PROMPT_COMPLETION, {"prompt": "so late", "completion": said("assistant: It is late.", by=("role", "content"))}),
            (Form.PROMPT_COMPLETION, {"prompt": said("user: so late", by=("role", "content")), "completion": "It is late."}),
            (Form.SHAREGPT, {"conversations": said("human: so late", "gpt: It is late.")}),
            (Form.SHAREGPT, {"conversations": said("system: x", "user: so late", "assistant: It is late.")}),
        ],
    )
    def test_is_a_tweet_and_its_answer_without_what_is_asked(self, tmp_path: Path, form: Form, row: dict[str, Any]) -> None:
        assert good(list(read(written(tmp_path / "a", row), form, AS_IT_IS))) == [("line 1", "so late", "It is late.")]

    @pytest.mark.parametrize(
        ("form", "row", "field"),
        [
            (Form.MESSAGES, {"text": "secret"}, "messages"),
            (Form.MESSAGES, {"messages": "secret"}, "messages"),
            (Form.MESSAGES, {"messages": ["secret"]}, "messages.0"),
            (Form.MESSAGES, turns(("secret", "a"), ("assistant", "b")), "messages.0.role"),
            (Form.MESSAGES, turns(("user", "secret")), "messages"),
            (Form.MESSAGES, turns(("assistant", "secret"), ("user", "b")), "messages"),
            (Form.MESSAGES, turns(("user", "secret"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), "messages"),
            (Form.MESSAGES, turns(("user", "secret"), ("assistant", " \n")), "messages.1.content"),
            (Form.MESSAGES, {"messages": [{"role": "user", "content": [["secret"]]}]}, "messages.0.content.0"),
            (Form.MESSAGES, turns(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "secret")), "messages.0.content.0"),
            (Form.MESSAGES, turns(("user", "secret"), ("assistant", [{"type": "thinking", "thinking": "secret"}])), "messages.1.content"),
            (Form.MESSAGES, turns(("user", "secret"), ("assistant", "<think>secret")), "completion"),
            (Form.PROMPT_COMPLETION, {"prompt": "secret", "chosen": "secret", "rejected": "secret"}, "completion"),
            (Form.PROMPT_COMPLETION, {"prompt": float("nan"), "completion": "secret"}, "prompt"),
            (Form.PROMPT_COMPLETION, {"prompt": "secret"}, "completion"),
            (Form.PROMPT_COMPLETION, {"prompt": "secret", "completion": 7}, "completion"),
            (Form.PROMPT_COMPLETION, {"prompt": "secret", "completion": "\ud83d"}, "completion"),
            (Form.PROMPT_COMPLETION, {"prompt": "secret", "completion": "a\x00"}, "completion"),
            (Form.PROMPT_COMPLETION, {"prompt": "secret" * 5_000, "completion": "a"}, "prompt"),
            (Form.ALPACA, {"instruction": "secret", "input": "", "output": ""}, "output"),
            (Form.ALPACA, {"instruction": "secret", "input": 7, "output": "a"}, "input"),
            (Form.ALPACA, {"instruction": "secret", "input": "b", "response": "a"}, "output"),
            (
                Form.MESSAGES,
                {"messages": [{"role": "user", "content": "secret"}, {"role": "assistant", "content": "b", "weight": 0}]},
                "messages.1.weight",
            ),
            (Form.ALPACA, {"instruction": "secret", "output": "a", "history": [["b", "c"]]}, "history"),
            (Form.SHAREGPT, {"conversations": [{"from": "human", "value": "secret"}]}, "conversations"),
            (Form.SHAREGPT, "[secret", None),
            (Form.SHAREGPT, '"secret"', None),
        ],
    )
    def test_or_is_told_with_its_line_field_and_a_reason_and_its_neighbours_are_kept(
        self, tmp_path: Path, form: Form, row: object, field: str | None
    ) -> None:
        fine = {**turns(("user", "a"), ("assistant", "b")), "prompt": "a", "completion": "b", "instruction": "a", "output": "b"}
        fine["conversations"] = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
        rows = list(read(written(tmp_path / "a", fine, "", row, fine), form, AS_IT_IS))

        assert good(rows) == [("line 1", "a", "b"), ("line 4", "a", "b")]
        assert bad(rows) == [("3", field)]
        assert not any("secret" in row.reason for row in rows if isinstance(row, BadLine))

    def test_a_row_of_another_form_is_told_with_that_form(self, tmp_path: Path) -> None:
        (told,) = read(written(tmp_path / "a", {"prompt": "secret", "completion": "secret"}), Form.MESSAGES, AS_IT_IS)
        assert isinstance(told, BadLine)
        assert told.reason == "it is missing: the row's keys are prompt, completion. That is how --form prompt-completion has them"

    @pytest.mark.parametrize(
        "document",
        [
            {"version": "1", "data": [{"prompt": "a", "completion": "b"}, {"prompt": "c"}, {"prompt": "d", "completion": "e"}]},
            {"rows": [{"row": {"prompt": "a", "completion": "b"}}, {"row": {}}, {"row": {"prompt": "d", "completion": "e"}}]},
        ],
    )
    def test_rows_inside_an_object_are_read_each_with_its_place(self, tmp_path: Path, document: dict[str, Any]) -> None:
        rows = list(read(written(tmp_path / "a.json", json.dumps(document, indent=1)), Form.PROMPT_COMPLETION, AS_IT_IS))
        assert good(rows) == [("line 1 item 1", "a", "b"), ("line 1 item 3", "d", "e")]
        assert [place for place, _ in bad(rows)] == ["1 item 2"]

    @pytest.mark.parametrize("answered", ["b", said("user: a", "assistant: b", by=("role", "content"))])
    def test_maps_lead_into_objects_and_lists(self, tmp_path: Path, answered: Any) -> None:
        columns = Columns(prompt="input.tweets.0", completion="chosen")
        rows = written(tmp_path / "a.jsonl", {"input": {"tweets": ["a", "c"]}, "chosen": answered, "rejected": "d"})
        assert good(list(read(rows, Form.PROMPT_COMPLETION, columns))) == [("line 1", "a", "b")]

    def test_columns_of_another_name_are_mapped(self, tmp_path: Path) -> None:
        columns = Columns(prompt="tweet", completion="short one")
        rows = written(tmp_path / "a.jsonl", {"tweet": "a", "short one": "b"})
        assert good(list(read(rows, Form.PROMPT_COMPLETION, columns))) == [("line 1", "a", "b")]
        table = written(tmp_path / "a.csv", "id, tweet ,short one", "1,a,b")
        assert good(list(read(table, Form.CSV, columns))) == [("line 2", "a", "b")]

    def test_a_form_that_names_its_fields_itself_takes_no_map(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="a map is for the forms prompt-completion and csv"):
            list(read(written(tmp_path / "a", {}), Form.ALPACA, Columns(prompt="tweet")))


class TestArrays:
    def test_a_bad_element_costs_itself(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(
            '\ufeff [{"prompt": "a]", "completion": "\\"b\\\\"}, {nonsense, "x": [1, {}]}, 7, {"prompt": "c", "completion": "d"}, ]'
        )
        rows = list(read(path, Form.PROMPT_COMPLETION, AS_IT_IS))
        assert good(rows) == [("item 1", "a]", '"b\\'), ("item 4", "c", "d")]
        assert bad(rows) == [("item 2", None), ("item 3", None)]

    def test_a_file_that_ends_too_early_keeps_what_was_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('[{"prompt": "a", "completion": "b"}, {"prompt": "c", "compl')
        rows = list(read(path, Form.PROMPT_COMPLETION, AS_IT_IS))
        assert good(rows) == [("item 1", "a", "b")]
        assert bad(rows) == [("item 2", None)]

    @pytest.mark.parametrize("chunk", [1, 2, 3, 7])
    def test_it_does_not_matter_where_a_read_ends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        monkeypatch.setattr("workers.ingest.readers.text.LONGEST_PIECE", chunk)
        path = tmp_path / "a.json"
        path.write_text('[{"prompt": "a\\\\", "completion": "\\"],[{"},\n{"prompt": "é", "completion": "\\u00e9"}]')
        # Whether it is an array at all is asked of the first bytes.
        assert good(list(read(path, Form.PROMPT_COMPLETION, AS_IT_IS))) == [("item 1", "a\\", '"],[{'), ("item 2", "é", "é")]

    def test_an_element_that_is_too_long_costs_itself(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(json.dumps([{"prompt": "x" * (LONGEST_LINE + 1), "completion": "y"}, {"prompt": "a", "completion": "b"}]))
        rows = list(read(path, Form.PROMPT_COMPLETION, AS_IT_IS))
        assert bad(rows) == [("item 1", None)]
        assert good(rows) == [("item 2", "a", "b")]


class TestTables:
    def test_a_row_is_named_by_the_line_on_which_it_begins(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "prompt,completion", '"a\nb",c', "", "d,e")
        assert good(list(read(path, Form.CSV, AS_IT_IS))) == [("line 2", "a\nb", "c"), ("line 5", "d", "e")]

    def test_a_bad_row_costs_itself(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(b'prompt,completion\na,b\nonly\nbad \xff,c\n"over\nbad \xff lines",d\n ,e\nf,g\n')
        rows = list(read(path, Form.CSV, AS_IT_IS))
        assert good(rows) == [("line 2", "a", "b"), ("line 8", "f", "g")]
        assert bad(rows) == [("3", None), ("4", None), ("5", None), ("7", "prompt")]

    def test_a_quote_that_is_left_open_costs_no_more_than_a_cell_may_hold(self, tmp_path: Path) -> None:
        lines = [f"tweet {number},answer {number}" for number in range(20_000)]
        path = written(tmp_path / "a.csv", "prompt,completion", '"open,b', *lines)
        rows = list(read(path, Form.CSV, AS_IT_IS))
        assert bad(rows) == [("2", None)]
        assert len(good(rows)) > 20_000 - csv.field_size_limit() / len(lines[0])

    def test_without_the_columns_that_are_needed_the_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="its first line names no column prompt"):
            list(read(written(tmp_path / "a.csv", "tweet,completion", "a,b"), Form.CSV, AS_IT_IS))


class TestCollections:
    def test_another_content_form_or_map_is_another_collection_of_the_same_file(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a:b.csv", "prompt,completion", "a,b")
        names = [
            pair_files.collection(path, Form.CSV, AS_IT_IS),
            pair_files.collection(path, Form.CSV, Columns(prompt="x")),
            pair_files.collection(path, Form.ALPACA, AS_IT_IS),
        ]
        assert len({*names}) == 3
        assert {pair_files.file_of(name)[0] for name in names} == {"a:b.csv"}
        assert len({pair_files.file_of(name)[1] for name in names}) == 1
        written(path, "prompt,completion", "a,c")
        assert pair_files.collection(path, Form.CSV, AS_IT_IS) not in names

    def test_a_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no such file"):
            pair_files.collection(tmp_path / "a", Form.CSV, AS_IT_IS)


@pytest.mark.parametrize("array", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, array: bool) -> None:
    path = tmp_path / "big"
    row = json.dumps({"prompt": "so late " * 20, "completion": "It is late."})
    rows = 40_000
    with path.open("w") as file:
        file.write("[" * array + (",\n" if array else "\n").join([row] * rows) + "]" * array)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path, Form.PROMPT_COMPLETION, AS_IT_IS)) == rows
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 7_000_000
    assert peak < 1_500_000


def test_the_index_names_the_fields_that_each_form_has() -> None:
    pair, instruction = PromptAndAnswer("a", "b"), "Do it."
    for form in Form:
        entry, row = dataset_info(form, "a.jsonl"), write_row(form, pair, instruction)
        assert entry["file_name"] == "a.jsonl"
        assert set(entry["columns"].values()) <= set(row), form
        # What LLaMA-Factory takes a conversation for is its `formatting`.
        assert entry["formatting"] == ("sharegpt" if "messages" in entry["columns"] else "alpaca")
