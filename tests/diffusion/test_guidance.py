"""DPM-Solver++ 2M against diffusers' and against the exact solution; guidance and how many rows it costs."""

import itertools
import math

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from dogfast.diffusion.sampler import SOLVERS, Guidance, dpm_solver_pp_2m, guided
from dogfast.diffusion.schedule import Schedule, alphas_cumprod, trailing

SD15 = dict(beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000, beta_schedule="scaled_linear")
VARIANCE = alphas_cumprod(SD15)
STEPS = [1, 2, 3, 5, 10, 14, 15, 20, 33]


def wavy(latents, timestep):
    """A smooth non-linear denoiser that no symmetry makes easy."""
    return 0.7 * torch.tanh(1.3 * latents) + 0.2 * torch.sin(latents.roll(1, -1) * 2 + timestep / 300)


def noise(dtype=torch.float64, rows=2, seed=0):
    return torch.randn(rows, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# --- against diffusers ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_step_is_that_of_diffusers(steps, dtype):
    scheduler = DPMSolverMultistepScheduler(
        **SD15, timestep_spacing="trailing", final_sigmas_type="zero", algorithm_type="dpmsolver++", solver_order=2
    )
    scheduler.set_timesteps(steps)
    theirs, seen_by_theirs = noise(dtype), []
    for timestep in scheduler.timesteps:
        seen_by_theirs.append(theirs)
        theirs = scheduler.step(wavy(theirs, int(timestep)), timestep, theirs).prev_sample

    seen = []

    def predict(latents, timestep, step):
        seen.append(latents)
        return wavy(latents, timestep)

    ours = dpm_solver_pp_2m(predict, noise(dtype), trailing(VARIANCE, steps))
    assert ours.dtype == dtype and len(seen) == len(seen_by_theirs) == steps
    # diffusers keeps its sigmas in float32, whatever the latents are.
    for step, (mine, their) in enumerate(zip([*seen, ours], [*seen_by_theirs, theirs])):
        torch.testing.assert_close(mine.double(), their.double(), rtol=2e-4, atol=2e-4, msg=lambda m, s=step: f"step {s}: {m}")


# --- against mathematics ----------------------------------------------------------------------------------------
DATA_VARIANCE = 0.25


def exact_noise(latents, alpha, sigma):
    """E[noise | latents] for data N(0, DATA_VARIANCE)."""
    return latents * sigma / (alpha**2 * DATA_VARIANCE + sigma**2)


def smooth_schedule(steps, last=0.02):
    """Equal steps of log SNR from nearly pure noise down to a little noise: no clean end, whose step is of first order."""
    log_snr = torch.linspace(math.log(0.07), math.log(1 / last), steps + 1, dtype=torch.float64)
    variance = torch.sigmoid(2 * log_snr)
    return Schedule(tuple(range(steps, 0, -1)), tuple(variance.sqrt().tolist()), tuple((1 - variance).sqrt().tolist()))


def gaussian_error(steps):
    """Distance to the exact flow, along which latents keep their place relative to the marginal's width."""
    schedule = smooth_schedule(steps)
    start = noise()
    end = dpm_solver_pp_2m(lambda x, t, step: exact_noise(x, schedule.alpha[step], schedule.sigma[step]), start, schedule)

    def width(i):
        return math.sqrt(schedule.alpha[i] ** 2 * DATA_VARIANCE + schedule.sigma[i] ** 2)

    return float((end - start * width(-1) / width(0)).abs().max())


def test_the_solver_converges_to_the_exact_flow_with_second_order():
    errors = [gaussian_error(steps) for steps in (40, 80, 160, 320)]
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert errors[-1] < 1e-3
    assert all(3.3 < ratio < 4.7 for ratio in ratios), (errors, ratios)


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
def test_data_of_a_single_point_are_recovered_exactly(steps):
    schedule, point = trailing(VARIANCE, steps), noise(seed=5)

    def predict(latents, timestep, step):
        return (latents - schedule.alpha[step] * point) / schedule.sigma[step]

    torch.testing.assert_close(dpm_solver_pp_2m(predict, noise(), schedule), point, rtol=1e-9, atol=1e-9)


def test_the_callback_is_called_once_a_step_in_order_and_after_the_prediction():
    happened = []

    def predict(latents, timestep, step):
        happened.append(("predict", step, timestep))
        return torch.zeros_like(latents)

    dpm_solver_pp_2m(predict, noise(), trailing(VARIANCE, 4), lambda step: happened.append(("callback", step)))
    assert happened == [x for i, t in enumerate((999, 749, 499, 249)) for x in (("predict", i, t), ("callback", i))]


def test_the_noise_handed_in_is_not_changed():
    start = noise()
    before = start.clone()
    SOLVERS["dpm++2m"](lambda x, t, s: wavy(x, t), start, trailing(VARIANCE, 3))
    assert torch.equal(start, before)


# --- guidance ---------------------------------------------------------------------------------------------------
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
    dpm_solver_pp_2m(predict, noise(torch.float32, ROWS), schedule)
    assert [rows for rows, _ in calls] == [2 * ROWS if step in inside else ROWS for step in range(steps)]
    assert [times for _, times in calls] == [[t] * rows for t, (rows, _) in zip(schedule.timesteps, calls)]


def test_a_row_does_not_depend_on_its_neighbours():
    text, empty = texts()
    denoise, _ = counting()
    start, schedule, guidance = noise(torch.float32, ROWS), trailing(VARIANCE, 6), Guidance(4.0, 0.0, 0.7)
    together = dpm_solver_pp_2m(guided(denoise, text, empty, guidance, 6), start, schedule)
    for row in range(ROWS):
        alone = dpm_solver_pp_2m(guided(denoise, text[[row]], empty, guidance, 6), start[[row]], schedule)
        torch.testing.assert_close(alone[0], together[row])
