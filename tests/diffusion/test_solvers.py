"""Every solver against diffusers step by step, and against what mathematics says of it."""

import itertools
import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from dogfast.diffusion.schedule import Schedule, alphas_cumprod
from dogfast.diffusion.solvers import SOLVERS
from dogfast.errors import UsageError

SD15 = dict(beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000, beta_schedule="scaled_linear")
VARIANCE = alphas_cumprod(SD15)
TRAILING = SD15 | dict(timestep_spacing="trailing")
PEERS = {
    "dpm++2m": lambda: DPMSolverMultistepScheduler(
        **TRAILING, final_sigmas_type="zero", algorithm_type="dpmsolver++", solver_order=2
    ),
    "unipc": lambda: UniPCMultistepScheduler(**TRAILING, final_sigmas_type="zero", solver_order=2, solver_type="bh2"),
    "ddim": lambda: DDIMScheduler(**TRAILING, clip_sample=False, set_alpha_to_one=True),
    "pndm": lambda: PNDMScheduler(**SD15, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
    "ddpm": lambda: DDPMScheduler(**TRAILING, clip_sample=False, variance_type="fixed_small"),
    "lcm": lambda: LCMScheduler(**SD15, clip_sample=False),
}
RANDOM = ("ddpm", "lcm")


def wavy(latents, timestep):
    """A smooth non-linear denoiser that no symmetry makes easy."""
    return 0.7 * torch.tanh(1.3 * latents) + 0.2 * torch.sin(latents.roll(1, -1) * 2 + timestep / 300)


def start(dtype=torch.float64):
    return torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def drawn(dtype=torch.float64):
    """Noise that two solvers can draw alike, step by step."""
    generator = torch.Generator().manual_seed(1)
    return lambda step=None: torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64).to(dtype)


def solved(name, predict, begin, schedule):
    return SOLVERS[name].solve(predict, begin, schedule, drawn(begin.dtype))


# --- against diffusers ------------------------------------------------------------------------------------------
def ours_and_theirs(name, steps, dtype, monkeypatch):
    """What both showed the network, (timestep, latents) by call, and where both ended."""
    scheduler, noise = PEERS[name](), drawn(dtype)
    for module in ("scheduling_ddpm", "scheduling_lcm"):
        monkeypatch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *_, **__: noise())
    scheduler.set_timesteps(steps)
    theirs, seen_by_theirs = start(dtype), []
    for timestep in scheduler.timesteps:
        seen_by_theirs.append((int(timestep), theirs))
        theirs = scheduler.step(wavy(theirs, int(timestep)), timestep, theirs).prev_sample
    seen = []

    def predict(latents, timestep, step):
        seen.append((timestep, latents))
        return wavy(latents, timestep)

    ours = solved(name, predict, start(dtype), SOLVERS[name].spacing(VARIANCE, steps, None))
    return [*seen, (0, ours)], [*seen_by_theirs, (0, theirs)]


def steps_of(name):
    """What diffusers can take: its PNDM not one step, its DDIM and DDPM only steps of one length."""
    steps = [1, 2, 3, 4, 5, 10, 15, 20, 50]
    if name == "pndm":
        return steps[1:]
    return [count for count in steps if 1000 % count == 0] if name in ("ddim", "ddpm") else steps


@pytest.mark.parametrize("name, steps", [(name, steps) for name in PEERS for steps in steps_of(name)])
def test_every_step_is_that_of_diffusers(name, steps, monkeypatch):
    ours, theirs = ours_and_theirs(name, steps, torch.float64, monkeypatch)
    assert [time for time, _ in ours] == [time for time, _ in theirs]
    for call, ((_, mine), (_, their)) in enumerate(zip(ours, theirs)):
        # diffusers keeps its tables in float32, whatever the latents are.
        torch.testing.assert_close(mine, their.double(), rtol=3e-4, atol=3e-4, msg=lambda m, c=call: f"call {c}: {m}")


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_euler_is_ddim_in_other_coordinates(steps):
    scheduler = EulerDiscreteScheduler(**TRAILING)
    scheduler.set_timesteps(steps)
    schedule = SOLVERS["euler"].spacing(VARIANCE, steps, None)
    theirs = start() / schedule.alpha[0]
    for timestep in scheduler.timesteps:
        eps = wavy(scheduler.scale_model_input(theirs, timestep), int(timestep))
        theirs = scheduler.step(eps, timestep, theirs).prev_sample
    ours = solved("euler", lambda latents, timestep, step: wavy(latents, timestep), start(), schedule)
    torch.testing.assert_close(ours, theirs.double(), rtol=3e-4, atol=3e-4)


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


