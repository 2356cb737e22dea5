"""The proof on photographs: who may be painted, who stays strange, what its rows share, and what the README says of it."""

from dataclasses import replace

import pytest
import tuning
from mini.vocabulary import concepts
from proof import autoencoder, causes, curve, gate, rows, told, unmatched, world
from tiny_imagenet import parted

from dogfast.config.training import START
from dogfast.training.names import classifier_name
from dogfast.training.regimes import regime_of


@pytest.fixture
def here(tmp_path):
    return world.World(tmp_path / "data", "cpu", tmp_path / "work", tmp_path / "model")


def test_words_are_nouns_of_what_the_generator_learned():
    words = world.known_words()
    names = {name for each in concepts()[1] for name in each.names}
    assert set(words) <= names and "koala" in words
    assert "chihuahua dog" in names and "chihuahua dog" not in words, "no word of WordNet, so no rule can tell what it shows"


def test_real_outliers_show_no_anchor_no_id_class_and_no_stranger():
    every = world.unpainted(set())
    training, held_out, shared = parted()
    assert set(every) == set(training) and not set(every) & {*held_out, *shared}
    koala = next(each for each in concepts()[1] if "koala" in each.names)
    assert set(every) - set(world.unpainted({"koala bear"})) == {koala.folder}


def test_every_row_of_a_seed_is_painted_trained_and_judged_alike(here):
    configs = {name: rows.config_of(here, 2, row) for name, row in causes.CAUSES.items() if row.variant != rows.FURTHER}
    assert {(c.training.train_seed, c.synthesis.seed, c.concepts.concepts_seed) for c in configs.values()} == {(2, 2, 2)}
    assert len({c.detection.ood for c in configs.values()}) == 1
    names = [classifier_name(config.training) for config in configs.values()]
    assert "oe+real@2" in names and names.count("dog@2") == 3, "those of a variant lie in a run of its own"
    places = {(causes.CAUSES[name].variant, classifier_name(config.training)) for name, config in configs.items()}
    assert len(places) == len(configs)


@pytest.mark.parametrize("setting", world.SETTINGS)
def test_real_id_images_alone_cost_no_fewer_steps(here, setting):
    with_and_without = (rows.Row("dog"), rows.Row("dog", variant=rows.REAL_ID))
    painted, plain = (rows.config_of(replace(here, setting=setting), 0, row) for row in with_and_without)
    steps = [
        regime.epochs * 9000 / (1 - each.training.id_synthetic) / regime.batch
        for each in (painted, plain)
        for regime in [regime_of(each.training, each.objectives, each.data.classes)]
    ]
    assert steps[0] == pytest.approx(steps[1], rel=0.01)


def test_half_the_weight_and_no_largest_perturbation_are_all_that_is_gentler(here):
    own, gentler = (rows.config_of(here, 0, rows.Row("dog", variant=variant)) for variant in ("", rows.GENTLER))
    before, after = (regime_of(each.training, each.objectives, each.data.classes) for each in (own, gentler))
    assert after == replace(before, oe_weight=before.oe_weight / 2) and before.oe_weight == 1
    assert gentler.objectives.wor_strengths == (0.01, 0.001, 0.0001) and max(own.objectives.wor_strengths) == 0.1
    training = replace(gentler.training, oe_weight=None)
    assert replace(gentler, training=training, objectives=own.objectives) == own


def test_the_start_goes_on_for_the_steps_of_a_tuning_without_outliers(here, monkeypatch):
    fitted = {}
    monkeypatch.setattr(tuning, "starting_classifier", lambda config, run: None)
    monkeypatch.setattr(tuning, "mixed_id", lambda run, data, share, side: (None, None))
    monkeypatch.setattr(
        tuning, "fit", lambda *given: fitted.update(outliers=given[3], regime=given[4], objective=given[5].objective)
    )
    config = rows.config_of(here, 0, rows.ROWS[rows.BASELINES[1]])
    tuning.further(config, None, None, None, "further")
    beside = regime_of(here.config(0, "oe").training, config.objectives, config.data.classes)
    assert fitted["objective"] == START and fitted["outliers"] is None and fitted["regime"].ood_batch == 0
    for name in ("epochs", "batch", "lr", "schedule", "start"):
        assert getattr(fitted["regime"], name) == getattr(beside, name)


