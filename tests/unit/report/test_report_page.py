"""The page of `tweetmill report`: whole, harmless and readable, whatever a project holds."""

from __future__ import annotations

import itertools
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from producers.report import advice, charts, provenance, scores
from producers.report.page import page
from tests.support.reported import HOSTILE, against, answered, curve, evaluation, figure, much, nothing, series, trained
from tests.unit.test_docs import complaint

CSS = (Path(charts.__file__).parent / "templates" / "page.css").read_text()
VOID = ("meta", "link", "br", "hr", "img", "input")


class Parsed(HTMLParser):
    """A page as a browser would take it: its elements, its texts, and whether each is closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(params=[nothing, much], ids=["empty", "much"])
def parsed(request: pytest.FixtureRequest) -> Parsed:
    return Parsed(page(request.param()))


def test_a_page_is_whole_and_needs_nothing_beside_it(parsed: Parsed) -> None:
    assert parsed.open == []
    assert not parsed.named("script")
    assert not parsed.named("link")
    assert not parsed.named("img")
    leads = [attributes["href"] for attributes in parsed.named("a")]
    assert leads
    assert all(str(lead).startswith("#") for lead in leads)
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(lead)[1:] for lead in leads} <= set(ids)


def test_every_section_is_there_and_headings_skip_no_level(parsed: Parsed) -> None:
    assert [attributes["id"] for attributes in parsed.named("section")] == ["curve", "scores", "tweets", "sent", "cost", "next", "how"]
    levels = [int(name[1]) for name, _ in parsed.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_every_picture_a_title_and_a_description(parsed: Parsed) -> None:
    assert len(parsed.named("caption")) == len(parsed.named("table"))
    for picture in parsed.named("svg"):
        if picture.get("aria-hidden") != "true":
            assert picture["role"] == "img"
            assert picture["aria-labelledby"]
            assert picture["aria-describedby"]
    assert all(attributes["scope"] in ("col", "row") for attributes in parsed.named("th"))


def test_an_empty_project_says_which_command_comes_first() -> None:
    text = Parsed(page(nothing())).text
    assert "Nothing is measured yet." in text
    assert "tweetmill ingest tweets.jsonl tweetmill synthesize -r recipes/synthesis-summary.yaml dataset=mine pairs=pairs.jsonl" in text
    assert "No curve is drawn yet." in text


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    html = page(much())
    assert "<script" not in html
    assert "49" not in Parsed(html).text.partition("hidden")[2][:40], "a text is no template"
    for character in ("\u202e", "\u202c", "\x1b", "\x07", "\u200b"):
        assert character not in html
    shown = Parsed(html).text
    assert "<script>alert(1)</script> \\u202eesrever\\u202c \\x1b[31mred\\x07 \\u200bhidden" in shown
    assert "https://example.org/aaa" in shown, "an address is text"


def test_every_command_that_is_advised_is_there() -> None:
    projects = [nothing(), much()]
    for verdict, label in (("stop", None), ("unsure", None), ("unsure", 400), ("continue", None)):
        of = series((25, 54.0), (50, 55.0), (100, 56.0), (200, 57.0), verdict=verdict, label=label)
        projects.append(answered(much() | {"curves": {"shown": [curve(series={"lora, human": of})], "left_out": []}}))
    projects.append(answered(much() | {"curves": {"shown": [], "left_out": []}}))
    for pairs in (2, 60):
        few = much() | {"curves": {"shown": [], "left_out": []}}
        few["project"]["datasets"]["shown"][0]["pairs"] = pairs
        few["curves"]["shown"] = [curve(pairs=pairs)] if pairs > 2 else []
        projects.append(answered(few))
    commands = {command for found in projects for step in found["next"] for command in step["commands"]}
    assert len(commands) > 8
    for command in commands:
        name, *words = shlex.split(command)
        assert name == "tweetmill"
        assert complaint(words) is None


def test_the_answer_is_the_verdict_of_the_newest_curve_that_is_drawn() -> None:
    answer = much()["answer"]
    assert (answer["verdict"], answer["curve"], answer["series"]) == ("continue", "mine", "lora, human")
    assert answer["sentence"] == "Continue: more pairs are worth it."
    assert "Another one, freezing, is under way: 3 of 90 points have a score." in answer["more"]
    without = answered(much() | {"curves": {"shown": [], "left_out": []}})
    assert without["answer"]["verdict"] == "measured"
    assert without["answer"]["sentence"] == "The tuned model beats lead and rules."


def test_a_curve_with_a_fit_answers_before_one_that_was_given_up_with_fewer_sizes() -> None:
    few = {
        "lora, human": series((25, 54.0), (50, 55.0), verdict="unsure", label=30, refused="2 sizes are too few", sizes=(20, 25, 40, 50, 80))
    }
    given_up, going_on, drawn = curve("given-up", series=few), curve("going-on", done=4), curve("drawn")
    assert advice.answering([given_up, going_on]) is going_on
    assert advice.answering([given_up, going_on, drawn]) is drawn
    assert advice.answering([curve("newer"), drawn]) != drawn, "of equals the newest"
    assert advice.answering([going_on | {"series": few}, given_up]) is given_up
    assert advice.answering([curve("none", series={})]) is None


def test_nothing_is_foretold_of_too_few_sizes() -> None:
    few = series((25, 54.0), verdict="unsure", label=55, refused="1 size is too few", sizes=(20, 25, 40, 80))
    assert advice.foretold(few) == []
    assert advice.words(few)[0] == "Unsure: 1 size is too few."
    assert not any("Twice the pairs" in sentence for sentence in advice.words(few)[1])
    html = page(answered(nothing() | {"curves": {"shown": [curve(series={"lora, human": few})], "left_out": []}}))
    assert "Nothing is foretold from so few sizes." in html
    assert 'class="ahead' not in html


def test_a_curve_without_a_score_yet_does_not_say_on_how_many_rows() -> None:
    html = page(answered(nothing() | {"curves": {"shown": [curve(series={}) | {"n": 0}], "left_out": []}}))
    assert "SARI on held-back rows, dataset" in Parsed(html).text


def advised(**changed: Any) -> list[str]:
    """The commands that a curve's verdict leads to."""
    found = answered(nothing() | {"project": much()["project"], "curves": {"shown": [curve(**changed)], "left_out": []}})
    return [command for step in found["next"] for command in step["commands"] if "evaluate" not in command]


