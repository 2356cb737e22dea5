"""Eq. 6: quantile distances against brute force, and who owns and keeps which word."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dogfast.numerics.neighbours as neighbours
from dogfast.concepts.anchors import FEWEST_ANCHORS, choose_anchors, near_distances
from dogfast.concepts.candidates import Candidates
from dogfast.config.concepts import ConceptsConfig

INF = math.inf


# --- q ----------------------------------------------------------------------------------------------------------
def brute(words, images, rank):
    words, images = words.double().numpy(), images.double().numpy()
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    return np.sort(1 - words @ images.T, axis=1)[:, rank - 1]


@pytest.mark.parametrize(
    ("n", "eta", "rank"),
    [
        (1, 0.05, 1),
        (7, 0.05, 1),
        (19, 0.05, 1),
        (20, 0.05, 1),
        (21, 0.05, 2),
        (40, 0.05, 2),
        (100, 0.05, 5),
        (101, 0.05, 6),
        (100, 0.07, 7),
        (200, 0.07, 14),
        (30, 0.1, 3),
        (10, 0.999, 10),
    ],
)
@pytest.mark.parametrize("cells", [1, 40, 350, 2**26])
def test_q_is_the_kth_smallest_distance(n, eta, rank, cells, monkeypatch):
    monkeypatch.setattr(neighbours, "DISTANCES_AT_ONCE", cells)
    generator = torch.Generator().manual_seed(n)
    words, images = torch.randn(11, 6, generator=generator) * 3, torch.randn(n, 6, generator=generator) / 5
    found = near_distances(words, images, eta)
    assert found.shape == (11,)
    np.testing.assert_allclose(found.numpy(), brute(words, images, rank), atol=1e-6)


def test_q_ignores_the_order_of_images_and_of_words():
    generator = torch.Generator().manual_seed(0)
    words, images = torch.randn(9, 6, generator=generator), torch.randn(50, 6, generator=generator)
    found = near_distances(words, images, 0.1)
    torch.testing.assert_close(near_distances(words.flip(0), images.flip(0), 0.1).flip(0), found)


def test_no_more_distances_are_held_than_said(monkeypatch):
    monkeypatch.setattr(neighbours, "DISTANCES_AT_ONCE", 100)
    widest = []
    original = torch.Tensor.kthvalue

    def watched(self, *args, **kwargs):
        widest.append(self.numel())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "kthvalue", watched)
    near_distances(torch.randn(33, 4), torch.randn(30, 4), 0.05)
    assert max(widest) <= 100 and sum(widest) == 33 * 30


# --- a small case by hand ---------------------------------------------------------------------------------------
def decide(distances, candidates, own, quantile=0.5, margin=0.0, **fields):
    """Distances (C, W) and a mask of candidates (C, W), rows filled up with a word of infinite distance."""
    distances, mask = torch.tensor(distances, dtype=torch.float64), torch.tensor(candidates, dtype=torch.bool)
    return chosen(distances, mask, torch.tensor(own), quantile, margin, **fields)


def chosen(distances, mask, own, quantile=0.5, margin=0.0, **fields):
    width = int(mask.sum(1).max())
    words = torch.full((len(mask), width), distances.shape[1])
    given = torch.full((len(mask), width), INF, dtype=distances.dtype)
    for y, row in enumerate(mask):
        mine = row.nonzero()[:, 0]
        words[y, : len(mine)], given[y, : len(mine)] = mine, distances[y, mine]
    settings = ConceptsConfig(anchor_quantile=quantile, margin=margin, **fields)
    return choose_anchors(Candidates(words, torch.rand(words.shape)), given, own, settings)


def test_two_classes_by_hand():
    """Words 0..8. Class 0: candidates 0..6; class 1: 4..7; nobody's: 8."""
    distances = [
        [0.10, 0.30, 0.31, 0.32, 0.50, 0.34, 0.90, 0.01, 0.05],
        [0.05, 0.05, 0.05, 0.05, 0.40, 0.60, 0.91, 0.45, 0.01],
    ]
    candidates = [[1, 1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1, 0]]
    verdicts = decide(distances, candidates, own=[0.20, 0.42])
    near = "nearer than the class's own name"
    found = {(v.owner, v.word): (v.reason, v.topped_up) for v in verdicts}
    assert found == {
        # Class 0 owns 0, 1, 2, 3, 5, 6 (not 4: class 1 is nearer). Bound 0.20 and the median 0.315 keep 1 and 2; the three
        # nearest of its candidates above the bound are added: 3 (0.32), 5 (0.34) and 6 (0.90), but not 4 (0.50), which is ID to
        # its owner, class 1.
        (0, 0): (near, False),
        (0, 1): ("", False),
        (0, 2): ("", False),
        (0, 3): ("", True),
        (0, 5): ("", True),
        (0, 6): ("", True),
        # Class 1 owns 4 and 7 (7 although class 0 is nearer: it is no candidate there). 4 is under its bound, 7 above its
        # median 0.425; 7, 5 and 6 are all its candidates above the bound.
        (1, 4): (near, False),
        (1, 7): ("", True),
        (1, 5): ("", True),
        (1, 6): ("", True),
    }
    assert [v.word for v in verdicts] == [0, 1, 2, 3, 5, 6, 4, 7, 5, 6]
    assert [v.limit for v in verdicts if v.owner == 0] == pytest.approx([0.315] * 6)
    assert [v.bound for v in verdicts if v.owner == 1] == pytest.approx([0.42] * 4)