def gaussian_error(name, steps):
    """Distance to the exact flow, along which latents keep their place relative to the marginal's width."""
    schedule = smooth_schedule(steps)

    def predict(latents, timestep, step):
        place = steps - timestep
        return exact_noise(latents, schedule.alpha[place], schedule.sigma[place])

    def width(i):
        return math.sqrt(schedule.alpha[i] ** 2 * DATA_VARIANCE + schedule.sigma[i] ** 2)

    end = solved(name, predict, start(), schedule)
    return float((end - start() * width(-1) / width(0)).abs().max())


@pytest.mark.parametrize("name, order", [("dpm++2m", 2), ("unipc", 2), ("ddim", 1), ("pndm", 2)])
def test_a_solver_converges_to_the_exact_flow_with_its_order(name, order):
    errors = [gaussian_error(name, steps) for steps in (40, 80, 160, 320)]
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert errors[-1] < (5e-2 if order == 1 else 1e-3)
    assert all(ratio > 0.82 * 2**order for ratio in ratios), (errors, ratios)


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in ("pndm", "lcm")])
def test_data_of_a_single_point_are_recovered_exactly(name, steps):
    schedule, point = SOLVERS[name].spacing(VARIANCE, steps, None), start().roll(1)

    def predict(latents, timestep, step):
        return (latents - schedule.alpha[step] * point) / schedule.sigma[step]

    torch.testing.assert_close(solved(name, predict, start(), schedule), point, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SOLVERS)
def test_steps_come_in_order_and_the_start_is_not_changed(name):
    calls, begin = [], start()
    before = begin.clone()

    def predict(latents, timestep, step):
        calls.append((step, timestep))
        return wavy(latents, timestep)

    schedule = SOLVERS[name].spacing(VARIANCE, 4, None)
    end = solved(name, predict, begin, schedule)
    assert (
        calls
        == [(0, schedule.timesteps[0])]
        + ([(1, schedule.timesteps[1])] if name == "pndm" else [])
        + list(enumerate(schedule.timesteps))[1:]
    )
    assert torch.equal(begin, before) and end.dtype == begin.dtype


@pytest.mark.parametrize("name", SOLVERS)
def test_a_row_does_not_depend_on_its_neighbours(name):
    schedule, both = SOLVERS[name].spacing(VARIANCE, 5, None), start()

    def alone(row):
        noise = drawn()
        return SOLVERS[name].solve(lambda x, t, s: wavy(x, t), both[row : row + 1], schedule, lambda s: noise()[row : row + 1])

    together = solved(name, lambda x, t, s: wavy(x, t), both, schedule)
    for row in range(2):
        torch.testing.assert_close(alone(row)[0], together[row])


@pytest.mark.parametrize("name", SOLVERS)
def test_only_random_solvers_ask_for_noise(name):
    asked = []

    def noise(step):
        asked.append(step)
        return torch.zeros(2, 4, 3, 3, dtype=torch.float64)

    SOLVERS[name].solve(lambda x, t, s: wavy(x, t), start(), SOLVERS[name].spacing(VARIANCE, 4, None), noise)
    assert asked == ([0, 1, 2] if name in RANDOM else []), "the last step ends clean"


# --- how many steps there can be --------------------------------------------------------------------------------
@pytest.mark.parametrize("name, most", [("lcm", 50), ("pndm", 500), ("ddim", 1000)])
def test_more_steps_than_timesteps_are_refused(name, most):
    assert len(SOLVERS[name].spacing(VARIANCE, most, None).timesteps) == most
    with pytest.raises(UsageError, match="--steps"):
        SOLVERS[name].spacing(VARIANCE, 1001, None)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("start_t", [100, 500, 999])
def test_a_later_start_visits_nothing_noisier(name, start_t):
    schedule = SOLVERS[name].spacing(VARIANCE, 5, start_t)
    assert max(schedule.timesteps) <= start_t and list(schedule.timesteps) == sorted(schedule.timesteps, reverse=True)
