"""Training on a CUDA device: every precision, compiled or not, resumed or not, and several devices as one."""

import copy

import pytest
import torch

from dogfast.classifiers.wrn import WideResNet
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.events import Events
from dogfast.training.batches import Held
from dogfast.training.loop import Keeping, Machine, fit
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.regimes import regime_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")]


def colours(n, seed=0):
    """Noisy red (0) and blue (1) images, and green outliers: uint8 (n, 3, 16, 16), labels, uint8 (n // 2, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 120, (n, 3, 16, 16), generator=generator)
    images[torch.arange(n), labels * 2] += 100
    outliers = torch.randint(0, 120, (n // 2, 3, 16, 16), generator=generator)
    outliers[:, 1] += 100
    return images.to(torch.uint8), labels, outliers.to(torch.uint8)


def train(objective, precision="bf16", epochs=4, device="cuda", keeping=None, **fields):
    torch.manual_seed(0)
    model, methods = WideResNet(10, 1, classes=2), ObjectivesConfig()
    own = {"batch": 16, "ood_batch": 16, "epochs": epochs, "lr": 0.05, "pretrain_epochs": epochs, "pretrain_lr": 0.05}
    config = TrainingConfig(objective=objective, compile="off", **(own | fields))
    images, labels, outliers = colours(96)
    regime, held = regime_of(config, methods, ""), Held(outliers, 0)
    machine = Machine(device, precision)
    report = fit(model, images, labels, held, regime, config, methods, Events(), machine, "train", keeping=keeping)
    return model, report


def surprise(model, objective):
    """How much surer the model is of ID images than of outliers, by what the objective works on, and its accuracy."""
    images, labels, outliers = colours(60, seed=1)
    with torch.no_grad():
        known, unknown = (model(x.cuda().float() / 255) for x in (images, outliers))
    sure = (lambda logits: logits.logsumexp(1)) if objective == "energy-oe" else (lambda logits: logits.softmax(1).amax(1))
    return float(sure(known).mean() - sure(unknown).mean()), float((known.argmax(1).cpu() == labels).float().mean())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("objective", ["oe", "energy-oe", "doe", "dog"])
def test_it_learns_and_is_unsure_of_another_colour(objective, precision):
    model, report = train(objective, precision)
    gap, accuracy = surprise(model, objective)
    assert accuracy > 0.95 and report["skipped_steps"] <= 3 and gap > 0.05


@pytest.mark.parametrize("objective", ["ce", "oe"])
def test_a_compiled_forward_trains_as_the_plain_one(objective):
    plain, compiled = (train(objective, "fp32", epochs=1, compile=mode)[1]["history"] for mode in ("off", "on"))
    assert compiled[0]["ce"] == pytest.approx(plain[0]["ce"], rel=1e-3)


@pytest.mark.parametrize("objective", ["oe", "dog"])
def test_a_resumed_training_goes_on_from_its_checkpoint(objective, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    method = OBJECTIVES[objective]

    def forward(self, learner, batch):
        if learner.at == 7:
            raise Killed
        return method.forward(self, learner, batch)

    whole, report = train(objective, "fp32")
    keeping = Keeping(tmp_path / "last.safetensors", {}, 0.0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setitem(OBJECTIVES, objective, type("Dying", (method,), {"forward": forward}))
        train(objective, "fp32", keeping=keeping)
    resumed, again = train(objective, "fp32", keeping=keeping)
    for a, b in zip(whole.parameters(), resumed.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert again["history"][-1]["ce"] == pytest.approx(report["history"][-1]["ce"], rel=1e-2)


def test_the_cpu_and_the_gpu_begin_alike():
    cpu, gpu = (train("oe", "fp32", epochs=1, device=device)[1]["history"][0] for device in ("cpu", "cuda"))
    assert gpu["ce"] == pytest.approx(cpu["ce"], rel=1e-2) and gpu["oe"] == pytest.approx(cpu["oe"], rel=1e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="synchronised batch normalisation needs two CUDA devices")
def test_two_devices_give_what_one_gives(tmp_path):
    from torch.multiprocessing import spawn

    alone, _ = train("dog", "fp32", epochs=1)
    spawn(_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, tensor in copy.deepcopy(alone).cpu().state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-3, atol=1e-4)


def _of_two(rank, place):
    import os

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    from dogfast.training.ranks import join_ranks

    ranks, methods = join_ranks(), ObjectivesConfig()
    config = TrainingConfig(objective="dog", compile="off", batch=16, ood_batch=16, epochs=1, lr=0.05)
    torch.manual_seed(0)
    model = WideResNet(10, 1, classes=2)
    images, labels, outliers = colours(96)
    machine = Machine(f"cuda:{rank}", "fp32", ranks)
    fit(model, images, labels, Held(outliers, 0), regime_of(config, methods, ""), config, methods, Events(), machine)
    torch.save(model.cpu().state_dict(), f"{place}/{rank}.pt")
