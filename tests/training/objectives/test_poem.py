"""POEM: its posterior against Bayes' rule by scalars, what the posterior remembers, and which outliers are chosen."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from dogfast.data.augment import to_unit
from dogfast.seeds import stream
from dogfast.training.batches import Batch
from dogfast.training.objectives.energy_oe import energy, hinge_loss
from dogfast.training.objectives.poem import EPOCHS, draw_boundary
from tests.training.steps import (
    assert_moved_by,
    batches_of,
    gradients_at,
    learner_of,
    marked,
    objective_of,
    parameters,
    small_model,
    some_batch,
)


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def batch():
    return some_batch()


def poem(model, **methods):
    return objective_of("poem", model, **({"energy_in": -9.0, "energy_out": 5.0} | methods))


def test_the_posterior_of_one_feature_is_bayes_rule():
    """Precision sum z² / noise + 1 / prior, mean sum z y / noise over it, by scalars."""
    z, y, prior, noise, standard = [0.5, -1.0, 2.0], [-3.0, 3.0, 3.0], 20.0, 0.5, 0.7
    precision = sum(v * v for v in z) / noise + 1 / prior
    expected = sum(a * b for a, b in zip(z, y)) / noise / precision + standard / math.sqrt(precision)
    one = torch.tensor([z], dtype=torch.float64)
    targets, draw = torch.tensor(y, dtype=torch.float64), torch.tensor([standard], dtype=torch.float64)
    assert float(draw_boundary(one @ one.mT, one @ targets, prior, noise, draw)) == pytest.approx(expected, rel=1e-12)


def test_draws_have_the_textbook_mean_and_covariance():
    """The covariance is A^-1 itself, not the prior's variance times it."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    y = torch.where(torch.arange(40) < 20, -3.0, 3.0).double()
    inverse = torch.linalg.inv(z.mT @ z / 0.5 + torch.eye(3, dtype=torch.float64) / 20)
    units = torch.eye(3, dtype=torch.float64)
    mean = draw_boundary(z.mT @ z, z.mT @ y, 20.0, 0.5, torch.zeros(3, dtype=torch.float64))
    root = torch.stack([draw_boundary(z.mT @ z, z.mT @ y, 20.0, 0.5, unit) - mean for unit in units], 1)
    torch.testing.assert_close(mean, inverse @ (z.mT @ y) / 0.5)
    torch.testing.assert_close(root @ root.mT, inverse)


def test_without_features_it_is_the_prior():
    nothing = torch.zeros(2, 2, dtype=torch.float64)
    drawn = draw_boundary(nothing, nothing[0], 20.0, 0.5, torch.tensor([1.0, -2.0], dtype=torch.float64))
    assert drawn.tolist() == pytest.approx([math.sqrt(20), -2 * math.sqrt(20)])


def test_features_beyond_measure_give_no_error():
    huge = torch.full((2, 2), 1e300, dtype=torch.float64)
    assert draw_boundary(huge * 1e8, huge[0], 20.0, 0.5, huge[0]).shape == (2,)


def test_a_step_is_the_gradient_of_ce_and_hinge(model, batch):
    before = parameters(model)

    def loss(f):
        hinge = hinge_loss(energy(f[:6]), energy(f[6:]), torch.tensor(-9.0), torch.tensor(5.0))
        return F.cross_entropy(f[:6], batch.id_labels) + 0.1 * hinge

    expected = gradients_at(model, batch.joint, {}, loss)
    losses = poem(model)(learner_of(model), batch)
    assert losses.keys() == {"ce", "hinge"}
    assert_moved_by(before, parameters(model), expected)