def test_lambda_is_the_quantile_within_the_owner():
    q = [0.1 * (i + 1) for i in range(12)]
    verdicts = decide([q], [[1] * 12], own=[0.0], quantile=0.5)
    assert [v.word for v in verdicts if not v.reason] == list(range(6))
    assert {v.reason for v in verdicts[6:]} == {"farther than what is kept"}
    assert verdicts[0].limit == pytest.approx(0.65)
    assert not any(v.reason for v in decide([q], [[1] * 12], own=[0.0], quantile=1.0))


def test_the_margin_lifts_the_bound():
    q = [0.1 * (i + 1) for i in range(12)]
    verdicts = decide([q], [[1] * 12], own=[0.15], quantile=1.0, margin=0.2)
    assert [v.word for v in verdicts if not v.reason] == list(range(3, 12))
    assert verdicts[0].bound == pytest.approx(0.35)


def test_a_word_exactly_at_the_bound_and_at_lambda_is_kept():
    q = [0.125 * i for i in range(1, 10)]
    verdicts = decide([q], [[1] * 9], own=[0.25], quantile=0.75, margin=0.125)
    assert [v.distance for v in verdicts if not v.reason] == [0.375, 0.5, 0.625, 0.75, 0.875]
    assert verdicts[0].bound == 0.375 and verdicts[0].limit == 0.875


def test_a_class_whose_words_are_all_too_near_keeps_none():
    verdicts = decide([[0.1, 0.2], [0.3, 0.4]], [[1, 1], [1, 1]], own=[0.5, 0.5])
    assert {v.owner for v in verdicts} == {0} and {v.reason for v in verdicts} == {"nearer than the class's own name"}


def test_a_class_that_owns_nothing_borrows_its_nearest():
    verdicts = decide([[0.1, 0.2], [0.3, 0.4]], [[1, 1], [1, 1]], own=[0.0, 0.35])
    borrowed = [v for v in verdicts if v.owner == 1]
    assert [(v.word, v.reason, v.topped_up) for v in borrowed] == [(1, "", True)]


def test_the_owner_is_the_nearest_among_the_classes_that_have_the_word_as_candidate():
    distances = [[0.3, 0.3], [0.2, 0.2], [0.1, 0.1]]
    candidates = [[1, 1], [1, 1], [0, 1]]
    owners = {v.word: v.owner for v in decide(distances, candidates, own=[0.0] * 3, quantile=1.0) if not v.topped_up}
    assert owners == {0: 1, 1: 2}


# --- sides ------------------------------------------------------------------------------------------------------
TWELVE = [0.1 * (i + 1) for i in range(12)]


