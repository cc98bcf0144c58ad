"""Support by the tweet, from random classifiers of pairs and of tokens: the right label of the right texts is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_encoders import LETTUCE, NLI, build_embedder, build_pair_classifier, build_token_classifier, change_config
from tests.support.tiny_model import build_tiny_model
from workers.scorers.labels import hallucinated_label, supported_label
from workers.scorers.local.support import Support
from workers.scorers.scorer import Rows, UnusableScorer

TWEETS = ["omg the bus was late again #fail", "do u know if the library is open on monday? i hope it is, i must return 3 books"]
OUTPUTS = ["The bus was late.", "My sister won 3 medals."]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pair_classifier(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_token_classifier(tmp_path_factory.mktemp("tokens"))


def relabelled(folder: Path, to: Path, labels: dict[int, str]) -> Path:
    shutil.copytree(folder, to)
    named = {str(place): name for place, name in labels.items()}
    return change_config(to, id2label=named, label2id={name: place for place, name in labels.items()})


def score(model: Path, tweets: list[str], outputs: list[str]) -> list[float]:
    return list(Support(str(model)).score(Rows(tweets, [["x"]] * len(tweets)), {"system": outputs}, lambda _: None)["system"])


def test_a_classifier_of_pairs_gives_the_probability_of_the_label_that_says_so(pairs: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(pairs), AutoModelForSequenceClassification.from_pretrained(pairs).eval()
    for tweet, output, found in zip(TWEETS, OUTPUTS, score(pairs, TWEETS, OUTPUTS), strict=True):
        with torch.inference_mode():
            expected = model(**tokenizer(tweet, output, return_tensors="pt")).logits.softmax(-1)[0]
        assert found == pytest.approx(float(expected[1]), abs=1e-4)
    others = [
        relabelled(pairs, tmp_path / str(own), {place: "supported" if place == own else f"no{place}" for place in NLI}) for own in NLI
    ]
    assert [sum(row) for row in zip(*(score(other, TWEETS, OUTPUTS) for other in others), strict=True)] == pytest.approx([1.0, 1.0])


def test_the_tweet_is_the_premise_and_the_output_the_hypothesis(pairs: Path) -> None:
    assert abs(score(pairs, TWEETS, OUTPUTS)[0] - score(pairs, OUTPUTS, TWEETS)[0]) > 1e-4


def test_a_single_label_is_a_probability_by_itself(tmp_path: Path) -> None:
    found = score(build_pair_classifier(tmp_path / "one", {0: "consistent"}), TWEETS, OUTPUTS)
    assert all(0 < each < 1 for each in found)
    assert found[0] != found[1]


def test_an_output_is_as_good_as_its_worst_token(tokens: Path) -> None:
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tokens), AutoModelForTokenClassification.from_pretrained(tokens).eval()
    for tweet, output, found in zip(TWEETS, OUTPUTS, score(tokens, TWEETS, OUTPUTS), strict=True):
        own = len(tokenizer(output, add_special_tokens=False)["input_ids"])
        encoded = tokenizer(f"Summarize the following text:\n{tweet}\noutput:\n", output, return_tensors="pt")
        with torch.inference_mode():
            hallucinated = model(**encoded).logits.softmax(-1)[0, -own:, 1]
        assert found == pytest.approx(1 - float(hallucinated.max()), abs=1e-4)


def test_names_of_labels_are_followed_where_there_are_any(tokens: Path, tmp_path: Path) -> None:
    swapped = relabelled(tokens, tmp_path / "swapped", {0: "Hallucinated", 1: "Supported"})
    assert score(swapped, TWEETS, OUTPUTS) != pytest.approx(score(tokens, TWEETS, OUTPUTS), abs=1e-3)


@pytest.mark.parametrize("kind", ["pairs", "tokens"])
def test_an_empty_output_is_supported_by_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    assert score(request.getfixturevalue(kind), TWEETS, ["", " "]) == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["pairs", "tokens"])
def test_an_output_as_long_as_its_tweet_is_read_in_part_where_both_are_too_long(kind: str, request: pytest.FixtureRequest) -> None:
    long = " ".join([TWEETS[1]] * 100)
    assert 0 < score(request.getfixturevalue(kind), [long], [long])[0] < 1


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({0: "contradiction", 1: "neutral", 2: "entailment"}, 2),
        ({0: "ENTAILMENT", 1: "NOT_ENTAILMENT"}, 0),
        ({0: "hallucinated", 1: "consistent"}, 1),
        ({"0": "unsupported", "1": "Supported"}, 1),
    ],
)
def test_the_label_that_says_supported_is_found_by_its_name(labels: dict[Any, str], place: int) -> None:
    assert supported_label({"id2label": labels}, "support") == place


@pytest.mark.parametrize(
    "config",
    [{"id2label": LETTUCE}, {}, {"num_labels": 1}, {"id2label": {0: "yes", 1: "no"}}, {"id2label": {0: "entailment", 1: "supported"}}],
)
def test_labels_that_do_not_tell_are_refused_and_not_guessed_at(config: dict[str, Any]) -> None:
    with pytest.raises(UnusableScorer, match=r"write that into id2label of the model's config\.json"):
        supported_label(config, "support")


def test_two_tokens_labels_without_names_are_those_of_lettucedetect_and_others_are_refused() -> None:
    assert hallucinated_label({"id2label": LETTUCE}, "support") == 1
    assert hallucinated_label({}, "support") == 1
    with pytest.raises(UnusableScorer, match="one of its labels must say hallucinated, and none of B-PER, O does"):
        hallucinated_label({"id2label": {0: "B-PER", 1: "O"}}, "support")


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableScorer, match="LlamaForCausalLM, which is no classifier"):
        Support(str(build_tiny_model(tmp_path / "llama")))
    with pytest.raises(UnusableScorer, match="BertModel, which is no classifier"):
        Support(str(build_embedder(tmp_path / "embedder")))


def test_a_head_that_is_not_among_the_weights_is_never_made_up(tmp_path: Path) -> None:
    bare = change_config(build_embedder(tmp_path / "bare"), architectures=["BertForSequenceClassification"], id2label={"0": "consistent"})
    with pytest.raises(UnusableScorer, match=r"lacks 2 of the tensors that its config\.json asks for, such as classifier\.bias"):
        Support(str(bare))


def test_code_of_the_models_own_is_refused_and_says_what_to_do(pairs: Path, tmp_path: Path) -> None:
    own = change_config(Path(shutil.copytree(pairs, tmp_path / "own")), auto_map={"AutoModelForSequenceClassification": "modeling.Own"})
    with pytest.raises(UnusableScorer, match=r"support by the tweet: .*auto_map.*save this one as such a class once"):
        Support(str(own))
