"""Token ids are written once for a training file, a tokenizer and a template; later starts and other ranks map them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.support.ranks import write_train_file
from tests.support.tiny_model import build_tiny_model
from workers.base_models import chat_template
from workers.training.rank.examples import token_store
from workers.training.rank.examples.token_store import TokenizedExamples, tokenized


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def tokenizer(base: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(base)


@pytest.fixture
def train_file(tmp_path: Path) -> Path:
    return write_train_file(tmp_path / "train.jsonl")


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The training files that were encoded since the test began."""
    done: list[Path] = []
    write = token_store._write

    def noted(folder: Path, train_file: Path, *rest: object) -> None:
        done.append(train_file)
        write(folder, train_file, *rest)

    monkeypatch.setattr(token_store, "_write", noted)
    return done


def test_a_second_start_maps_what_the_first_encoded(
    base: Path, tokenizer: PreTrainedTokenizerBase, train_file: Path, tmp_path: Path, encodings: list[Path]
) -> None:
    first = tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)
    again = tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)

    assert len(encodings) == 1
    assert [example.ids.tolist() for example in again] == [example.ids.tolist() for example in first]
    assert again.lengths.tolist() == [len(example) for example in first]


def test_the_ids_are_those_of_the_chat_template(base: Path, tokenizer: PreTrainedTokenizerBase, train_file: Path, tmp_path: Path) -> None:
    examples = tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)

    row = json.loads(train_file.read_text().splitlines()[7])
    whole = tokenizer.apply_chat_template([*row["prompt"], {"role": "assistant", "content": row["completion"]}], tokenize=False)
    assert tokenizer.decode(examples[7].ids) == whole.rstrip("\n")
    assert tokenizer.decode(examples[7].completion_ids) == row["completion"] + "<|im_end|>"
    assert examples.completion_lengths[7] == len(examples[7].completion_ids)


@pytest.mark.parametrize("change", ["file", "max_length", "template", "tokenizer"])
def test_another_input_is_encoded_anew(change: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, encodings: list[Path]) -> None:
    base, train_file = build_tiny_model(tmp_path / "base"), write_train_file(tmp_path / "train.jsonl")
    tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)

    if change == "file":
        write_train_file(train_file, examples=49)
    elif change == "template":
        tokenizer.chat_template += "{# 2 #}"
    elif change == "tokenizer":
        (base / "tokenizer.json").write_text((base / "tokenizer.json").read_text() + "\n")
    tokenized(train_file, tokenizer, base, 255 if change == "max_length" else 256, tmp_path / "tokens", writes=True)

    assert len(encodings) == 2


def test_other_ranks_wait_for_the_one_that_writes(base: Path, tokenizer: PreTrainedTokenizerBase, train_file: Path, tmp_path: Path) -> None:
    found: list[TokenizedExamples] = []
    waiting = threading.Thread(
        target=lambda: found.append(
            tokenized(train_file, AutoTokenizer.from_pretrained(base), base, 256, tmp_path / "tokens", writes=False)
        )
    )
    waiting.start()
    waiting.join(0.3)
    assert not found

    written = tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)
    waiting.join(20)

    assert found[0].lengths.tolist() == written.lengths.tolist()


def test_arrays_that_are_cut_short_are_written_again(
    base: Path, tokenizer: PreTrainedTokenizerBase, train_file: Path, tmp_path: Path, encodings: list[Path]
) -> None:
    whole = [example.ids.tolist() for example in tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)]
    (ids,) = (tmp_path / "tokens").glob("*/ids.bin")
    ids.write_bytes(ids.read_bytes()[:-4])

    again = tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)

    assert len(encodings) == 2
    assert [example.ids.tolist() for example in again] == whole


def test_the_folder_is_for_its_owner_alone_and_holds_no_partial_one(
    base: Path, tokenizer: PreTrainedTokenizerBase, train_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokens" / ".killed.partial").mkdir(parents=True)

    tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)

    (folder,) = (tmp_path / "tokens").iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_what_is_left_out_is_counted_and_the_first_thousand_are_named(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    train_file = write_train_file(tmp_path / "train.jsonl", examples=3)
    with train_file.open("a") as file:
        file.write("no conversation\n" * 1200)

    examples = tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True)

    assert (len(examples), examples.dropped, len(examples.rejected)) == (3, 1200, 1000)
    assert examples.rejected[0].line == 4


def test_encoding_tells_how_far_it_is(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    train_file = write_train_file(tmp_path / "train.jsonl", examples=1100)
    told: list[tuple[int, float]] = []

    tokenized(train_file, tokenizer, base, 256, tmp_path / "tokens", writes=True, beat=lambda *far: told.append(far))

    assert [examples for examples, _ in told] == [512, 1024, 1100]
    assert 0 < told[0][1] < told[1][1] < told[2][1] == 1


def test_ids_are_equal_across_midnight_where_a_template_prints_the_date(
    base: Path, tokenizer: PreTrainedTokenizerBase, train_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Llama 3.2 writes `Today Date: {{ strftime_now("%d %b %Y") }}` into each system turn
    tokenizer.chat_template = "Today Date: {{ strftime_now('%d %b %Y') }}\n" + tokenizer.chat_template
    days = {}
    for day in ("31 Dec 2025", "01 Jan 2026"):
        a_clock_that_says(day, monkeypatch)
        chat_template._formats.clear()
        days[day] = [example.ids.tolist() for example in tokenized(train_file, tokenizer, base, 256, tmp_path / day, writes=True)]

    assert days["31 Dec 2025"] == days["01 Jan 2026"]
    assert "Today Date: 26 Jul 2024" in tokenizer.decode(days["01 Jan 2026"][0])


def a_clock_that_says(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what transformers gives a template as today."""
    from datetime import datetime

    from transformers.utils import chat_template_utils

    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.strptime(day, "%d %b %Y")  # noqa: DTZ007

    monkeypatch.setattr(chat_template_utils, "datetime", Then)
    chat_template_utils._compile_jinja_template.cache_clear()
