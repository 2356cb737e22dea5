"""Objectives: their losses against scalar loops, and their steps against gradients taken by hand in float64."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.classifiers.wrn import WideResNet
from dogfast.config.training import OBJECTIVES as CONFIGURED
from dogfast.training.batches import Batch
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.objectives.energy_oe import energy, hinge_loss
from dogfast.training.objectives.oe import oe_loss
from dogfast.training.perturbation import Perturbation
from tests.training.steps import (
    assert_moved_by,
    clipped,
    gradients_at,
    learner_of,
    objective_of,
    parameters,
    plain_model,
    small_model,
    some_batch,
)

STRENGTH = 0.1


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def batch():
    return some_batch()


def statistics(model):
    return {name: b.clone() for name, b in model.named_buffers()}


def ce_of(batch):
    return lambda logits: F.cross_entropy(logits[:6], batch.id_labels)


def outlier_loss(logits):
    return (logits[6:].logsumexp(1) - logits[6:].mean(1)).mean()


def test_what_can_be_configured_exists():
    assert tuple(OBJECTIVES) == CONFIGURED


def test_oe_loss_against_a_scalar_loop():
    logits = torch.randn(7, 5, dtype=torch.float64) * 4
    total = 0.0
    for row in logits.tolist():
        total += math.log(sum(math.exp(f) for f in row)) - sum(row) / len(row)
    assert float(oe_loss(logits)) == pytest.approx(total / 7, rel=1e-12)


def test_oe_loss_is_the_cross_entropy_to_the_uniform_distribution():
    logits = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(oe_loss(logits), F.cross_entropy(logits, torch.full((7, 5), 0.2, dtype=torch.float64)))
    assert float(oe_loss(torch.full((3, 5), 9.0, dtype=torch.float64))) == pytest.approx(math.log(5))


def test_ce_uses_id_images_only(model, batch):
    before = parameters(model)
    logits = copy.deepcopy(model)(batch.id_images).detach()
    losses = objective_of("ce", model)(learner_of(model, lr=0.0), Batch(batch.id_images, batch.id_labels))
    assert losses.keys() == {"ce"} and float(losses["ce"]) == pytest.approx(float(F.cross_entropy(logits, batch.id_labels)))
    assert_moved_by(before, parameters(model), {name: torch.zeros_like(p) for name, p in before.items()})


@pytest.mark.parametrize("configured, weight", [(None, 0.5), (2.0, 2.0), (0.0, 0.0)])
def test_oe_step_is_the_gradient_of_the_weighted_sum(model, batch, configured, weight):
    before = parameters(model)
    expected = gradients_at(model, batch.joint, {}, lambda f: ce_of(batch)(f) + weight * outlier_loss(f))
    losses = objective_of("oe", model, {"oe_weight": configured})(learner_of(model), batch)
    assert losses.keys() == {"ce", "oe"} and not losses["oe"].requires_grad
    assert_moved_by(before, parameters(model), expected)


@pytest.mark.parametrize("configured, gamma", [(None, 1.0), (0.7, 0.7)])
def test_joint_step_adds_ce_at_the_weights_and_oe_at_the_perturbed_ones(model, batch, configured, gamma):
    before, initial = parameters(model), copy.deepcopy(model)
    dog = objective_of("dog", model, {"oe_weight": configured}, wor_strengths=(STRENGTH,))
    dog(learner_of(model), batch)
    perturbed = {name: before[name] + STRENGTH * p for name, p in dog.perturbation.tensors.items()}
    ce = gradients_at(initial, batch.joint, {}, ce_of(batch))
    oe = gradients_at(initial, batch.joint, perturbed, outlier_loss)
    assert_moved_by(before, parameters(model), {name: ce[name] + gamma * oe[name] for name in before})


@pytest.mark.parametrize("dropout, forwards", [(0.0, 2), (0.3, 3)])
def test_the_perturbation_is_that_of_a_proxy_without_dropout(batch, dropout, forwards):
    """Without dropout the forward of CE serves the proxy; with dropout the proxy has one of its own."""
    torch.manual_seed(0)
    model = WideResNet(10, 1, classes=4, dropout=dropout).double().train()
    proxy = Perturbation(model, (STRENGTH,), "ascend", 0.6, 0)
    proxy.refresh(copy.deepcopy(model), batch.joint, len(batch.id_images))
    seen = []
    model.stem.register_forward_hook(lambda *_: seen.append(1))
    dog = objective_of("dog", model, wor_strengths=(STRENGTH,))
    losses = dog(learner_of(model, lr=0.0), batch)
    for name, tensor in dog.perturbation.tensors.items():
        torch.testing.assert_close(tensor, proxy.tensors[name])
    assert len(seen) == forwards and losses["regret"] > 0


@pytest.mark.parametrize("wor_step", ["joint", "alternate"])
def test_weights_are_bit_identical_where_the_learning_rate_is_zero(model, batch, wor_step):
    before = parameters(model)
    objective_of("dog", model, wor_step=wor_step)(learner_of(model, lr=0.0), batch)
    assert all(torch.equal(before[name], p) for name, p in parameters(model).items())


def test_alternate_step_carries_the_outlier_step_back_and_then_steps_on_ce(model, batch):
    before, initial = parameters(model), copy.deepcopy(model)
    dog = objective_of("dog", model, wor_step="alternate", wor_strengths=(STRENGTH,))
    dog(learner_of(model, lr=0.5), batch)
    perturbed = {name: before[name] + STRENGTH * p for name, p in dog.perturbation.tensors.items()}
    oe = clipped(gradients_at(initial, batch.joint, perturbed, outlier_loss))
    between = {name: before[name] - 0.5 * oe[name] for name in before}
    ce = clipped(gradients_at(initial, batch.joint, between, ce_of(batch)))
    assert_moved_by(before, parameters(model), {name: 0.5 * (oe[name] + ce[name]) for name in before})


@pytest.mark.parametrize("wor_step", ["joint", "alternate"])
def test_running_statistics_come_from_the_clean_joint_forward_alone(model, batch, wor_step):
    twin = copy.deepcopy(model)
    twin(batch.joint)
    objective_of("dog", model, wor_step=wor_step, wor_strengths=(0.5,))(learner_of(model, lr=0.0), batch)
    expected = statistics(twin)
    for name, buffer in statistics(model).items():
        torch.testing.assert_close(buffer, expected[name], atol=0, rtol=0)


def test_warm_up_is_plain_exposure(model, batch):
    twin = copy.deepcopy(model)
    dog = objective_of("dog", model, wor_warmup=2)
    learner = learner_of(model)
    learner.epoch = 1
    dog(learner, batch)
    objective_of("oe", twin, {"oe_weight": 1.0})(learner_of(twin), batch)
    assert not dog.perturbation.begun
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters()))
    learner.epoch = 2
    assert "regret" in dog(learner, batch) and dog.perturbation.begun


@pytest.mark.parametrize("name", ["ce", "oe", "energy-oe", "doe", "dog"])
def test_losses_are_fp32_under_bf16(name, batch):
    torch.manual_seed(0)
    model = WideResNet(10, 1, 4).train()
    single = Batch(batch.id_images.float(), batch.id_labels, batch.outliers.float())
    objective = objective_of(name, model, energy_in=-3.0, energy_out=-1.0)
    losses = objective(learner_of(model, 0.01, precision="bf16"), single)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_refused_step_changes_nothing(model, batch):
    learner, ce = learner_of(model, momentum=0.9), objective_of("ce", model)
    ce(learner, batch)
    assert learner.finite
    state, momentum = copy.deepcopy(model.state_dict()), copy.deepcopy(learner.optimizer.state_dict())
    ce(learner, Batch(batch.id_images * math.inf, batch.id_labels))
    assert not learner.finite
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    after = learner.optimizer.state_dict()["state"]
    assert all(torch.equal(after[i]["momentum_buffer"], s["momentum_buffer"]) for i, s in momentum["state"].items())
    learner.finite = torch.ones(())
    ce(learner, batch)
    assert learner.finite and not torch.equal(state["head.weight"], model.head.weight)


def test_a_step_in_parts_is_the_step_of_the_whole(batch):
    """Without batch normalisation the mean of the parts' gradients is the gradient of the mean."""
    whole = plain_model().double()
    halves = copy.deepcopy(whole)
    even = Batch(batch.id_images, batch.id_labels, batch.outliers)
    objective_of("oe", whole)(learner_of(whole), even)
    learner, oe = learner_of(halves), objective_of("oe", halves)
    learner.parts = 2
    for learner.part, part in enumerate(even.parts(2)):
        oe(learner, part)
    for a, b in zip(whole.parameters(), halves.parameters()):
        torch.testing.assert_close(a, b)