def test_the_features_of_the_last_epochs_are_remembered(model, batch):
    """Six epochs of two steps: sums are those of the last four, and of the epoch at hand."""
    objective, learner = poem(model), learner_of(model, lr=0.0)
    batches = batches_of("poem", 8, marked(20), model)
    features = copy.deepcopy(model).features(batch.joint).detach()
    for learner.epoch in range(6):
        objective.begin_epoch(learner, batches)
        objective(learner, batch), objective(learner, batch)
    torch.testing.assert_close(objective.products.sum(0), 2 * EPOCHS * features.mT @ features)
    torch.testing.assert_close(objective.sums.sum(0)[0], 2 * EPOCHS * features[:6].sum(0))
    torch.testing.assert_close(objective.sums.sum(0)[1], 2 * EPOCHS * features[6:].sum(0))
    learner.epoch = 6
    objective.begin_epoch(learner, batches)
    torch.testing.assert_close(objective.products.sum(0), 2 * (EPOCHS - 1) * features.mT @ features)


def test_the_boundary_is_the_regression_of_targets_on_what_is_remembered(model, batch):
    objective = poem(model)
    objective(learner_of(model, lr=0.0), batch)
    z = copy.deepcopy(model).features(batch.joint).detach()
    noise = math.sqrt(0.5) * float(torch.randn(1, generator=stream(0, "target noise")))
    y = torch.tensor([-3.0 + noise] * 6 + [3.0 + noise] * 8, dtype=torch.float64)
    standard = torch.randn(64, generator=stream(0, "boundary", 5), dtype=torch.float64)
    torch.testing.assert_close(objective._boundary(5), draw_boundary(z.mT @ z, z.mT @ y, 20.0, 0.5, standard))
    assert not torch.equal(objective._boundary(5), objective._boundary(6))


def test_features_that_are_not_finite_are_not_remembered(model, batch):
    objective, learner = poem(model), learner_of(model)
    objective(learner, Batch(batch.id_images * math.inf, batch.id_labels, batch.outliers))
    assert not learner.finite and not objective.products.any() and not objective.sums.any()


@pytest.mark.parametrize("held, count", [(64, 8), (40, 5), (100, 8)])
def test_an_epoch_learns_from_the_outliers_nearest_to_the_boundary(model, held, count):
    batches, learner, objective = batches_of("poem", 8, marked(held), model), learner_of(model), poem(model)
    pool = copy.deepcopy(batches.outliers).take(min(held, 64))
    objective.begin_epoch(learner, batches)
    model.eval()
    distances = (model.features(to_unit(pool).double()) @ objective._boundary(0)).abs()
    nearest = pool[distances.argsort()[:count]]
    assert len(batches.focus.rows) == count and torch.equal(batches.focus.rows, nearest)


def test_the_classes_are_told_apart_by_the_mean_boundary():
    """Features that do differ: the mean of the posterior gives about -3 and 3."""
    generator = torch.Generator().manual_seed(0)
    z = 0.1 * torch.randn(100, 4, dtype=torch.float64, generator=generator)
    z[:50, 0] += 1
    z[50:, 1] += 1
    y = torch.where(torch.arange(100) < 50, -3.0, 3.0).double()
    boundary = draw_boundary(z.mT @ z, z.mT @ y, 20.0, 0.5, torch.zeros(4, dtype=torch.float64))
    assert (z[:50] @ boundary).mean() == pytest.approx(-3, abs=0.2) and (z[50:] @ boundary).mean() == pytest.approx(3, abs=0.2)


def test_losses_are_fp32_under_bf16(batch):
    model = small_model().float()
    single = Batch(batch.id_images.float(), batch.id_labels, batch.outliers.float())
    losses = poem(model)(learner_of(model, 0.01, precision="bf16"), single)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_the_features_of_every_process_are_remembered(model, batch):
    """Two that see the same: everything twice."""
    objective, learner = poem(model), learner_of(model, lr=0.0)
    learner.ranks = SimpleNamespace(count=1, gather=lambda rows: torch.cat([rows, rows]))
    features = copy.deepcopy(model).features(batch.joint).detach()
    objective(learner, batch)
    torch.testing.assert_close(objective.products[0], 2 * features.mT @ features)
    torch.testing.assert_close(objective.sums[0, 1], 2 * features[6:].sum(0))
