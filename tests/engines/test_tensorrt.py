"""What of TensorRT can be judged with no GPU: ports of a loaded engine, settings, messages. Plans are built in test_building."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from dogfast.engines.backends import tensorrt
from dogfast.engines.table import NETWORKS
from dogfast.errors import EnvironmentFault, OutOfMemory

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


# --- launching, on a pretended device ---------------------------------------------------------------------------
class Graph:
    """A recorded graph: how often it was replayed."""

    def __init__(self):
        self.replays = 0

    def replay(self):
        self.replays += 1


class Context:
    """An execution context that counts launches, and refuses them with the ``words`` of its logger."""

    def __init__(self, capturable=None, words=""):
        self.launches, self.words, self.addresses = 0, words, {}
        if capturable is not None:
            self.is_stream_capturable = lambda stream: capturable

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        self.launches += 1
        return not self.words


@pytest.fixture
def pretended(monkeypatch):
    """torch.cuda without a GPU, as far as an engine is launched by it."""
    stream = SimpleNamespace(cuda_stream=7, wait_stream=lambda other: None)
    made = {"Stream": lambda device: stream, "current_stream": lambda device: stream, "CUDAGraph": Graph}
    made |= {name: lambda *given, **named: nullcontext() for name in ("stream", "graph", "device")}
    for name, value in (made | {"synchronize": lambda device: None}).items():
        monkeypatch.setattr(torch.cuda, name, value)


def bound(context):
    logger = SimpleNamespace(last=context.words)
    return tensorrt._Bound(context, Loaded(), None, logger, UNET, SHAPES, "cpu")


@pytest.mark.parametrize("capturable", [None, True])
def test_a_launch_is_recorded_once_and_replayed(pretended, capturable):
    context = Context(capturable)
    engine = bound(context)
    assert context.launches == 3 and set(context.addresses) == {"latents", "timesteps", "states", "noise"}
    engine(*(torch.zeros(shape) for shape in SHAPES))
    assert context.launches == 3 and engine._graph.replays == 1


def test_what_cannot_be_recorded_is_launched_at_every_call(pretended):
    context = Context(capturable=False)
    engine = bound(context)
    assert context.launches == 2, "only warmed up"
    for calls in (1, 2):
        (noise,) = engine(*(torch.zeros(shape) for shape in SHAPES))
        assert context.launches == 2 + calls and noise.shape == SHAPES[0]


@pytest.mark.parametrize(
    "words, kind",
    [("cudaMalloc: out of memory", OutOfMemory), ("the engine is not stream capturable", EnvironmentFault)],
)
def test_a_launch_that_fails_is_told_in_tensorrts_words(pretended, words, kind):
    with pytest.raises(EnvironmentFault, match=words) as told:
        bound(Context(words=words))
    assert type(told.value) is kind
