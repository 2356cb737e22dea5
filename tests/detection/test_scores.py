"""Every score against its formula in float64, and what all of them owe to whoever evaluates."""

import dataclasses
import json
import math

import pytest
import safetensors.torch
import torch

import dogfast.detection.scores as module
from dogfast.classifiers.evidence import Evidence
from dogfast.config import detection as config
from dogfast.config.detection import DetectionConfig
from dogfast.detection.fitting import CANDIDATES, DEFAULTS, FITS, fit_scores
from dogfast.detection.scores import REJECTION, SCORES, bound_scores, moves
from dogfast.detection.scores.shaping import PERCENTILES, keep_largest
from dogfast.detection.table import evaluate_scores
from dogfast.errors import DataError, UsageError
from tests.detection.made_up import MAGNITUDE, labels_of, make_evidence, relu_features

ASH = ("ash-s", "ash-b", "ash-p")
SHAPED = (*ASH, "scale")


# --- the formulas, one float64 number at a time -----------------------------------------------------------------
def reference_msp(logits, temperature=1.0):
    exponentials = [math.exp(f / temperature) for f in logits]
    return max(exponentials) / sum(exponentials)


def reference_energy(logits):
    top = max(logits)
    return top + math.log(sum(math.exp(f - top) for f in logits))


def energy_of(evidence, feature):
    """Energy of the head on one ``feature``, a list."""
    rows, biases = evidence.head_weight.double().tolist(), evidence.head_bias.double().tolist()
    return reference_energy([sum(w * a for w, a in zip(row, feature)) + bias for row, bias in zip(rows, biases)])


def reference_shaped(name, evidence, at, percentile):
    z = evidence.features[at].double().tolist()
    k = max(1, len(z) - round(len(z) * percentile / 100))
    order = sorted(range(len(z)), key=lambda j: (-z[j], j))
    kept = [z[j] if j in order[:k] else 0.0 for j in range(len(z))]
    stretched = math.exp(sum(z) / sum(kept)) if sum(z) else 1.0
    shaped = {
        "ash-s": [a * stretched for a in kept],
        "ash-b": [sum(z) / k if j in order[:k] else 0.0 for j in range(len(z))],
        "ash-p": kept,
        "scale": [a * stretched for a in z],
    }
    return energy_of(evidence, shaped[name])


def test_scores_of_logits():
    evidence = make_evidence(relu_features(12, 16))
    rows, moved = evidence.logits.double().tolist(), evidence.moved[MAGNITUDE].double().tolist()
    assert SCORES["msp"](evidence).tolist() == pytest.approx(list(map(reference_msp, rows)), rel=1e-5)
    assert SCORES["maxlogit"](evidence).tolist() == pytest.approx(list(map(max, rows)), rel=1e-6)
    assert SCORES["energy"](evidence).tolist() == pytest.approx(list(map(reference_energy, rows)), rel=1e-5)
    expected = [reference_msp(row, 1000.0) for row in moved]
    assert SCORES["odin"](evidence, magnitude=MAGNITUDE).tolist() == pytest.approx(expected, rel=1e-7)
    assert len(set(expected)) == len(expected), "at a temperature of 1000 they differ by little, but do"


def test_rejection_is_the_log_odds_of_the_known_classes():
    evidence = make_evidence(relu_features(12, 16))
    for at, found in enumerate(SCORES[REJECTION](evidence).tolist()):
        known = sum(math.exp(f) for f in evidence.logits[at].double().tolist())
        unknown = math.exp(float(evidence.rejection[at].double()))
        p = known / (known + unknown)
        assert found == pytest.approx(math.log(p / (1 - p)), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("percentile", [0, 30, *PERCENTILES, 99])
@pytest.mark.parametrize("width", [1, 10, 50])
def test_scores_of_shaped_features(name, width, percentile):
    features = relu_features(9, width)
    features[1] = features[1].round()  # ties
    features[2] = 0.5  # nothing but ties
    features[3] = 0.0
    evidence = make_evidence(features)
    expected = [reference_shaped(name, evidence, at, percentile) for at in range(9)]
    assert SCORES[name](evidence, percentile=percentile).tolist() == pytest.approx(expected, rel=3e-5, abs=1e-5)


def test_react_clips_at_nine_tenths_of_the_activations():
    training, evidence = make_evidence(relu_features(30, 16)), make_evidence(3 * relu_features(9, 16, seed=2))
    ordered = sorted(training.features.double().flatten().tolist())
    below = 0.9 * (len(ordered) - 1)
    part = below - int(below)
    threshold = (1 - part) * ordered[int(below)] + part * ordered[int(below) + 1]
    state = FITS["react"](training, labels_of(30))
    assert state == {"threshold": pytest.approx(threshold, rel=1e-6)}
    clipped = [[min(a, threshold) for a in row] for row in evidence.features.double().tolist()]
    assert any(a == threshold for row in clipped for a in row)
    found = SCORES["react"](evidence, **state).tolist()
    assert found == pytest.approx([energy_of(evidence, row) for row in clipped], rel=1e-5)


def test_of_very_many_activations_react_takes_evenly_spaced_images(monkeypatch):
    monkeypatch.setattr("dogfast.detection.scores.react.ACTIVATIONS_AT_MOST", 100)
    training = make_evidence(torch.arange(40.0)[:, None].expand(40, 5))
    assert FITS["react"](training, labels_of(40)) == {"threshold": pytest.approx(0.9 * 38)}


# --- corners of shaping -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("percentile, survivors", [(65, 45), (90, 13), (95, 6)])
def test_how_many_survive_at_wrn_40_2s_width(percentile, survivors):
    kept = keep_largest(torch.rand(3, 128) + 0.1, percentile)
    assert (kept > 0).sum(dim=1).tolist() == [survivors] * 3


def test_ties_keep_exactly_k_and_the_lower_index():
    kept = keep_largest(torch.tensor([[1.0, 2.0, 1.0, 1.0]]), 50)
    assert kept.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_at_least_one_survives():
    assert keep_largest(torch.tensor([[1.0, 2.0, 0.5]]), 99).tolist() == [[0.0, 2.0, 0.0]]


def test_beyond_fp32_scores_are_infinite_but_never_nan():
    # One of 400 equal entries survives: e^400. Class 0 has a positive weight, class 1 a negative one, class 2 none.
    weight = torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 400)
    for rows, expected in [([0, 1, 2], math.inf), ([1], -math.inf), ([1, 2], 0.0)]:
        evidence = Evidence(torch.zeros(1, len(rows)), torch.full((1, 400), 10.0), weight[rows], torch.zeros(len(rows)))
        assert [SCORES[name](evidence, percentile=99.9).item() for name in ("ash-s", "scale")] == [expected] * 2


