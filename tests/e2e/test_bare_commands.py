"""What a person types: the bare commands, one after the other, in an empty folder."""

import json
from statistics import median

import pytest

from dogfast.config.presets import preset
from dogfast.data import shapes
from tests.typed import typed

SCORES = ("msp", "energy", "ash-s")
pytestmark = pytest.mark.slow

M, OOD_IMAGES = 12, 100
GENERATE = f"dogfast generate --classes shapes --m {M}"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """An empty folder in which the four commands were typed, with little to do, and their answers."""
    place = tmp_path_factory.mktemp("empty")
    answers = {
        "generate": typed(f"{GENERATE} --inversion-steps 10 --json", place),
        "train": typed("dogfast train --pretrain-epochs 12 --epochs 1 --id-synthetic 0.05 --json", place),
        "evaluate": typed(f"dogfast evaluate --ood-images {OOD_IMAGES} --json", place),
        "report": typed("dogfast report", place),
    }
    return place, answers


def test_generate_paints_m_outliers_of_every_class(session):
    place, answers = session
    answer, said = answers["generate"].answer, answers["generate"].said
    assert answer["outliers"] == M * len(shapes.ID_WORDS) and answer["failed"] == 0
    assert answer["run"] == "runs/shapes" and answer["source"] == "dog" and answer["img_per_s"] > 0
    assert "no anchors yet: finding them first" in said
    records = sorted((place / "runs/shapes/outliers/dog/records").iterdir())
    assert len(records) == answer["shards"]


def test_anchors_are_known_words_that_are_no_class(session):
    place, _ = session
    anchors = [json.loads(line) for line in (place / "runs/shapes/concepts/anchors.jsonl").read_text().splitlines()]
    assert {anchor["word"] for anchor in anchors} <= set(shapes.VOCABULARY)
    assert {anchor["owner"] for anchor in anchors} == set(range(len(shapes.ID_WORDS)))


@pytest.mark.parametrize("owner", range(len(shapes.ID_WORDS)), ids=shapes.ID_WORDS)
def test_four_anchors_in_five_look_more_like_the_class_than_the_median_word(session, owner):
    place, name = session[0], shapes.ID_WORDS[owner]
    anchors = [json.loads(line) for line in (place / "runs/shapes/concepts/anchors.jsonl").read_text().splitlines()]
    words = [anchor["word"] for anchor in anchors if anchor["owner"] == owner]
    middle = median(shapes.distance(name, word) for word in shapes.VOCABULARY)
    assert sum(shapes.distance(name, word) < middle for word in words) >= 0.8 * len(words), words


def test_train_takes_the_newest_run_and_trains_the_start_first(session):
    place, answers = session
    answer, said = answers["train"].answer, answers["train"].said
    assert answer["name"] == "dog" and "runs/shapes (the newest under runs/)" in said
    assert "no starting classifier yet: training ce first" in said
    assert answer["id_accuracy"] > 0.5, "eight classes: chance is 0.125"
    assert (place / "runs/shapes/classifiers/ce/train.json").exists()
    assert (place / answer["model"]).exists()


def test_evaluate_measures_every_score_on_every_set(session):
    place, answers = session
    answer = answers["evaluate"].answer
    sets = {row["dataset"] for row in answer["rows"]}
    assert sets == {"held-out-shapes", "glyphs", "stripes", "checkers", "noise"}
    assert {row["score"] for row in answer["rows"]} == set(SCORES)
    assert len(answer["rows"]) == len(SCORES) * len(sets)
    measures = {"fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out"}
    for row in answer["rows"]:
        assert row.keys() == measures | {"score", "dataset", "group", "n_id", "n_ood", "fpr95_interval", "auroc_interval"}
        assert all(0 <= row[name] <= 1 for name in measures)
        for name in ("fpr95", "auroc"):
            low, high = row[f"{name}_interval"]
            assert low <= row[name] <= high
        assert row["n_ood"] == OOD_IMAGES and row["n_id"] == 2000
    assert json.loads((place / "runs/shapes/evaluation/dog/metrics.json").read_text())["rows"] == answer["rows"]


def test_report_is_one_page(session):
    place, answers = session
    page = (place / answers["report"].out.strip()).read_text()
    assert "FPR95" in page and "circle" in page and 'data-word="' in page


def test_a_second_typing_changes_nothing(session):
    place, _ = session
    shards = place / "runs/shapes/outliers/dog"
    before = {path.name: path.read_bytes() for path in shards.glob("*.tar")}
    answer = typed(f"{GENERATE} --json", place).answer
    assert answer["resumed_shards"] == answer["shards"] and answer["seconds"] < 5
    assert {path.name: path.read_bytes() for path in shards.glob("*.tar")} == before
    assert typed("dogfast train --json", place).answer["resumed"] is True


def test_another_configuration_is_refused_with_its_fields(session):
    place, _ = session
    said = typed(f"{GENERATE} --seed 7 --steps 9", place, code=6).said
    assert "seed: was 0, now 7" in said and f"steps: was {preset('shapes').synthesis.steps}, now 9" in said
