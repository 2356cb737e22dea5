"""What every training of a generator stands on: a loop that goes on where it was stopped, and what is drawn."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from recipe.bank import Bank
from recipe.loop import Loop, Stopped
from recipe.prompts import Prompts
from safetensors.torch import load_file
from torch import nn

STEPS = 40
CREW = """
import sys
from pathlib import Path
import torch
from recipe.loop import Loop, Stopped
from safetensors.torch import save_file
from dogfast.training.ranks import join_ranks

def main(folder, late):
    ranks = join_ranks()
    loop = Loop(folder, ranks=ranks)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)

    def loss_of_step(step, generator):
        if step == late and ranks.index == ranks.count - 1:
            object.__setattr__(loop, "ends_at", 0.0)
        given = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))[ranks.rows(16)]
        assert loop.share(16) == len(given)
        return (model(given) - given.sum(1, keepdim=True)).square().mean()

    try:
        found = loop.optimise("line", {"model": model}, loss_of_step, 40, 1e-2, ema=0.9)["model"].state_dict()
        save_file(found, folder / f"weights-{ranks.index}.safetensors")
        loop.alone(lambda: (folder / "alone").write_text("the first"))
        assert (folder / "alone").exists()
    except Stopped as stopped:
        (folder / f"stopped-{ranks.index}").write_text(str(stopped))

main(Path(sys.argv[1]), int(sys.argv[2]))
"""


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


def crew(folder, count, late=-1):
    """Train `CREW` on ``count`` processes; ``late``: the step in which the last one's time is suddenly over."""
    folder.mkdir(exist_ok=True)
    script = folder / "crew.py"
    script.write_text(CREW)
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "benchmarks")}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), script, folder, str(late)]
    done = subprocess.run(launch, env=variables, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [load_file(each) for each in sorted(folder.glob("weights-*"))]


@pytest.mark.slow
def test_processes_learn_what_one_does_and_stop_together(tmp_path):
    [alone] = crew(tmp_path / "one", 1)
    pair = crew(tmp_path / "two", 2)
    assert len(pair) == 2 and all(torch.equal(pair[0][name], pair[1][name]) for name in alone)
    assert all(torch.allclose(pair[0][name], alone[name], atol=1e-6) for name in alone)

    late = tmp_path / "late"
    assert crew(late, 2, late=17) == []
    assert [path.read_text() for path in sorted(late.glob("stopped-*"))] == ["line stands at step 18 of 40"] * 2
    assert all(torch.equal(each[name], pair[0][name]) for each in crew(late, 2) for name in alone)
