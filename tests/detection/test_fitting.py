"""Which hyper-parameters are chosen, on what, and what is said of it."""

import dataclasses

import pytest
import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.config.detection import SCORES, DetectionConfig
from dogfast.data.images import ImageSet
from dogfast.detection.fitting import CANDIDATES, DEFAULTS, described, fit_scores, fitted, to_choose
from dogfast.detection.measure import Sets, measure
from dogfast.detection.scores import bound_scores
from dogfast.errors import DataError
from tests.detection.made_up import labels_of, make_evidence, relu_features

MAGNITUDES = CANDIDATES["odin"][1][1:]
"""All but 0, which is no move."""


def with_moves(evidence, seed=0):
    """Logits that another move changes otherwise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(evidence.logits.shape, generator=generator)
    return dataclasses.replace(evidence, moved={m: evidence.logits + 1000 * m * noise for m in MAGNITUDES})


@pytest.fixture(scope="module")
def training():
    return make_evidence(relu_features(250, 40)), labels_of(250)


@pytest.fixture(scope="module")
def validation():
    known, unknown = make_evidence(relu_features(40, 40, seed=2)), make_evidence(0.9 * relu_features(30, 40, seed=3))
    return with_moves(known, 1), with_moves(unknown, 2)


def wins(known, unknown):
    """AUROC by counting pairs."""
    return sum((a > b) + (a == b) / 2 for a in known.tolist() for b in unknown.tolist()) / (len(known) * len(unknown))


@pytest.mark.parametrize("name", CANDIDATES)
def test_the_candidate_of_best_validation_auroc_is_chosen(name, training, validation):
    states, choices = fit_scores((name,), training, validation, DetectionConfig())
    parameter, candidates = CANDIDATES[name]
    candidates = [value for value in candidates if parameter != "k" or value <= 250]
    measured = {}
    for value in candidates:
        score = bound_scores((name,), {name: states[name] | {parameter: value}})[name]
        measured[value] = wins(*map(score, validation))
    choice = choices[name]
    assert measured[choice.value] == pytest.approx(max(measured.values())) and states[name][parameter] == choice.value
    assert f"({100 * max(measured.values()):.2f} %) of {', '.join(map(str, candidates))}" in choice.reason
    assert described(choices) == {name: {"name": parameter, "value": choice.value, "reason": choice.reason}}


@pytest.mark.parametrize("name", CANDIDATES)
def test_of_equal_candidates_the_first_is_chosen(name):
    # Everything is told apart at every candidate.
    weight, bias = torch.ones(1, 100), torch.zeros(1)
    known, unknown = (Evidence(z @ weight.T, z, weight, bias) for z in (torch.ones(3, 100), torch.zeros(3, 100)))
    known, unknown = (dataclasses.replace(e, moved=dict.fromkeys(MAGNITUDES, e.logits)) for e in (known, unknown))
    _, choices = fit_scores((name,), (known, torch.zeros(3, dtype=torch.long)), (known, unknown), DetectionConfig())
    assert choices[name].value == CANDIDATES[name][1][0]


def test_without_validation_the_papers_values_are_taken_and_said_to_be(training):
    states, choices = fit_scores(SCORES, training, None, DetectionConfig())
    assert {name: states[name] for name in DEFAULTS} == DEFAULTS and states["knn"]["k"] == 50
    assert all("the default: the run holds no validation outliers" in choice.reason for choice in choices.values())
    assert states.keys() == {*DEFAULTS, "react", "mahalanobis", "knn", "vim"} and choices.keys() == CANDIDATES.keys()


def test_what_was_asked_for_is_not_chosen(training, validation):
    config = DetectionConfig(ash_percentile=77)
    assert to_choose(("msp", "ash-s", "ash-b", "ash-p", "scale"), config) == ("scale",)
    assert to_choose(("ash-s",), DetectionConfig()) == ("ash-s",)
    states, choices = fit_scores(("ash-b", "scale"), None, validation, config)
    assert states["ash-b"] == {"percentile": 77} and choices["ash-b"].reason == "asked for by --ash-percentile"
    assert "best validation AUROC" in choices["scale"].reason


def test_scores_that_need_no_training_images_get_none():
    assert fitted(SCORES) == ("react", "mahalanobis", "knn", "vim") and fitted(("msp", "odin", "scale")) == ()
    assert fit_scores(("msp", "maxlogit"), None, None, DetectionConfig()) == ({}, {})


def test_a_share_of_the_training_images_is_the_bank(training):
    states, _ = fit_scores(("knn",), training, None, DetectionConfig(knn_share=0.1))
    assert len(states["knn"]["bank"]) == 25 and states["knn"]["k"] == 5


def test_training_features_that_are_not_finite_are_refused(training):
    known, labels = training
    broken = dataclasses.replace(known, features=known.features.clone())
    broken.features[[3, 5], 0] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(DataError, match="ID training images: 2 of 250 have features that are not finite"):
        fit_scores(("knn",), (broken, labels), None, DetectionConfig())


def test_nan_on_validation_is_refused_naming_the_images(validation):
    broken = dataclasses.replace(validation[1], features=validation[1].features * torch.nan)
    with pytest.raises(DataError, match="OOD validation images, ash-s: 30 of 30 scores are NaN"):
        fit_scores(("ash-s",), None, (validation[0], broken), DetectionConfig())


# --- no leakage -------------------------------------------------------------------------------------------------
def images(value, n):
    return torch.full((n, 3, 2, 2), value, dtype=torch.uint8)


def image_set(value, n):
    return ImageSet(images(value, n), labels_of(n), tuple(map(str, range(n))), tuple("abcde"))


TRAINING, ID_VALIDATION, OOD_VALIDATION, TEST, TEST_OOD, PAINTED = range(6)


def measured(test_seed):
    """`measure` on made-up evidence by what an image holds; and which images were looked at, in that order."""
    looks = []

    def look(some, *magnitudes):
        kind = int(some[0, 0, 0, 0])
        assert (some == kind).all()
        looks.append((kind, magnitudes))
        seed = kind if kind in (TRAINING, ID_VALIDATION, OOD_VALIDATION) else kind + test_seed
        evidence = make_evidence(relu_features(len(some), 40, seed=seed))
        return dataclasses.replace(evidence, rejection=None, moved={m: with_moves(evidence).moved[m] for m in magnitudes})

    sets = Sets(
        known=image_set(TEST, 30),
        unknown={"far": images(TEST_OOD, 20)},
        facts={"far": {"group": "far"}},
        painted_known=images(PAINTED, 10),
        validation=(images(ID_VALIDATION, 40), images(OOD_VALIDATION, 30)),
        training=image_set(TRAINING, 60),
    )
    assert len(sets) == 30 + 20 + 10 + 40 + 30 + 60
    found, _ = measure(look, sets, DetectionConfig(scores=SCORES))
    return found, looks


def test_all_is_chosen_before_a_test_image_is_looked_at():
    found, looks = measured(100)
    assert [kind for kind, _ in looks] == [TRAINING, ID_VALIDATION, OOD_VALIDATION, TEST, TEST_OOD, PAINTED]
    magnitude = found["hyper_parameters"]["odin"]["value"]
    then = (magnitude,) if magnitude else ()
    assert [m for _, m in looks] == [(), MAGNITUDES, MAGNITUDES, then, then, then]


def test_other_test_images_change_no_choice():
    first, second = (measured(seed)[0] for seed in (100, 200))
    assert first["hyper_parameters"] == second["hyper_parameters"] and first["rows"] != second["rows"]
