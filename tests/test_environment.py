"""What this machine has: every automatic choice comes with its reason, and what is not there is refused."""

import dataclasses
from pathlib import Path

import pytest
import torch

from dogfast import environment
from dogfast.environment import (
    Choice,
    choose_device,
    choose_precision,
    choose_training_precision,
    hardware,
    processor_count,
    processor_flags,
    processor_has_bf16,
    processor_name,
)
from dogfast.errors import EnvironmentFault
from dogfast.processes import own_gpu


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has so many GPUs, with or without bf16 units."""

    def pretend(count, bf16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Pretended GPU")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)

    return pretend


@pytest.fixture
def flags(monkeypatch):
    """Pretend that the processor reports these flags."""
    return lambda *names: monkeypatch.setattr(environment, "processor_flags", lambda: frozenset(names))


# --- devices ----------------------------------------------------------------------------------------------------
def test_automatic_devices(gpus):
    gpus(0)
    assert choose_device("auto") == Choice("cpu", "no CUDA device is present")
    gpus(2)
    choice = choose_device("auto")
    assert choice.value == "cuda" and "Pretended GPU" in choice.reason


def test_a_launch_on_cpus_leaves_gpus_alone(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    assert choose_device("auto") == Choice("cpu", "ACCELERATE_USE_CPU is set") and own_gpu() is None
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    assert choose_device("auto").value == "cuda"


def test_every_process_of_a_launch_has_a_gpu_of_its_own(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_gpu() == 1
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(EnvironmentFault, match=r"--num_processes: this machine has 2 GPUs; .*ACCELERATE_USE_CPU=1"):
        own_gpu()


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_devices_that_were_asked_for(gpus, wanted):
    gpus(2)
    assert choose_device(wanted) == Choice(wanted, "asked for by --device")


@pytest.mark.parametrize("count, wanted", [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2"), (2, "cuda:9"), (0, "cuda:9")])
def test_devices_that_are_not_there(gpus, count, wanted):
    gpus(count)
    with pytest.raises(
        EnvironmentFault, match=f"--device {wanted}: {count} CUDA devices are present; use --device cpu"
    ) as refusal:
        choose_device(wanted)
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize("wanted", ["cuda:", "cuda:-1", "cuda:x", "cuda:1.0", "cuda:²", "cuda:1:2", "cudabanana", "cuda1"])
def test_devices_that_are_misspelt(gpus, wanted):
    gpus(8)
    with pytest.raises(EnvironmentFault, match=f"--device {wanted}"):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["tpu", "", "CPU", "mps", "meta", "cpu:0"])
def test_unknown_devices(gpus, wanted):
    gpus(1)
    with pytest.raises(EnvironmentFault, match=r"--device .* is unknown; choose auto, cpu, cuda or cuda:N"):
        choose_device(wanted)


# --- precision --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bf16, precision", [(True, "bf16"), (False, "fp16")])
def test_precision_on_a_gpu(gpus, bf16, precision):
    gpus(1, bf16)
    choice = choose_precision("auto", "cuda:0")
    assert choice.value == precision and "bf16" in choice.reason


@pytest.mark.parametrize(
    "names, precision", [(("avx512_bf16",), "bf16"), (("amx_bf16", "avx2"), "bf16"), (("avx2",), "fp32"), ((), "fp32")]
)
def test_precision_on_a_processor(flags, names, precision):
    flags(*names)
    choice = choose_precision("auto", "cpu")
    assert choice.value == precision and "bf16" in choice.reason
    assert choose_training_precision("auto", "cpu") == choice


@pytest.mark.parametrize("wanted", ["fp32", "bf16", "fp16"])
def test_precision_that_was_asked_for(gpus, flags, wanted):
    gpus(0), flags()
    assert choose_precision(wanted, "cpu") == Choice(wanted, "asked for")


@pytest.mark.parametrize("bf16, precision", [(True, "bf16"), (False, "fp16")])
def test_training_is_in_half_precision_on_a_gpu(gpus, bf16, precision):
    gpus(1, bf16)
    choice = choose_training_precision("auto", "cuda")
    assert choice.value == precision and choice.reason


def test_training_in_fp16_needs_a_gpu():
    with pytest.raises(EnvironmentFault, match="--train-precision fp16 needs a GPU"):
        choose_training_precision("fp16", "cpu")


# --- the processor ----------------------------------------------------------------------------------------------
def test_the_processor_is_described():
    assert processor_count() >= 1 and processor_name()
    assert processor_has_bf16() == bool(processor_flags() & {"avx512_bf16", "amx_bf16"})


def test_hardware_in_words(monkeypatch):
    monkeypatch.setattr(environment, "processor_name", lambda: "Pretended CPU")
    monkeypatch.setattr(environment, "processor_count", lambda: 3)
    assert hardware("bf16") == "Pretended CPU, 3 cores, bf16"


def test_a_machine_that_reports_nothing(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    processor_flags.cache_clear()
    try:
        assert processor_flags() == frozenset() and not processor_has_bf16() and processor_name()
        assert choose_precision("auto", "cpu").value == "fp32"
    finally:
        processor_flags.cache_clear()


def test_a_choice_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Choice(1, "one").value = 2