def worse(verdict: str, lead: float = 59.5, **changed: Any) -> dict[str, Any]:
    """A project whose curve's models of 400 pairs have 58 and are proven worse than lead."""
    of = series((50, 55.0), (100, 56.0), (200, 57.0), (400, 58.0), verdict=verdict, **changed)
    of["against"] = [against("lead", lead, 58 - lead, 57 - lead, 59 - lead - 0.6, "worse"), against("rules", 55.9, 2.1, 0.6, 3.6, "better")]
    drawn = curve(series={"lora, human": of})
    return answered(nothing() | {"project": much()["project"], "curves": {"shown": [drawn], "left_out": []}})


def next_steps(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in found["next"] if not any("evaluate" in command for command in step["commands"])]


@pytest.mark.parametrize("verdict", ["continue", "unsure", "stop"])
def test_models_that_are_proven_worse_than_what_needs_no_training_are_not_advised(verdict: str) -> None:
    found = worse(verdict, label=400)
    assert (found["answer"]["verdict"], found["answer"]["better"]) == (verdict, "lead")
    assert "at 400 pairs the model is worse than lead: use that" in found["answer"]["sentence"]
    first, *others = next_steps(found)
    assert first["why"].startswith("Use lead, the first 15 words of a tweet: the models of the largest size are proven worse (")
    assert first["commands"] == ["tweetmill compare mine-lora-human-400-2 lead"]
    assert not any("summarize" in command for step in found["next"] for command in step["commands"])
    assert others[0]["why"].startswith(("Only to find out whether more pairs pass lead: ", "Stop writing pairs; look"))
    assert "are worth it" not in found["answer"]["sentence"]
    html = page(found)
    assert found["answer"]["sentence"] in Parsed(html).text
    assert '<span class="badge">Continue' not in html


def test_pairs_are_to_be_written_only_with_the_reservation_that_the_model_is_worse() -> None:
    added, seeded = next_steps(worse("unsure", label=5000))[1:]
    assert added["why"].startswith("Only to find out whether more pairs pass lead: Write about 4,600 more pairs, ")
    assert seeded["why"].startswith("Or train more subsets of each size, which needs no new pair.")
    (alone,) = next_steps(worse("unsure"))[1:]
    assert alone["why"].startswith("More pairs alone would hardly tell: train more subsets")


def test_no_pairs_are_to_be_written_where_more_are_not_foretold_to_reach_what_needs_no_training() -> None:
    found = worse("continue", lead=70.0)
    assert "More pairs are not foretold to reach it (57.0 to 62.0 foretold at 1,600, where it has 70.0)." in found["answer"]["sentence"]
    assert [step["commands"] for step in next_steps(found)][1:] == [["tweetmill review mine"]]


