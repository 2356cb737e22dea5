"""Scores that look at ID training images first, against scipy, numpy and loops in float64."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, mahalanobis
from scipy.special import logsumexp

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores import knn, vim
from dogfast.detection.scores import mahalanobis as tied
from dogfast.errors import DataError
from tests.detection.made_up import labels_of, make_evidence, relu_features


def array(tensor):
    return tensor.double().numpy()


# --- mahalanobis ------------------------------------------------------------------------------------------------
def reference_mahalanobis(features, labels, queries):
    z, y, q = array(features), labels.numpy(), array(queries)
    means = {c: z[y == c].mean(0) for c in set(y.tolist())}
    covariance = sum(np.outer(row - means[c], row - means[c]) for row, c in zip(z, y.tolist())) / len(z)
    covariance += 1e-6 * (z**2).mean() * np.eye(z.shape[1])
    inverse = np.linalg.inv(covariance)
    return [-0.5 * min(mahalanobis(row, mean, inverse) ** 2 for mean in means.values()) for row in q]


@pytest.mark.parametrize(
    "n, width, classes",
    [(60, 8, 5), (12, 30, 5), (9, 6, 1), (40, 8, 3)],
    ids=["usual", "d > n", "one class", "two classes are empty"],
)
def test_mahalanobis_against_scipy(n, width, classes):
    features, labels = relu_features(n, width), labels_of(n, classes)
    queries = torch.cat([3 * relu_features(6, width, seed=2), torch.zeros(1, width), torch.ones(1, width)])
    state = tied.fit(make_evidence(features, classes=5 if classes > 1 else 1), labels)
    assert state["centres"].shape == (classes, width)
    found = tied.score(make_evidence(queries), **state)
    assert found.tolist() == pytest.approx(reference_mahalanobis(features, labels, queries), rel=1e-5)


def test_mahalanobis_does_not_depend_on_the_scale_of_the_features():
    features, labels, queries = relu_features(60, 8), labels_of(60), relu_features(6, 8, seed=2)
    plain, large = (
        tied.score(make_evidence(c * queries), **tied.fit(make_evidence(c * features), labels)) for c in (1.0, 1024.0)
    )
    torch.testing.assert_close(large, plain, rtol=1e-6, atol=0)


def test_a_class_without_images_is_no_class_to_be_near_to():
    features = 100 + relu_features(20, 4)
    state = tied.fit(make_evidence(features, classes=3), labels_of(20, 2))
    assert tied.score(make_evidence(torch.zeros(1, 4)), **state).item() < -100, "zero is where an empty class's mean would lie"


def test_units_that_are_never_active_cost_mahalanobis_nothing():
    features, queries = relu_features(40, 6), relu_features(5, 6, seed=2)
    features[:, 2], queries[:, 2] = 0.0, 0.0
    found = tied.score(make_evidence(queries), **tied.fit(make_evidence(features), labels_of(40)))
    assert found.tolist() == pytest.approx(reference_mahalanobis(features, labels_of(40), queries), rel=1e-5)


def test_mahalanobis_of_features_that_are_all_zero_is_refused():
    with pytest.raises(DataError, match=r"^mahalanobis: .*all zero.*--scores"):
        tied.fit(make_evidence(torch.zeros(9, 4)), labels_of(9))


# --- k-NN -------------------------------------------------------------------------------------------------------
def reference_knn(bank, queries, k):
    unit = [z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12) for z in map(array, (bank, queries))]
    return -np.sort(cdist(unit[1], unit[0]), axis=1)[:, k - 1]


@pytest.mark.parametrize("k", [1, 2, 7, 30])
@pytest.mark.parametrize("width", [1, 5, 64])
def test_knn_against_scipy(k, width):
    bank = relu_features(30, width)
    bank[3], bank[4] = bank[5], 2 * bank[5]
    bank[6] = 0.0
    queries = torch.cat([relu_features(9, width, seed=2), bank[3:7], torch.zeros(1, width), torch.ones(1, width)])
    state = knn.fit(make_evidence(bank), labels_of(30)) | {"k": k}
    found = knn.score(make_evidence(queries), **state)
    np.testing.assert_allclose(found.numpy(), reference_knn(bank, queries, k), rtol=2e-5, atol=1e-6)


def test_an_image_of_the_bank_is_at_no_distance_from_itself():
    bank = make_evidence(relu_features(50, 16))
    assert knn.score(bank, **(knn.fit(bank, labels_of(50)) | {"k": 1})).abs().max() < 1e-6


@pytest.mark.parametrize(
    "classes, n, share, k",
    [(10, 300, 1.0, 50), (8, 20, 1.0, 20), (100, 300, 1.0, 200), (1000, 2000, 1.0, 1000), (1000, 2000, 0.01, 10)],
)
def test_the_papers_k_for_the_classes_and_the_share_at_most_the_bank(classes, n, share, k):
    state = knn.fit(make_evidence(relu_features(n, 4), classes), labels_of(n), share)
    assert state["k"] == k and len(state["bank"]) == round(share * n)


def test_a_share_of_the_bank_is_drawn_the_same_way_every_time():
    known = make_evidence(relu_features(100, 8))
    whole = knn.fit(known, labels_of(100))["bank"]
    part, again = (knn.fit(known, labels_of(100), 0.25)["bank"] for _ in range(2))
    rows = [next(at for at, row in enumerate(whole) if torch.equal(row, one)) for one in part]
    assert torch.equal(part, again) and len(set(rows)) == 25
    assert len({row % 8 for row in rows}) == 8, "classes that take turns are all there"


# --- ViM --------------------------------------------------------------------------------------------------------
def reference_vim(training, evidence, principal):
    weight, bias = array(training.head_weight), array(training.head_bias)
    origin = -np.linalg.pinv(weight) @ bias
    directions = np.linalg.svd(array(training.features) - origin)[2][:principal]

    def outside(features):
        centred = array(features) - origin
        return np.linalg.norm(centred - centred @ directions.T @ directions, axis=1)

    alpha = array(training.logits).max(1).mean() / outside(training.features).mean()
    return logsumexp(array(evidence.logits), axis=1) - alpha * outside(evidence.features)


@pytest.mark.parametrize("n, width, principal", [(60, 12, 6), (60, 13, 6), (10, 20, 5), (3, 1, 0)])
def test_vim_against_singular_vectors(n, width, principal):
    training = make_evidence(relu_features(n, width))
    evidence = make_evidence(torch.cat([2 * relu_features(6, width, seed=2), torch.zeros(1, width), torch.ones(1, width)]))
    state = vim.fit(training, labels_of(n))
    assert state["residual"].shape == (width, width - principal)
    found = vim.score(evidence, **state)
    np.testing.assert_allclose(found.numpy(), reference_vim(training, evidence, principal), rtol=1e-4, atol=1e-4)


def test_vim_orders_images_as_the_papers_probability_of_the_virtual_logit():
    training, evidence = make_evidence(relu_features(60, 12)), make_evidence(relu_features(20, 12, seed=2))
    state = vim.fit(training, labels_of(60))
    outside = np.linalg.norm((array(evidence.features) - array(state["origin"])) @ array(state["residual"]), axis=1)
    joint = np.column_stack([array(evidence.logits), state["alpha"] * outside])
    probability = np.exp(joint[:, -1] - logsumexp(joint, axis=1))
    assert np.array_equal(np.argsort(-probability), np.argsort(vim.score(evidence, **state).numpy()))


@pytest.mark.parametrize("width, principal", [(2048, 1000), (2047, 512), (768, 512), (767, 383), (128, 64)])
def test_the_papers_principal_dimensions_by_width(width, principal):
    found = next((space for least, space in vim.PRINCIPAL.items() if width >= least), width // 2)
    assert found == principal


def test_vim_where_nothing_lies_outside_is_refused():
    # All features are one direction, which half of the images span.
    features = torch.outer(torch.rand(20, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 2.0, 0.0, 0.0]))
    weight, bias = torch.eye(3, 4), torch.zeros(3)
    with pytest.raises(DataError, match=r"^vim: .*outside of their principal space.*--scores"):
        vim.fit(Evidence(features @ weight.T, features, weight, bias), labels_of(20))