def test_a_value_of_lambda_stands_for_the_quantile():
    verdicts = decide([TWELVE], [[1] * 12], own=[0.0], anchor_lambda=0.85)
    assert [v.word for v in verdicts if not v.reason] == list(range(8)) and {v.limit for v in verdicts} == {0.85}


def test_the_far_side_is_what_lies_above_lambda():
    verdicts = decide([TWELVE], [[1] * 12], own=[0.25], anchor_side="far", anchor_lambda=TWELVE[5])
    assert [v.word for v in verdicts if not v.reason] == list(range(6, 12)), "lambda itself is near"
    assert [v.reason for v in verdicts[:3]] == ["nearer than the class's own name"] * 2 + ["nearer than what is kept"]


def test_few_far_anchors_are_topped_up_from_the_far_end():
    verdicts = decide([TWELVE], [[1] * 12], own=[0.25], anchor_side="far", anchor_lambda=1.05)
    assert [v.word for v in verdicts if not v.reason] == [7, 8, 9, 10, 11]
    assert [v.topped_up for v in verdicts if not v.reason] == [True] * 3 + [False] * 2


def test_the_band_lies_between_two_quantiles_of_what_is_above_the_bound():
    verdicts = decide([TWELVE], [[1] * 12], own=[0.15], anchor_side="band", anchor_band=(0.2, 0.8))
    kept = [v.distance for v in verdicts if not v.reason]
    low, high = np.quantile(TWELVE[1:], [0.2, 0.8])
    assert kept == [d for d in TWELVE if low <= d <= high] and len(kept) == 7
    reasons = [v.reason for v in verdicts]
    assert reasons[:2] == ["nearer than the class's own name", "nearer than what is kept"]
    assert reasons[-1] == "farther than what is kept"


# --- what always holds ------------------------------------------------------------------------------------------
@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 40),
    st.floats(0.05, 1.0),
    st.floats(-0.2, 0.4),
    st.integers(0, 10_000),
)
def test_every_verdict_follows_from_its_own_numbers(classes, words, quantile, margin, seed):
    generator = torch.Generator().manual_seed(seed)
    distances = torch.rand(classes, words, generator=generator)
    candidates = torch.rand(classes, words, generator=generator) < 0.6
    own = torch.rand(classes, generator=generator) * 0.6
    verdicts = chosen(distances, candidates, own, quantile, margin)

    assert {v.word for v in verdicts} == set(candidates.any(0).nonzero()[:, 0].tolist())
    of_class = defaultdict(list)
    for v in verdicts:
        rivals = {y: float(distances[y, v.word]) for y in range(classes) if candidates[y, v.word]}
        assert v.owner in rivals and v.distance == rivals[v.owner]
        assert v.topped_up or v.distance == min(rivals.values())
        assert v.bound == pytest.approx(float(own[v.owner]) + margin)
        assert (v.topped_up or v.bound <= v.distance <= v.limit) == (v.reason == "")
        assert ("name" in v.reason) == (v.distance < v.bound)
        of_class[v.owner].append(v)
    assert list(of_class) == sorted(of_class)
    refused = {v.word for v in verdicts if "name" in v.reason}
    assert not refused & {v.word for v in verdicts if not v.reason}, "what is ID to its owner is nobody's outlier"
    for owner, found in of_class.items():
        q = [v.distance for v in found]
        assert q == sorted(q) and len({v.word for v in found}) == len(found)
        kept = [v.distance for v in found if not v.reason]
        mine = [word for word in range(words) if candidates[owner, word] and word not in refused]
        reachable = [word for word in mine if float(distances[owner, word]) >= found[0].bound]
        filtered = [v for v in found if not v.reason and not v.topped_up]
        assert len(kept) == max(len(filtered), min(FEWEST_ANCHORS, len(reachable)))
        assert len(filtered) < FEWEST_ANCHORS or not any(v.topped_up for v in found)


def test_a_word_without_a_finite_distance_is_nobodys():
    assert decide([[INF, 0.5]], [[1, 1]], own=[0.0])[0].word == 1
