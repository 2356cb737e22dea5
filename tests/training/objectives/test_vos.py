"""VOS: its energy and its step from the formulas, and what it waits for."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.events import Events
from dogfast.numerics.gaussian import fit_tied, least_likely
from dogfast.seeds import stream
from dogfast.training.batches import Batch
from dogfast.training.loop import fit
from dogfast.training.objectives.vos import weighted_energy
from dogfast.training.regimes import regime_of
from tests.training.steps import assert_moved_by, learner_of, objective_of, parameters, plain_model, small_model, some_batch


def id_batch():
    batch = some_batch()
    return Batch(batch.id_images, batch.id_labels)


def filled(model, **methods):
    """A VOS with two features of every class, from the first epoch on."""
    objective = objective_of("vos", model, virtual_start=0.0, virtual_queue=2, virtual_draws=20, **methods)
    features = torch.rand(8, model.head.in_features, generator=torch.Generator().manual_seed(4))
    objective.queue.push(features, torch.arange(8) % 4)
    return objective


def test_energy_against_a_scalar_loop():
    generator = torch.Generator().manual_seed(0)
    logits = 30 * torch.randn(5, 4, dtype=torch.float64, generator=generator)
    weights = torch.tensor([0.5, -2.0, 1.5, 0.0], dtype=torch.float64)
    expected = [-math.log(sum(max(w, 0.0) * math.exp(f) for w, f in zip(weights.tolist(), row))) for row in logits.tolist()]
    assert weighted_energy(logits, weights).tolist() == pytest.approx(expected, rel=1e-12)


def test_energy_stays_finite_where_no_weight_is_positive():
    logits, weights = torch.full((2, 3), 500.0, requires_grad=True), torch.tensor([-1.0, 0.0, -2.0], requires_grad=True)
    energy = weighted_energy(logits, weights)
    energy.sum().backward()
    assert energy.isfinite().all() and logits.grad.isfinite().all() and weights.grad.isfinite().all()


def test_the_step_is_the_gradient_of_the_stated_sum():
    model, batch = small_model(), id_batch()
    objective = filled(model)
    twin, other = copy.deepcopy(model), copy.deepcopy(objective)
    before = parameters(model) | parameters(objective)
    losses = objective(learner_of(model, objective=objective), batch)

    features = twin.features(batch.id_images)
    other.queue.push(features.detach(), batch.id_labels)
    known = [row for rows in other.queue.rows for row in rows]
    gaussian = fit_tied(torch.stack(known), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), 4, 1e-4)
    outliers = least_likely(gaussian, 20, stream(0, "virtual", 0, 0))
    total, count = 0.0, 0
    for logits, is_id in ((twin.head(features), 1), (twin.head(outliers), 0)):
        for row in logits:
            energy = -sum(w.relu() * f.exp() for w, f in zip(other.energy_weights, row)).log()
            votes = other.logistic.weight[:, 0] * energy + other.logistic.bias
            total, count = total - (votes[is_id] - votes.exp().sum().log()), count + 1
    ce = F.cross_entropy(twin.head(features), batch.id_labels)
    (ce + 0.1 * total / count).backward()
    assert count == 10
    assert float(losses["ce"]) == pytest.approx(ce.item()) and losses["virtual"].item() == pytest.approx((total / count).item())
    expected = {name: p.grad for name, p in [*twin.named_parameters(), *other.named_parameters()]}
    assert_moved_by(before, parameters(model) | parameters(objective), expected)
    assert all(expected[name].abs().sum() > 0 for name in ("energy_weights", "logistic.weight"))


def test_an_unfilled_queue_gives_cross_entropy_alone():
    model, batch = plain_model().double(), id_batch()
    twin, before = copy.deepcopy(model), parameters(model)
    objective = objective_of("vos", model, virtual_start=0.0, virtual_queue=3)
    learner = learner_of(model, objective=objective)
    losses = objective(learner, batch)
    F.cross_entropy(twin(batch.id_images), batch.id_labels).backward()
    assert float(losses["virtual"]) == 0 and learner.finite
    assert_moved_by(before, parameters(model), {name: p.grad for name, p in twin.named_parameters()})


def test_virtual_outliers_wait_for_their_epoch():
    model = plain_model().double()
    objective = objective_of("vos", model, {"pretrain_epochs": 10}, virtual_queue=2)
    objective.queue.push(torch.rand(8, 8), torch.arange(8) % 4)
    learner = learner_of(model, objective=objective)
    for epoch, names in ((3, {"ce"}), (4, {"ce", "virtual"})):
        learner.epoch = epoch
        assert objective(learner, id_batch()).keys() == names


def test_outliers_lie_farther_out_than_the_features_of_their_class():
    model = plain_model().double()
    objective = objective_of("vos", model, virtual_queue=100)
    features = torch.randn(400, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    objective.queue.push(features + 10 * (torch.arange(400) % 4)[:, None], torch.arange(400) % 4)
    outliers = objective._outliers(learner_of(model))
    for c in range(4):
        own = (objective.queue.rows[c] - 10 * c).norm(dim=1)
        assert (outliers[c] - 10 * c).norm() > own.amax()


def test_half_precision_losses_are_fp32_and_finite():
    model = plain_model()
    losses = filled(model)(learner_of(model, precision="bf16"), Batch(torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values()) and losses["virtual"] > 0


def test_a_refused_step_leaves_the_queue_as_it_was():
    model = plain_model()
    objective = filled(model)
    images, before = torch.rand(6, 3, 8, 8), objective.queue.rows.clone()
    images[2, 0] = torch.nan
    learner = learner_of(model, objective=objective)
    objective(learner, Batch(images, torch.tensor([0, 1, 2, 3, 0, 1])))
    assert not learner.finite and torch.equal(objective.queue.rows, before)


def test_a_whole_training_classifies_and_has_virtual_outliers_from_its_epoch_on():
    labels = torch.arange(48) % 2
    images = torch.randint(0, 120, (48, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images[torch.arange(48), labels] += 100
    images, model = images.to(torch.uint8), plain_model(2)
    config = TrainingConfig(objective="vos", batch=16, pretrain_epochs=10, pretrain_lr=0.2)
    methods = ObjectivesConfig(virtual_queue=20)
    report = fit(model, images, labels, None, regime_of(config, methods, ""), config, methods, Events())
    assert (model(images / 255).argmax(1) == labels).float().mean() > 0.95
    assert ["virtual" in row for row in report["history"]] == [False] * 4 + [True] * 6
    assert all(0 < row["virtual"] < 2 for row in report["history"][4:])