@pytest.mark.parametrize("name", SHAPED)
def test_negative_features_are_refused(name):
    with pytest.raises(DataError, match=f"^{name} needs features behind a ReLU.*--scores"):
        SCORES[name](make_evidence(torch.tensor([[1.0, -0.1]])), percentile=90)


# --- the seam ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def states():
    """What every score was told: fitted on 40 images, nothing chosen."""
    return fit_scores(config.SCORES, (make_evidence(relu_features(40, 30)), labels_of(40)), None, DetectionConfig())[0] | {
        "odin": {"magnitude": MAGNITUDE}
    }


def test_the_table_and_the_configuration_name_the_same_scores_to_be_asked_for():
    assert tuple(SCORES) == (*config.SCORES, REJECTION)
    assert FITS.keys() <= SCORES.keys() and DEFAULTS.keys() <= CANDIDATES.keys() <= SCORES.keys()


@pytest.mark.parametrize("name", SCORES)
def test_bound_scores_take_evidence_alone_and_leave_it_as_it_was(name, states):
    evidence = make_evidence(relu_features(7, 30))
    evidence_before = {field.name: getattr(evidence, field.name) for field in dataclasses.fields(evidence)}
    before = {key: t.clone() for key, t in (evidence_before | evidence_before.pop("moved")).items()}
    scores = bound_scores((name,), states)[name](evidence)
    assert scores.shape == (7,) and scores.dtype == torch.float32 and scores.device.type == "cpu"
    assert all(torch.equal((vars(evidence) | evidence.moved)[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", SCORES)
def test_how_many_images_are_scored_at_once_does_not_matter(name, states, monkeypatch):
    evidence = make_evidence(relu_features(7, 30, seed=3))
    whole = bound_scores((name,), states)[name](evidence)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    torch.testing.assert_close(bound_scores((name,), states)[name](evidence), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_no_images_have_no_scores(name, states):
    assert bound_scores((name,), states)[name](make_evidence(torch.empty(0, 30))).shape == (0,)


@pytest.mark.parametrize("name", SCORES)
def test_images_that_look_alike_score_alike(name, states):
    evidence = make_evidence(relu_features(1, 30).expand(6, 30).contiguous())
    alike = dataclasses.replace(evidence, rejection=torch.ones(6), moved={MAGNITUDE: evidence.logits})
    scores = bound_scores((name,), states)[name](alike)
    torch.testing.assert_close(scores, scores[:1].expand(6))  # some processors round a product of matrices row by row


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_ordinary_score_and_touches_no_other_image(name, value, states):
    evidence = make_evidence(relu_features(6, 30, seed=4))
    scored = bound_scores((name,), states)[name]
    before = scored(evidence)
    for part in (evidence.features, evidence.logits, evidence.rejection, evidence.moved[MAGNITUDE]):
        part[2] = value
    found = scored(evidence)
    assert torch.equal(found[[0, 1, 3, 4, 5]], before[[0, 1, 3, 4, 5]])
    if name == "react" and value == math.inf:
        assert found[2].isfinite(), "clipped, as the method means it"
    else:
        assert not found[2].isfinite()
    if found[2].isnan():
        with pytest.raises(DataError, match="odd: 1 of 6 scores are NaN"):
            evaluate_scores(make_evidence(relu_features(6, 30)), {"odd": evidence}, {"odd": "far"}, {name: scored})


@pytest.mark.parametrize("name", SCORES)
def test_a_stored_state_is_all_a_score_needs(name, states):
    state, evidence = states.get(name, {}), make_evidence(relu_features(7, 30, seed=5))
    tensors = safetensors.torch.save({key: value for key, value in state.items() if isinstance(value, torch.Tensor)})
    numbers = json.dumps({key: value for key, value in state.items() if not isinstance(value, torch.Tensor)})
    loaded = {name: safetensors.torch.load(tensors) | json.loads(numbers)}
    assert torch.equal(bound_scores((name,), loaded)[name](evidence), bound_scores((name,), states)[name](evidence))


def test_an_unknown_score_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"--scores 'foo'.*msp, maxlogit, energy, odin, ash-s"):
        bound_scores(("foo",), {})


def test_images_are_moved_for_odin_alone(states):
    assert moves(states) == (MAGNITUDE,) and moves({"ash-s": {"percentile": 80}}) == ()
    assert moves({"odin": {"magnitude": 0.0}}) == ()


def test_odin_without_a_move_is_a_softmax_at_its_temperature():
    evidence = dataclasses.replace(make_evidence(relu_features(9, 16)), moved=None)
    expected = [reference_msp(row, 1000.0) for row in evidence.logits.double().tolist()]
    assert SCORES["odin"](evidence, magnitude=0.0).tolist() == pytest.approx(expected, rel=1e-7)
