"""What every training of a generator stands on: a loop that goes on where it was stopped, and what is drawn."""

import time

import pytest
import torch
from recipe.bank import Bank
from recipe.loop import Loop, Stopped
from recipe.prompts import Prompts
from torch import nn

STEPS = 40


def learn(folder, ends_at=float("inf"), stop_at=None):
    """A regression of some steps with averaged weights; ``stop_at``: the step in which the time is suddenly over."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    seen = []

    def loss_of_step(step, generator):
        if step == stop_at:
            object.__setattr__(loop, "ends_at", 0.0)
        seen.append(step)
        given = torch.randn(16, 4, generator=generator)
        return (model(given) - given.sum(1, keepdim=True)).square().mean()

    loop = Loop(folder, ends_at=ends_at)
    found = loop.optimise("line", {"model": model}, loss_of_step, STEPS, 1e-2, ema=0.9)["model"]
    return found.state_dict(), seen


def test_a_training_that_was_stopped_ends_as_if_it_never_was(tmp_path):
    whole, _ = learn(tmp_path / "whole")
    with pytest.raises(Stopped, match="line stands at step 18 of 40"):
        learn(tmp_path / "parts", stop_at=17)
    parts, seen = learn(tmp_path / "parts")
    assert seen == list(range(18, STEPS))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_it_learns_and_does_nothing_again(tmp_path):
    _, seen = learn(tmp_path)
    assert seen == list(range(STEPS))
    assert learn(tmp_path)[1] == []


def test_time_that_is_over_leaves_one_step_more(tmp_path):
    for step in range(1, 4):
        with pytest.raises(Stopped, match=f"step {step} of"):
            learn(tmp_path, ends_at=time.monotonic() - 1)


def test_images_are_drawn_by_their_chances():
    bank = Bank(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.arange(4), torch.tensor([1.0, 0.0, 0.0, 3.0]))
    rows = bank.draw(4000, torch.Generator().manual_seed(0))
    assert set(rows.tolist()) == {0, 3} and abs((rows == 3).float().mean() - 0.75) < 0.03


def test_a_prompt_is_one_of_its_concepts():
    prompts = Prompts(torch.zeros(7, 5, dtype=torch.long), torch.tensor([0, 1, 4]), torch.tensor([1, 3, 2]))
    wanted = torch.tensor([0, 1, 2]).repeat(500)
    rows = prompts.draw(wanted, torch.Generator().manual_seed(0))
    for concept, those in enumerate(({0}, {1, 2, 3}, {4, 5})):
        assert set(rows[wanted == concept].tolist()) == those
    assert prompts.empty == 6
