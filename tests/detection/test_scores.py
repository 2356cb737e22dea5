import math

import pytest
import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.config import detection as config
from dogfast.detection.scores import REJECTION, SCORES, ash_s
from dogfast.detection.scores.shaping import PERCENTILES, keep_largest
from dogfast.errors import DataError


def make_evidence(features, classes=5, seed=0):
    """A random head on ``features``, and a logit of rejection."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, features.shape[1], generator=generator)
    bias = torch.randn(classes, generator=generator)
    return Evidence(features @ weight.T + bias, features, weight, bias, torch.randn(len(features), generator=generator))


def relu_features(n, width, seed=1):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).relu()


# --- the formulas, one float64 number at a time -----------------------------------------------------------------
def reference_msp(evidence, at):
    exponentials = [math.exp(f) for f in evidence.logits[at].double().tolist()]
    return max(exponentials) / sum(exponentials)


def reference_energy(logits):
    top = max(logits)
    return top + math.log(sum(math.exp(f - top) for f in logits))


def reference_ash_s(evidence, at, percentile):
    z = evidence.features[at].double().tolist()
    k = max(1, len(z) - round(len(z) * percentile / 100))
    order = sorted(range(len(z)), key=lambda j: (-z[j], j))
    kept = [z[j] if j in order[:k] else 0.0 for j in range(len(z))]
    if sum(z):
        kept = [value * math.exp(sum(z) / sum(kept)) for value in kept]
    rows, biases = evidence.head_weight.double().tolist(), evidence.head_bias.double().tolist()
    return reference_energy([sum(w * a for w, a in zip(row, kept)) + bias for row, bias in zip(rows, biases)])


def test_msp_and_energy():
    evidence = make_evidence(relu_features(12, 16))
    expected_msp = [reference_msp(evidence, at) for at in range(12)]
    expected_energy = [reference_energy(row) for row in evidence.logits.double().tolist()]
    assert SCORES["msp"](evidence).tolist() == pytest.approx(expected_msp, rel=1e-5)
    assert SCORES["energy"](evidence).tolist() == pytest.approx(expected_energy, rel=1e-5)


def test_rejection_is_the_log_odds_of_the_known_classes():
    evidence = make_evidence(relu_features(12, 16))
    for at, found in enumerate(SCORES[REJECTION](evidence).tolist()):
        known = sum(math.exp(f) for f in evidence.logits[at].double().tolist())
        unknown = math.exp(float(evidence.rejection[at].double()))
        p = known / (known + unknown)
        assert found == pytest.approx(math.log(p / (1 - p)), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("percentile", [0, 30, *PERCENTILES, 99])
@pytest.mark.parametrize("width", [1, 10, 50])
def test_ash_s(width, percentile):
    evidence = make_evidence(relu_features(9, width))
    expected = [reference_ash_s(evidence, at, percentile) for at in range(9)]
    assert SCORES["ash-s"](evidence, percentile=percentile).tolist() == pytest.approx(expected, rel=2e-5, abs=1e-5)


# --- ASH's corners ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("percentile, survivors", [(65, 45), (90, 13), (95, 6)])
def test_how_many_survive_at_wrn_40_2s_width(percentile, survivors):
    kept = keep_largest(torch.rand(3, 128) + 0.1, percentile)
    assert (kept > 0).sum(dim=1).tolist() == [survivors] * 3


def test_ties_keep_exactly_k_and_the_lower_index():
    kept = keep_largest(torch.tensor([[1.0, 2.0, 1.0, 1.0]]), 50)
    assert kept.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_at_least_one_survives():
    assert keep_largest(torch.tensor([[1.0, 2.0, 0.5]]), 99).tolist() == [[0.0, 2.0, 0.0]]


def test_an_all_zero_feature_is_left_alone():
    evidence = make_evidence(torch.zeros(1, 20))
    assert ash_s.score(evidence, percentile=90).item() == pytest.approx(reference_energy(evidence.head_bias.tolist()), rel=1e-6)


def test_equal_features_score_equal():
    scores = ash_s.score(make_evidence(relu_features(1, 40).expand(6, 40).contiguous()), percentile=90)
    assert len(set(scores.tolist())) == 1


def test_beyond_fp32_scores_are_infinite_but_never_nan():
    # One of 400 equal entries survives: e^400. Class 0 has a positive weight, class 1 a negative one, class 2 none.
    weight = torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 400)
    for rows, expected in [([0, 1, 2], math.inf), ([1], -math.inf), ([1, 2], 0.0)]:
        evidence = Evidence(torch.zeros(1, len(rows)), torch.full((1, 400), 10.0), weight[rows], torch.zeros(len(rows)))
        assert ash_s.score(evidence, percentile=99.9).item() == expected


def test_negative_features_are_refused():
    with pytest.raises(DataError, match="--scores"):
        ash_s.score(make_evidence(torch.tensor([[1.0, -0.1]])), percentile=90)


# --- the seam ---------------------------------------------------------------------------------------------------
def test_the_table_and_the_configuration_name_the_same_scores_to_be_asked_for():
    assert tuple(SCORES) == (*config.SCORES, REJECTION)
