"""Noise schedules against diffusers' own, and what is refused."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

from dogfast.diffusion.schedule import alphas_cumprod, trailing
from dogfast.errors import EnvironmentFault

SD15 = dict(beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000, beta_schedule="scaled_linear")
DDPM = dict(beta_start=0.0001, beta_end=0.02, num_train_timesteps=1000, beta_schedule="linear")


@pytest.mark.parametrize("config", [SD15, DDPM, SD15 | dict(num_train_timesteps=50)], ids=["scaled", "linear", "short"])
def test_signal_variance_is_that_of_diffusers(config):
    ours = alphas_cumprod(config)
    assert ours.dtype == torch.float64 and ours.shape == (config["num_train_timesteps"],)
    torch.testing.assert_close(ours.float(), DDPMScheduler(**config).alphas_cumprod, rtol=2e-5, atol=1e-8)
    assert (ours.diff() < 0).all()


def test_without_a_beta_schedule_it_is_linear_as_in_diffusers():
    bare = {name: value for name, value in DDPM.items() if name != "beta_schedule"}
    assert torch.equal(alphas_cumprod(bare), alphas_cumprod(DDPM))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"beta_schedule": "squaredcos_cap_v2"}, "squaredcos_cap_v2"),
        ({"prediction_type": "v_prediction"}, "v_prediction"),
        ({"prediction_type": "sample"}, "sample"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
    ],
)
def test_what_the_solver_cannot_follow_is_refused_by_name(change, named):
    with pytest.raises(EnvironmentFault, match=named) as fault:
        alphas_cumprod(SD15 | change)
    assert fault.value.exit_code == 3


@pytest.mark.parametrize("absent", ["beta_start", "beta_end", "num_train_timesteps"])
def test_an_incomplete_configuration_is_refused_by_name(absent):
    with pytest.raises(EnvironmentFault, match=absent):
        alphas_cumprod({name: value for name, value in SD15.items() if name != absent})


def test_null_extras_are_those_of_sd15_and_accepted():
    alphas_cumprod(SD15 | dict(trained_betas=None, rescale_betas_zero_snr=False, prediction_type="epsilon"))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 20, 50, 999, 1000])
def test_trailing_visits_the_noisiest_first_and_ends_clean(steps):
    variance = alphas_cumprod(SD15)
    schedule = trailing(variance, steps)
    assert len(schedule.timesteps) == steps and len(schedule.alpha) == len(schedule.sigma) == steps + 1
    assert schedule.timesteps[0] == 999 and min(schedule.timesteps) >= 0
    assert all(a > b for a, b in zip(schedule.timesteps, schedule.timesteps[1:]))
    assert (schedule.alpha[-1], schedule.sigma[-1]) == (1.0, 0.0)
    np.testing.assert_allclose(np.square(schedule.alpha) + np.square(schedule.sigma), 1, rtol=1e-12)
    np.testing.assert_allclose(np.square(schedule.alpha[:-1]), variance[list(schedule.timesteps)], rtol=1e-12)


@pytest.mark.parametrize("steps", [2, 3, 5, 8, 20, 25, 50])
def test_trailing_is_that_of_diffusers(steps):
    scheduler = DPMSolverMultistepScheduler(**SD15, timestep_spacing="trailing", final_sigmas_type="zero")
    scheduler.set_timesteps(steps)
    assert list(trailing(alphas_cumprod(SD15), steps).timesteps) == scheduler.timesteps.tolist()
