"""What of TensorRT can be judged with no GPU: ports of a loaded engine, settings, messages. Plans are built in test_building."""

import pytest

from dogfast.engines.backends import tensorrt
from dogfast.engines.table import NETWORKS
from dogfast.errors import EnvironmentFault

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
UNET = NETWORKS["unet"]
SHAPES = ((2, 4, 8, 8), (2,), (2, 16, 32))


class Loaded:
    """A loaded engine of the UNet, as far as its ports go; ``changes`` by port replace mode, element type or shape."""

    def __init__(self, **changes):
        half, single, into, out = trt.float16, trt.float32, trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT
        self.ports = {
            "latents": (into, half, SHAPES[0]),
            "timesteps": (into, single, SHAPES[1]),
            "states": (into, half, SHAPES[2]),
            "noise": (out, half, SHAPES[0]),
        } | changes

    @property
    def num_io_tensors(self):
        return len(self.ports)

    def get_tensor_name(self, place):
        return list(self.ports)[place]

    def get_tensor_mode(self, name):
        return self.ports[name][0]

    def get_tensor_dtype(self, name):
        return self.ports[name][1]

    def get_tensor_shape(self, name):
        return self.ports[name][2]


def faults(loaded):
    return list(tensorrt._other_ports(trt, loaded, UNET, SHAPES))


def test_the_networks_own_engine_has_no_fault():
    assert faults(Loaded()) == []


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"latents": (trt.TensorIOMode.INPUT, trt.float32, SHAPES[0])}, "latents is"),
        ({"noise": (trt.TensorIOMode.OUTPUT, trt.float32, SHAPES[0])}, "noise is"),
        ({"noise": (trt.TensorIOMode.INPUT, trt.float16, SHAPES[0])}, "noise is"),
        ({"latents": (trt.TensorIOMode.INPUT, trt.float16, (4, 4, 8, 8))}, "latents has shape (4, 4, 8, 8), not (2, 4, 8, 8)"),
        ({"extra": (trt.TensorIOMode.INPUT, trt.float16, (1,))}, "it has latents, timesteps, states, noise, extra, not"),
    ],
)
def test_anothers_engine_is_told_apart_before_memory_is_bound(changes, told):
    assert [fault for fault in faults(Loaded(**changes)) if fault.startswith(told)]


def test_every_target_is_known_to_the_builder():
    assert all(hasattr(trt.ComputeCapability, target.upper()) for target in tensorrt.TARGETS)


def test_a_module_that_does_not_load_is_one_message(monkeypatch):
    def broken(name):
        raise OSError("libtensorrt_rtx.so: cannot open shared object file")

    monkeypatch.setattr(tensorrt.importlib, "import_module", broken)
    with pytest.raises(EnvironmentFault, match=r"^tensorrt_rtx: libtensorrt_rtx\.so: cannot open"):
        tensorrt.load_module("tensorrt-rtx")