def test_the_model_that_is_advised_is_of_no_series_that_is_proven_worse() -> None:
    stopped = series((25, 54.0), (50, 55.0), (100, 56.0), (200, 57.0), (400, 57.0), verdict="stop")
    high = series((25, 54.0), (50, 55.0), (100, 56.0), (200, 58.0), verdict="stop")
    high["against"] = [against("lead", 62.0, -4.0, -5.0, -3.0, "worse")]
    models = [*trained(stopped, "lora", "human"), *trained(high, "lora", "noise")]
    commands = advised(series={"lora, human": stopped, "lora, noise": high}, trained=models)
    assert commands[0] == "tweetmill summarize tweets.jsonl --model mine-lora-human-200-2 --wait"


def of_few(*sizes: int, pairs: int) -> list[str]:
    """The commands that a curve of fewer sizes than a fit needs leads to, whose dataset has so many pairs."""
    few = series(*((size, 50.0) for size in sizes), verdict="unsure", refused=f"{len(sizes)} sizes are too few")
    return advised(series={"lora, human": few}, pairs=pairs)


@pytest.mark.parametrize(
    ("sizes", "pairs", "wanted"),
    [
        ((200,), 200, "25,50,100,200"),
        ((100, 200), 200, "25,50,100,200"),
        ((25,), 60, "15,25,30,60"),
        ((25, 50), 5000, "25,50,200,400"),
    ],
)
def test_too_few_sizes_are_made_up_for_by_subsets_of_the_pairs_that_there_are(sizes: tuple[int, ...], pairs: int, wanted: str) -> None:
    assert of_few(*sizes, pairs=pairs) == [f"tweetmill curve run -r RECIPE name=mine dataset=mine {DRAWN} --seeds 3 --sizes {wanted}"]


def test_pairs_are_to_be_written_only_where_those_that_there_are_make_too_few_sizes() -> None:
    assert of_few(30, pairs=30)[1:] == [f"tweetmill curve run -r RECIPE name=more dataset=more {DRAWN} --seeds 3 --sizes 20,30,40,80"]
    few = series((30, 50.0), verdict="unsure", label=50, refused="1 sizes are too few", sizes=(20, 30, 40, 80))
    assert "Label 50 more to know, and give --sizes 20,30,40,80." in advice.words(few)[1]
    many = series((200, 50.0), verdict="unsure", refused="1 sizes are too few", sizes=(25, 50, 100, 200))
    assert "Smaller subsets of the same pairs tell: give --sizes 25,50,100,200." in advice.words(many)[1]


DRAWN = "max_steps=30 --origins human,noise,mix --methods freeze,lora --budget steps"


def test_more_pairs_than_a_curve_used_are_used_before_others_are_written() -> None:
    assert advised(pairs=800) == [
        f"tweetmill curve run -r RECIPE name=mine dataset=mine {DRAWN} --seeds 3 --sizes 25,50,100,200,400,800",
    ]
    assert advised(pairs=799)[1:] == [
        f"tweetmill curve run -r RECIPE name=more dataset=more {DRAWN} --seeds 3 --sizes 25,50,100,200,400,800",
    ]


def test_the_pairs_of_a_curve_s_dataset_count_though_newer_datasets_fill_the_page() -> None:
    (command,) = advised(dataset="old", pairs=800)
    assert " dataset=old " in command


def test_an_unsure_curve_is_added_to_with_its_own_seeds_methods_and_budget() -> None:
    unsure = series((25, 54.0), (50, 55.0), (100, 56.0), (200, 57.0), verdict="unsure", label=200)
    models = [
        {"method": "freeze", "origins": ["human"], "size": size, "seed": seed, "model": None, "seconds": None, "scores": None}
        for size in (25, 50, 100, 200)
        for seed in range(5)
    ]
    added = "tweetmill curve run -r RECIPE name=mine dataset=mine --methods freeze"
    assert advised(series={"freeze, human": unsure}, trained=models, max_steps=-1) == [
        f"{added} --seeds 5 --sizes 25,50,100,200,400",
        f"{added} --seeds 10 --sizes 25,50,100,200",
    ]
    two = [each for each in models if each["seed"] < 2]
    assert advised(series={"freeze, human": unsure}, trained=two, max_steps=-1)[1] == f"{added} --seeds 6 --sizes 25,50,100,200"


@pytest.mark.parametrize("pairs", [800, 60])
def test_a_curve_that_was_scored_on_the_first_rows_is_scored_on_them_again(pairs: int) -> None:
    command = advised(scored=curve()["scored"] | {"limit": 40}, pairs=pairs)[-1]
    assert " --budget steps --limit 40 --seeds 3 --sizes 25,50,100,200,400,800" in command


@pytest.mark.parametrize(
    ("errors_from", "said"),
    [
        ("seeds", "Student's 95% intervals by how far models of one size differ"),
        ("points", "95% intervals by a bootstrap of 2,000 resamples"),
        (None, "one model of each size, without intervals"),
    ],
)
def test_an_interval_of_a_curve_is_said_to_come_from_where_it_comes_from(errors_from: str | None, said: str) -> None:
    of = series((25, 54.0), (50, 55.0), (100, 56.0), (200, 57.0)) | {"errors_from": errors_from}
    found = answered(nothing() | {"curves": {"shown": [curve(series={"lora, human": of})], "left_out": []}})
    (figure_of,) = provenance.rows(found)
    assert said in dict(figure_of["told"])["scores"]