def test_two_cores_have_all_seeds_of_the_rows_alone(here):
    assert here.beside_rows([3, 4]) == [3]
    assert replace(here, setting="gpu").beside_rows([3, 4]) == [3, 4]


def test_recipes_differ_in_what_they_paint_with_alone(here):
    places = {gate.place(here, 0, name) for name in gate.RECIPES} | {here.of_seed(0)}
    assert len(places) == len(gate.RECIPES) + 1
    recipes = [gate.config_of(here, 0, name).synthesis for name in gate.RECIPES]
    assert [(each.recipe, each.steps, each.guidance_stop) for each in recipes] == [
        ("paper", None, None),
        ("quality", None, None),
        ("quality", 12, None),
        ("quality", 8, None),
        ("quality", None, 0.5),
    ]
    assert {(each.m, each.strategy) for each in recipes} == {(gate.M, "dog")}


def test_unmatched_rows_are_those_of_the_seed_without_the_codec(here):
    for row in unmatched.UNMATCHED.values():
        matched, plain = rows.config_of(here, 0, row), unmatched.as_it_is(here, 0, row)
        assert (matched.data.match_codec, plain.data.match_codec) == ("auto", "none")
        assert matched.training == plain.training


# --- what is told -----------------------------------------------------------------------------------------------
def judged(fpr95: float, verdict: str = "better", baseline: str = "ce") -> dict:
    of_score = {"mean": fpr95, "by_seed": [fpr95], "baseline": baseline, "verdict": verdict, "share_of_reference": 0.5}
    of_score |= {"change": -1.25, "interval": [-2.0, -0.5]}
    return {
        "id_accuracy": 80.0,
        "judged": dict.fromkeys(told.SCORES, of_score),
        "artefact_control": dict.fromkeys(told.SCORES, 7.0),
    }


def table(names: list[str]) -> dict:
    found = {name: judged(50.0 - number) for number, name in enumerate(names)}
    return {"order": names, "strangers": found, "everywhere": found, "hardware": "a machine"}


def test_what_was_not_run_is_said_so():
    text = told.photographs_block({})
    assert text.count("not run") == len(told.PARTS)


def test_every_part_tells_its_rows():
    training = {"backbone": "wrn-16-2", "pretrain_epochs": 20, "epochs": 4}
    scale = {"seeds": [0], "outliers": 1000, "id_images": 10_000, "id_synthetic": 0.3, "training": training}
    counts = [100, 8000]
    lines = {curve.NONE: judged(60.0)} | {f"{name} {count}": judged(40.0) for name in curve.SOURCES for count in counts}
    result = {
        "rows": table(list(rows.ROWS)) | scale,
        "causes": table(list(causes.CAUSES)) | scale,
        "autoencoder": table(list(autoencoder.AUTOENCODED)) | scale,
        "unmatched": table(list(unmatched.UNMATCHED)),
        "curve": {"none": curve.NONE, "counts": counts, "lines": list(curve.SOURCES), "strangers": lines},
        "gate": table(list(gate.RECIPES))
        | {
            "seeds": [0],
            "outliers": 300,
            "published": "paper",
            "seconds_an_image": dict(zip(gate.RECIPES, (0.4, 0.1, 0.06, 0.05, 0.08))),
        },
    }
    text = told.photographs_block(result)
    assert "| oe+real |" in text and "10,000 ID images, 1,000 outliers a class, wrn-16-2" in text
    assert "| 8,000 | 40.0, 40.0, 40.0 |" in text and "| none | 60.0, 60.0, 60.0 |" in text
    assert "| `quality` | 0.1 | 4.0× | 49.0 (49.0), -1.2 (-2.0 to -0.5) |" in text
    assert "The artefact control is at most 7 % in all of them" in text and "| oe+real, decoded |" in text
    assert text.count("not run") == 3, "the tables alone"
