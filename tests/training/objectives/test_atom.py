"""ATOM: its loss against a scalar loop, its attack, and which outliers an epoch learns from."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.classifiers.rejection import add_rejection
from dogfast.data.augment import to_unit
from dogfast.training.batches import Batch
from dogfast.training.objectives.atom import attack, rejection_loss
from tests.training.steps import batches_of, learner_of, marked, objective_of, small_model, some_batch

EPSILON = 8 / 255


@pytest.fixture
def model():
    model = small_model(dropout=0.0)
    add_rejection(model)
    return model.double()


@pytest.fixture
def batch():
    return some_batch()


def logits(model, images):
    features = model.features(images)
    return torch.cat([model.head(features), model.rejection(features)], 1)


def test_rejection_loss_against_a_scalar_loop():
    values = torch.randn(7, 5, dtype=torch.float64) * 4
    expected = [-math.log(math.exp(row[-1]) / sum(map(math.exp, row))) for row in values.tolist()]
    assert rejection_loss(values).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("configured, weight", [(None, 1.0), (0.3, 0.3)])
def test_without_attacks_a_step_is_the_gradient_over_one_class_more(model, batch, configured, weight):
    twin = copy.deepcopy(model)
    joint = logits(twin, batch.joint)
    ce, ood = F.cross_entropy(joint[:6], batch.id_labels), F.cross_entropy(joint[6:], torch.full((8,), 4))
    (ce + weight * ood).backward()
    losses = objective_of("atom", model, {"oe_weight": configured}, atom_epsilon=0.0)(learner_of(model), batch)
    torch.testing.assert_close(losses, {"ce": ce.detach(), "ood": ood.detach()})
    assert twin.rejection.weight.grad.norm() > 0
    for moved, still in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(still - moved, still.grad, atol=1e-12, rtol=1e-9)
    for moved, still in zip(model.buffers(), twin.buffers()):
        torch.testing.assert_close(moved, still)


def test_the_attack_lowers_the_probability_of_being_an_outlier(model, batch):
    model.eval()
    images = batch.outliers
    moved = attack(images, lambda x: rejection_loss(logits(model, x)).sum(), EPSILON, 5)
    before, after = (logits(model, x).softmax(1)[:, -1] for x in (images, moved))
    assert (after < before).all()
    assert (moved - images).abs().max() <= EPSILON + 1e-12 and moved.min() >= 0 and moved.max() <= 1
    assert not moved.requires_grad and all(p.grad is None for p in model.parameters())


def test_the_attack_of_a_linear_loss_ends_in_the_corner():
    """Steps of a quarter of the radius go across it in 8, from any start."""
    images = torch.tensor([0.0, 0.01, 0.5, 1.0]).double().repeat(9).view(1, 1, 6, 6)
    slope = torch.tensor([1.0, -1.0]).double().repeat(18).view(1, 1, 6, 6)
    moved = attack(images, lambda x: (slope * x).sum(), EPSILON, 8)
    torch.testing.assert_close(moved, (images + EPSILON * slope).clamp(0, 1))


def test_the_attack_starts_at_random_and_may_stay_there():
    images = torch.full((4, 3, 8, 8), 0.5, dtype=torch.float64)
    torch.manual_seed(0)
    moved = attack(images, lambda x: (0.0 * x).sum(), EPSILON, 3) - 0.5
    assert len(moved.unique()) > 700 and 0.9 * EPSILON < moved.abs().max() <= EPSILON and moved.abs().mean() > 0.4 * EPSILON


def test_half_of_the_outliers_are_attacked_and_nothing_else_changes(model, batch):
    seen, before, images = [], copy.deepcopy(model.state_dict()), batch.outliers.clone()
    objective, learner = objective_of("atom", model), learner_of(model, lr=0.0)
    twin = copy.deepcopy(model)
    model.stem.register_forward_hook(lambda _, inputs, __: seen.append((model.training, inputs[0].detach())))
    losses = objective(learner, batch)
    assert [training for training, _ in seen] == [False] * 5 + [True]
    assert torch.equal(seen[-1][1][:6], batch.id_images) and torch.equal(batch.outliers, images)
    shown = seen[-1][1][6:]
    assert torch.equal(shown[1::2], images[1::2])
    assert (shown[::2] - images[::2]).abs().amax((1, 2, 3)).min() > 0
    twin(seen[-1][1])
    for (name, kept), expected in zip(model.named_buffers(), twin.buffers()):
        torch.testing.assert_close(kept, expected, msg=name)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert losses.keys() == {"ce", "ood"} and not losses["ood"].requires_grad


def test_a_refused_step_in_parts_restores_the_statistics_from_before_its_first_part(model, batch):
    """The attack of the second part comes after the first part's forward."""
    objective, learner, before = objective_of("atom", model), learner_of(model), copy.deepcopy(model.state_dict())
    learner.parts = 2
    bad = Batch(batch.id_images * math.inf, batch.id_labels, batch.outliers)
    for learner.part, part in enumerate(bad.parts(2)):
        objective(learner, part)
    assert not learner.finite
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("held, first, last", [(64, 8, 24), (32, 4, 12)])
def test_an_epoch_learns_from_the_window_behind_the_hardest(model, held, first, last):
    """The pool is 8 x 8 outliers: the 2 x 8 behind the first 8. A set of half as many gives half as many."""
    batches, learner = batches_of("atom", 8, marked(held), model), learner_of(model)
    objective = objective_of("atom", model)
    objective.begin_epoch(learner, batches)
    model.eval()
    order = logits(model, to_unit(marked(held)).double()).softmax(1)[:, -1].argsort()
    assert sorted(batches.focus.rows[:, 0, 0, 0].tolist()) == sorted(order[first:last].tolist())


def test_the_next_epoch_chooses_anew(model):
    batches, learner, objective = batches_of("atom", 8, marked(100), model), learner_of(model), objective_of("atom", model)
    objective.begin_epoch(learner, batches)
    chosen, learner.epoch = batches.focus.rows, 1
    objective.begin_epoch(learner, batches)
    assert not torch.equal(chosen, batches.focus.rows)


def test_in_fp16_the_attack_reaches_outliers_that_are_known_as_such(batch):
    """Their slopes are too small for half precision, unless they are scaled as those of the step are."""
    model, seen = small_model().float(), []
    add_rejection(model)
    with torch.no_grad():
        model.rejection.bias.fill_(16.0)
    single = Batch(batch.id_images.float(), batch.id_labels, batch.outliers.float())
    model.stem.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    objective_of("atom", model)(learner_of(model, 0.0, precision="fp16"), single)
    start, second = seen[:2]
    assert (second != start).float().mean() > 0.8


def test_losses_are_fp32_under_bf16(batch):
    model = small_model().float()
    add_rejection(model)
    single = Batch(batch.id_images.float(), batch.id_labels, batch.outliers.float())
    losses = objective_of("atom", model)(learner_of(model, 0.01, precision="bf16"), single)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
