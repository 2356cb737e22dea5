"""Guidance: the formula, and how many rows it costs."""

import pytest
import torch

from dogfast.diffusion.guidance import Guidance, guided
from dogfast.diffusion.schedule import alphas_cumprod, trailing
from dogfast.diffusion.solvers import SOLVERS

SD15 = dict(beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000, beta_schedule="scaled_linear")
VARIANCE = alphas_cumprod(SD15)


def solve(predict, start, schedule):
    return SOLVERS["dpm++2m"].solve(predict, start, schedule, None)


def noise(dtype=torch.float64, rows=2, seed=0):
    return torch.randn(rows, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


ROWS, TOKENS, WIDTH = 3, 5, 6


def texts():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, TOKENS, WIDTH, generator=generator), torch.randn(1, TOKENS, WIDTH, generator=generator)


def counting():
    """A denoiser whose answer tells rows, timesteps and texts apart, and the list of what it was asked."""
    calls = []

    def denoise(latents, timesteps, text):
        assert len(latents) == len(timesteps) == len(text)
        calls.append((len(latents), timesteps.tolist()))
        return latents * 0.1 + text.mean((1, 2))[:, None, None, None] + timesteps[:, None, None, None] / 1000

    return denoise, calls


@pytest.mark.parametrize("scale", [0.0, 0.5, 4.0, 7.5])
def test_guidance_is_the_formula_with_each_row_against_its_own_half(scale):
    text, empty = texts()
    denoise, _ = counting()
    latents, times = noise(torch.float32, ROWS), torch.full((ROWS,), 500.0)
    conditional, unconditional = denoise(latents, times, text), denoise(latents, times, empty.expand_as(text))
    found = guided(denoise, text, empty, Guidance(scale), 10)(latents, 500, 0)
    torch.testing.assert_close(found, unconditional + scale * (conditional - unconditional))


def test_scale_one_is_the_plain_prediction_and_never_costs_double():
    text, empty = texts()
    denoise, calls = counting()
    latents = noise(torch.float32, ROWS)
    predict = guided(denoise, text, empty, Guidance(1.0), 10)
    found = [predict(latents, 100, step) for step in range(10)]
    assert [rows for rows, _ in calls] == [ROWS] * 10
    torch.testing.assert_close(found[0], denoise(latents, torch.full((ROWS,), 100.0), text))


@pytest.mark.parametrize(
    ("start", "stop", "steps", "inside"),
    [
        (0.0, 1.0, 5, range(0, 5)),
        (0.0, 0.7, 20, range(0, 14)),
        (0.2, 0.6, 10, range(2, 6)),
        (0.5, 0.5, 10, range(0)),
        (0.0, 0.0, 10, range(0)),
        (0.9, 1.0, 3, range(0)),
    ],
)
def test_only_steps_inside_the_interval_evaluate_both_halves(start, stop, steps, inside):
    text, empty = texts()
    denoise, calls = counting()
    schedule = trailing(VARIANCE, steps)
    predict = guided(denoise, text, empty, Guidance(3.0, start, stop), steps)
    solve(predict, noise(torch.float32, ROWS), schedule)
    assert [rows for rows, _ in calls] == [2 * ROWS if step in inside else ROWS for step in range(steps)]
    assert [times for _, times in calls] == [[t] * rows for t, (rows, _) in zip(schedule.timesteps, calls)]


def test_a_row_does_not_depend_on_its_neighbours():
    text, empty = texts()
    denoise, _ = counting()
    start, schedule, guidance = noise(torch.float32, ROWS), trailing(VARIANCE, 6), Guidance(4.0, 0.0, 0.7)
    together = solve(guided(denoise, text, empty, guidance, 6), start, schedule)
    for row in range(ROWS):
        alone = solve(guided(denoise, text[[row]], empty, guidance, 6), start[[row]], schedule)
        torch.testing.assert_close(alone[0], together[row])
