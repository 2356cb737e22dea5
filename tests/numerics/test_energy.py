import math

import pytest
import torch

from dogfast.numerics.energy import log_sum_exp_energy


def reference(logits, temperature):
    return temperature * math.log(sum(math.exp(logit / temperature) for logit in logits))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_equals_the_scalar_formula(temperature):
    logits = torch.randn(20, 7, generator=torch.Generator().manual_seed(0)) * 5
    expected = [reference(row, temperature) for row in logits.double().tolist()]
    torch.testing.assert_close(
        log_sum_exp_energy(logits, temperature).double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5
    )


def test_is_fp32_and_finite_where_exp_alone_would_overflow():
    logits = torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0]], dtype=torch.bfloat16)
    energy = log_sum_exp_energy(logits)
    assert energy.dtype == torch.float32
    torch.testing.assert_close(energy, torch.tensor([1000.0, -1000.0]) + math.log(2))


def test_infinite_logits_give_infinite_energy_not_nan():
    logits = torch.tensor([[math.inf, -math.inf], [-math.inf, -math.inf]])
    assert log_sum_exp_energy(logits).tolist() == [math.inf, -math.inf]


def test_keeps_leading_axes_input_and_gradient():
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    energy = log_sum_exp_energy(logits)
    assert energy.shape == (2, 3)
    energy.sum().backward()
    torch.testing.assert_close(logits.grad, torch.full((2, 3, 4), 0.25))
    assert not logits.any()