def test_the_parts_of_a_step_share_one_perturbation(batch):
    """That of the first part: blended in once, as in a step that is computed in one."""
    torch.manual_seed(0)
    model = plain_model().double()
    dog, learner = objective_of("dog", model, wor_strengths=(STRENGTH,)), learner_of(model)
    proxy = Perturbation(model, (STRENGTH,), "ascend", 0.6, 0)
    learner.parts = 2
    for learner.at in range(2):
        parts = batch.parts(2)
        proxy.refresh(model, parts[0].joint, len(parts[0].id_images))
        for learner.part, part in enumerate(parts):
            assert dog(learner, part)["regret"] > 0
        for name, tensor in dog.perturbation.tensors.items():
            torch.testing.assert_close(tensor, proxy.tensors[name])


# --- energy-oe --------------------------------------------------------------------------------------------------
def test_hinge_loss_against_a_scalar_loop():
    generator = torch.Generator().manual_seed(0)
    id_logits, ood_logits = (torch.randn(n, 5, dtype=torch.float64, generator=generator) * 4 for n in (6, 9))
    energy_of = lambda row: -math.log(sum(math.exp(f) for f in row))  # noqa: E731
    known = sum(max(energy_of(row) + 6.0, 0.0) ** 2 for row in id_logits.tolist()) / 6
    unknown = sum(max(-3.0 - energy_of(row), 0.0) ** 2 for row in ood_logits.tolist()) / 9
    found = hinge_loss(energy(id_logits), energy(ood_logits), torch.tensor(-6.0), torch.tensor(-3.0))
    assert float(found) == pytest.approx(known + unknown, rel=1e-12)


def test_energy_oe_step_is_the_gradient_of_the_weighted_sum(model, batch):
    before = parameters(model)

    def loss(logits):
        hinge = hinge_loss(energy(logits[:6]), energy(logits[6:]), torch.tensor(-9.0), torch.tensor(5.0))
        return ce_of(batch)(logits) + 0.1 * hinge

    expected = gradients_at(model, batch.joint, {}, loss)
    losses = objective_of("energy-oe", model, energy_in=-9.0, energy_out=5.0)(learner_of(model), batch)
    assert losses.keys() == {"ce", "hinge"}
    assert_moved_by(before, parameters(model), expected)


# --- doe --------------------------------------------------------------------------------------------------------
def test_doe_is_dog_alternating_downwards_after_half_of_the_epochs(model, batch):
    twin = copy.deepcopy(model)
    doe = objective_of("doe", model)
    same = objective_of("dog", twin, wor_step="alternate", wor_sign="descend")
    assert doe.warmup == 5 and doe.gamma == 1.0
    learner, other = learner_of(model), learner_of(twin)
    learner.epoch = other.epoch = 5
    doe(learner, batch), same(other, batch)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters()))