def test_the_worst_rows_bear_the_name_of_the_system_that_they_are_of() -> None:
    found = much()
    found["examples"]["worst_of"] = "lora-200"
    assert "Where the newest evaluation or comparison gave lora-200 the lowest SARI." in Parsed(page(found)).text


def test_metrics_and_slices_are_taken_from_the_result() -> None:
    result = {
        "tuned": {"sari": figure(60.0), "fluency": figure(0.5)},
        "lead": {"sari": figure(57.0), "fluency": figure(0.4)},
        "guard": {"n": 300, "retried": 1, "fallbacks": 0},
        "margins": {"lead": {"sari": figure(3.0)}},
        "long": {"tuned": {"sari": figure(52.0, n=166)}, "margins": {}},
        "slices": {
            "quotes": {"n": 3},
            "questions": {"n": 41, "sari": {"tuned": figure(61.0, n=41), "lead": figure(57.0, n=41)}, "margins": {"lead": figure(4.0)}},
            "long": {"n": 166, "sari": {"tuned": figure(52.0, n=166)}},
        },
        "model": "demo",
    }
    tables = scores.tables(result)
    assert [(table["title"], table["n"], list(table["systems"])) for table in tables] == [
        ("All rows", 300, ["tuned", "lead"]),
        ("Tweets of more than 20 words", 166, ["tuned"]),
        ("Slice: questions", 41, ["tuned", "lead"]),
    ]
    assert scores.metrics(tables[0]["systems"]) == ["sari", "fluency"]
    assert "fluency" in Parsed(page(answered(nothing() | {"evaluations": {"shown": [evaluation()], "there": 1}}))).text


def test_what_a_judge_says_stands_beside_how_far_it_can_be_trusted() -> None:
    agreement = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 90}
    pair = {"a": "one", "b": "two", "first": 3, "second": 5, "tie": 92, "n": 100, "margin": 5.0, "majority": 0.5, "by_place": None}
    (said,) = scores.judge_words({"judge": {"model": "tiny", "pairs": [pair | {"agreement": agreement}]}})
    assert said.startswith("The judge tiny preferred 3 times one, 5 times two, 92 ties, of 100 rows: on 90 rows")
    assert "don't decide by it" in said
    assert scores.judge_words({}) == []


def test_what_a_cost_holds_is_shown_whatever_its_keys_are() -> None:
    of = series((25, 54.0), (50, 55.0), (100, 56.0), (200, 57.0))
    of["cost"] |= {"hours": 1.5, "electricity": {"usd": 0.5, "source": HOSTILE[:8]}, "training": None}
    text = Parsed(page(answered(nothing() | {"curves": {"shown": [curve(series={"lora, human": of})], "left_out": []}}))).text
    assert "hours 1 h 30 m" in text
    assert "electricity usd 0.50 USD" in text
    assert "minutes from review" in text


@pytest.mark.parametrize("width", [charts.WIDE, charts.NARROW])
def test_names_of_baselines_do_not_lie_on_each_other(width: int) -> None:
    drawn = charts.curve(
        {"lora": series((25, 54.0), (50, 58.0))},
        {},
        {"lead": 56.0, "rules": 56.01, "as_is": 55.99},
        "SARI",
        width,
        "c",
        "A curve",
        ahead={},
    )
    places = [float(place) for place in re.findall(r'<text x="[\d.]+" y="([\d.]+)" class="name">(?:lead|rules|as_is)', drawn)]
    assert len(places) == 3
    assert all(later - earlier >= 12 for earlier, later in itertools.pairwise(places))


def test_ticks_are_round_and_inside() -> None:
    assert charts.ticks(53.2, 61.7) == [54, 56, 58, 60]
    assert charts.ticks(0.61, 0.64) == [0.61, 0.615, 0.62, 0.625, 0.63, 0.635, 0.64]
    assert charts.ticks(5, 5) == [5]


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2.2 between two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_letters_in_pictures_have_the_contrast_that_axe_can_not_measure_there(mode: int) -> None:
    named = colours(re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[mode])
    for behind in ("paper", "card", "code"):
        for letters in ("ink", "soft"):
            assert contrast(named[letters], named[behind]) >= 4.5
    for look in ("go", "halt", "open", "none", "accent"):
        assert contrast(named[look], named["card"]) >= 4.5
    for kind in range(charts.MARKERS):
        assert contrast(named[f"s{kind}"], named["card"]) >= 3
