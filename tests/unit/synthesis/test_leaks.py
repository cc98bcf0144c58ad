"""A dataset with planted leaks: nothing that is tested on is learnt from, in whatever disguise it comes."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.payloads import Stage
from schemas.records import Pair
from schemas.synthesis import SynthesisSpec
from tests.support.built import build
from tests.support.leaks import alike
from workers.synthesis.build import gather_rows
from workers.synthesis.imported_rows import Imported
from workers.synthesis.plan import Inputs, plan
from workers.synthesis.rows import ExampleRow
from workers.synthesis.split.leaks import HeldBack
from workers.synthesis.split.threads import Ingested

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
WORDS = [first + second for first in ("ba", "co", "du", "fe", "gi", "lo", "ma", "ne", "pi", "ro", "su", "ta") for second in "bdfgklmnprst"]


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


class Planted:
    """Forty tweets with pairs, and of some of them a second one that gives it away."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.tweets: dict[str, Ingested] = {}
        self.pairs: list[Pair] = []
        for number in range(40):
            self.add(str(number), f"omg {sentence(rng, 14)}", sentence(rng, 12), sentence(rng, 7), author=f"a{number}")
        self.retweets = [self.echo(n, f"RT @you: {self.text(n)} http://t.co/{n}", rng) for n in range(5)]
        self.quotes = [self.echo(n, f"so true!! {self.text(n)} #this", rng) for n in range(5, 10)]
        self.nears = [self.echo(n, self.text(n).rsplit(" ", 1)[0] + " indeed", rng) for n in range(10, 15)]
        self.one_source = [self.echo(n, sentence(rng, 12), rng, clean=self.pairs[n].clean.upper()) for n in range(15, 20)]
        self.threads = [self.echo(n, sentence(rng, 9), rng, author=f"a{n}", minute=30) for n in range(20, 25)]
        self.answers = [self.echo(n, sentence(rng, 9), rng, thread=str(n)) for n in range(25, 30)]
        self.imports = [
            Imported(f"line {n + 1}", text, completion)
            for n, pair in enumerate(self.pairs[:40])
            for text, completion in ((f"@x {self.text(n)}", sentence(rng, 5)), (sentence(rng, 9), pair.summary.lower()))
        ]
        self.sentences = [pair.summary.upper() for pair in self.pairs] + [sentence(rng, 8) for _ in range(20)]

    def text(self, number: int) -> str:
        return self.tweets[str(number)].text

    def add(self, key: str, text: str, clean: str, summary: str, author: str | None, minute: float = 0, thread: str | None = None) -> None:
        self.tweets[key] = Ingested(key, text, author, NOON + timedelta(days=len(author or ""), minutes=minute), thread)
        self.pairs.append(Pair(tweet_id=key, clean=clean, summary=summary))

    def echo(
        self, number: int, text: str, rng: random.Random, clean: str = "", author: str | None = None, minute: float = 0, thread: str = ""
    ) -> tuple[str, str]:
        key = f"{number}b"
        self.add(key, text, clean or sentence(rng, 12), sentence(rng, 7), author, minute, thread or None)
        return str(number), key


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from(["summary", "clean", "both"]), st.booleans())
def test_no_planted_leak_straddles(seed: int, stage: str, human: bool) -> None:
    planted = Planted(seed)
    imports = {"file": "rows.jsonl:0123456789ab+cd", "form": "alpaca", "stage": "clean" if stage == "clean" else "summary", "human": human}
    spec = SynthesisSpec.model_validate(
        {"dataset": "d", "stage": stage, "pairs": "p", "sentences": "s", "imports": imports, "noise": {"copies": 2}}
        | {"test_size": 25, "seed": seed}
    )
    built = build(spec, planted.tweets, planted.pairs, planted.sentences, None, planted.imports)

    side = {str(row.lineage["tweet_id"]): row.split for row in built.examples if row.origin == "human"}
    for one, other in itertools.chain(planted.quotes, planted.nears, planted.one_source, planted.threads, planted.answers):
        assert side[one] == side[other]
    # A retweet is the same tweet: the pair about it is refused.
    assert not {key for _, key in planted.retweets} & side.keys()
    assert {row.origin for row in built.examples if row.split == "test"} <= {"human", "import"}
    learnt = [text for row in built.examples if row.split == "train" for text in (row.prompt_text, row.target_text)]
    tested = [text for row in built.examples if row.split == "test" for text in (row.prompt_text, row.target_text)]
    assert tested
    assert not alike(learnt, tested, 0.7)
    learnt_from = {row.cluster for row in built.examples if row.split == "train"}
    assert not learnt_from & {row.cluster for row in built.examples if row.split == "test"}


def test_the_planted_leaks_are_found_by_the_measure_that_looks_for_them() -> None:
    planted = Planted(1)
    for one, other in (*planted.retweets, *planted.quotes, *planted.nears):
        assert alike([planted.tweets[one].text], [planted.tweets[other].text], 0.7)
    assert not alike([planted.text(30)], [planted.text(31)], 0.7)


def test_a_teachers_answer_that_a_person_wrote_of_a_held_back_tweet_is_not_learnt() -> None:
    planted = Planted(2)
    spec = SynthesisSpec(dataset="d", pairs="p", test_size=10)
    asked = [Ingested(f"new{number}", f"{number} things happened to me on the way home") for number in range(2)]
    planned = plan(spec, Inputs(planted.pairs, planted.tweets, unpaired=asked))
    held = next(pair for pair, cluster in zip(planned.pairs, planned.clusters.pairs, strict=True) if planned.held[cluster])
    answers = [held.summary.upper(), "Something else."]
    taught = [
        (ExampleRow(Stage.SUMMARY, tweet.text, answer, "teacher", {"tweet_id": tweet.id}, "train", cluster), ())
        for (tweet, cluster), answer in zip(planned.to_ask(), answers, strict=True)
    ]
    gathered = gather_rows(planned, None, taught)
    assert [row.target_text for row in gathered.kept() if row.origin == "teacher"] == ["Something else."]
    assert planned.counts["withheld"] == 1


def test_a_teacher_is_not_asked_about_what_is_held_back_nor_shown_it() -> None:
    planted = Planted(3)
    echoes = [Ingested(f"e{pair.tweet_id}", f"RT @me: {planted.tweets[pair.tweet_id].text}") for pair in planted.pairs]
    planned = plan(SynthesisSpec(dataset="d", pairs="p", test_size=20), Inputs(planted.pairs, planted.tweets, unpaired=echoes))
    tested = {pair.tweet_id for pair, cluster in zip(planned.pairs, planned.clusters.pairs, strict=True) if planned.held[cluster]}
    assert len(tested) == 20
    asked = {tweet.id.removeprefix("e") for tweet, _ in planned.to_ask()}
    shown = {tweet.id for tweet, _ in planned.to_show()}
    assert asked
    assert shown
    assert not (asked | shown) & tested


def test_a_text_made_like_one_that_is_held_back_is_told_from_others() -> None:
    held = HeldBack(["The ferry to Oslo leaves at nine from pier four"], 0.7)
    assert held.is_near("RT @x: the FERRY to oslo leaves at nine, from pier four!!")
    assert not held.is_near("the ferry to oslo leaves late from pier four")
    assert held.is_near("so the ferry to oslo leaves at nine from pier four")
    assert not HeldBack(["The ferry to Oslo leaves at nine from pier four"], 1).is_near(
        "so the ferry to oslo leaves at nine from pier four"
    )
