"""Worst OOD regret: the surrogate, the norms, the sign, the guard and the way back."""

import copy

import pytest
import torch

from dogfast.classifiers.wrn import WideResNet
from dogfast.training.perturbation import (
    Perturbation,
    forward_aside,
    match_norm,
    moved,
    perturbable,
    regret_slope,
    without_dropout,
)

N_ID = 6


@pytest.fixture
def model():
    torch.manual_seed(0)
    return WideResNet(10, 1, classes=4, dropout=0.3).double().train()


@pytest.fixture
def images():
    return torch.rand(14, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def fresh(model, sign="ascend", smoothing=0.6, strengths=(0.1,), seed=0):
    return Perturbation(model, strengths, sign, smoothing, seed)


def squared_regret(model, images, weights=None):
    with without_dropout(model):
        return regret_slope(forward_aside(model, images, weights)[N_ID:]).square()


def test_the_closed_form_is_the_derivative_by_scale():
    logits = torch.randn(9, 5, dtype=torch.float64) * 3
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    scaled = scale * logits
    negative_oe = (scaled.mean(1) - scaled.logsumexp(1)).mean()
    (expected,) = torch.autograd.grad(negative_oe, scale)
    torch.testing.assert_close(regret_slope(logits), expected)


def test_the_gradient_of_its_square_is_the_one_of_double_backward(model, images):
    """Steps 2 to 5 of DOE with a scale on the logits, against the closed form."""
    weights = list(perturbable(model).values())
    with without_dropout(model):
        logits = forward_aside(model, images)[N_ID:]
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = ((scale * logits).mean(1) - (scale * logits).logsumexp(1)).mean()
    (slope,) = torch.autograd.grad(loss, scale, create_graph=True)
    expected = torch.autograd.grad(slope.square(), weights)
    actual = torch.autograd.grad(squared_regret(model, images), weights)
    for a, b in zip(actual, expected):
        torch.testing.assert_close(a, b)


def test_the_slope_is_negative_but_where_logits_are_equal():
    assert regret_slope(torch.randn(5, 3)) < 0
    assert regret_slope(torch.full((5, 3), 7.0)) == 0


def test_convolutions_and_the_head_are_moved_and_nothing_else(model):
    names = set(perturbable(model))
    assert "head.weight" in names and "stem.weight" in names and "groups.1.0.shortcut.weight" in names
    assert not any("norm" in name or name.endswith("bias") for name in names)
    assert len(names) == sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in model.modules())


def test_each_tensor_is_as_long_as_its_weights(model, images):
    perturbation = fresh(model)
    perturbation.refresh(model, images, N_ID)
    assert perturbation.tensors.keys() == perturbable(model).keys()
    for name, weight in perturbable(model).items():
        torch.testing.assert_close(perturbation.tensors[name].norm(), weight.detach().norm())
        assert not perturbation.tensors[name].requires_grad


@pytest.mark.parametrize("sign, grows", [("ascend", True), ("descend", False)])
def test_a_small_step_moves_the_regret_the_way_the_sign_says(model, images, sign, grows):
    perturbation = fresh(model, sign)
    slope = perturbation.refresh(model, images, N_ID)
    before = squared_regret(model, images)
    torch.testing.assert_close(slope.square(), before.detach())
    assert (squared_regret(model, images, perturbation.displace(model, 1e-4)) > before) == grows


def test_the_signs_are_opposite(model, images):
    up, down = fresh(model, "ascend"), fresh(model, "descend")
    up.refresh(model, images, N_ID)
    down.refresh(model, images, N_ID)
    for name in up.tensors:
        torch.testing.assert_close(up.tensors[name], -down.tensors[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_regret_there_is_no_perturbation(model, images, dtype):
    """Equal logits give a gradient of rounding errors only, which must not be blown up."""
    model.to(dtype)
    with torch.no_grad():
        model.head.weight.copy_(model.head.weight[:1].expand(4, -1).clone())
        model.head.bias.fill_(3.3)
    perturbation = fresh(model)
    perturbation.refresh(model, images.to(dtype), N_ID)
    assert all(not tensor.any() for tensor in perturbation.tensors.values())


def test_norms_are_matched_unless_there_is_nothing_to_match():
    weight = torch.randn(3, 4)
    assert torch.equal(match_norm(weight, torch.full((3, 4), 1e-13)), torch.zeros(3, 4))
    assert torch.equal(match_norm(weight, torch.full((3, 4), float("nan"))), torch.zeros(3, 4))
    torch.testing.assert_close(match_norm(weight, torch.full((3, 4), 1e-9)).norm(), weight.norm())
    torch.testing.assert_close(match_norm(weight, 5 * weight), weight)


def test_the_former_perturbation_is_kept_in_part(model, images):
    smoothed, new = fresh(model, smoothing=0.6), fresh(model)
    smoothed.refresh(model, images, N_ID)
    first = {name: tensor.clone() for name, tensor in smoothed.tensors.items()}
    other = images.flip(0)
    smoothed.refresh(model, other, N_ID)
    new.refresh(model, other, N_ID)
    for name in first:
        torch.testing.assert_close(smoothed.tensors[name], 0.6 * first[name] + 0.4 * new.tensors[name])


def test_the_proxy_leaves_the_model_as_it_was(model, images):
    before = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    fresh(model).refresh(model, images, N_ID)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), rng)  # no dropout was drawn


def test_the_proxy_uses_the_statistics_of_the_joint_batch(model, images):
    with without_dropout(model):
        alone, joint = forward_aside(model, images[N_ID:]), forward_aside(model, images)[N_ID:]
    assert not torch.allclose(alone, joint)


def test_the_proxy_ignores_autocast(images):
    torch.manual_seed(0)
    model = WideResNet(10, 1, 4)
    plain, mixed = fresh(model), fresh(model)
    plain.refresh(model, images.float(), N_ID)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed.refresh(model, images.float(), N_ID)
    assert all(torch.equal(plain.tensors[name], mixed.tensors[name]) for name in plain.tensors)


def test_strengths_are_drawn_from_the_set_by_seed_and_step(model):
    strengths = (0.1, 0.01, 0.001)
    one, same, other = (fresh(model, strengths=strengths, seed=seed) for seed in (5, 5, 6))
    drawn = [one.strength(step) for step in range(50)]
    assert drawn == [same.strength(step) for step in range(50)] != [other.strength(step) for step in range(50)]
    assert set(drawn) == set(strengths) and one.strength(7) == drawn[7]


def test_before_the_first_step_nothing_is_displaced(model):
    moved_to = fresh(model).displace(model, 0.1)
    assert all(torch.equal(weight, model.get_parameter(name)) for name, weight in moved_to.items())


def test_moved_weights_come_back_exactly_without_a_step(model, images):
    perturbation = fresh(model)
    perturbation.refresh(model, images, N_ID)
    before = copy.deepcopy(model.state_dict())
    target = perturbation.displace(model, 0.1)
    with moved(model, target):
        assert all(torch.equal(model.get_parameter(name), weight) for name, weight in target.items())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_step_at_the_moved_weights_is_carried_back(model):
    weight = model.head.weight
    before, target = weight.detach().clone(), torch.full_like(weight, 2.0)
    with moved(model, {"head.weight": target}), torch.no_grad():
        weight.sub_(0.25)
    assert torch.equal(weight, before + (torch.full_like(weight, 1.75) - target))
