"""From network to engine: made once, found again, announced, judged, refused. On an untrained generator and real backends."""

import json
import os
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.engines import building, cache
from dogfast.engines.building import Platform, Workshop, is_current
from dogfast.engines.cache import Cache
from dogfast.engines.examples import example_inputs
from dogfast.engines.parity import Parity
from dogfast.engines.table import NETWORKS, axis_sizes, input_shapes
from dogfast.engines.wrappers import wrap
from dogfast.errors import EnvironmentFault, OutOfMemory
from dogfast.events import Events

NETWORK = NETWORKS["vae_decoder"]
OPENVINO = Platform("openvino", "cpu", "fp32")
ELSEWHERE = Platform("tensorrt-rtx", "cpu", "fp16", "sm86")

pytest.importorskip("openvino", reason="openvino is not installed (extra cpu)")


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


@pytest.fixture(scope="module")
def shapes(pipeline):
    return input_shapes(NETWORK, axis_sizes(pipeline, 32), 3)


@pytest.fixture
def said():
    return []


@pytest.fixture(scope="module")
def graphs(pipeline, shapes, tmp_path_factory):
    """A cache that holds the network's graphs and no engine."""
    root = tmp_path_factory.mktemp("graphs") / "engines"
    for platform in (OPENVINO, ELSEWHERE):
        Workshop(pipeline, platform, Cache(root), Events())._graph(NETWORK, shapes)
    return root


@pytest.fixture
def workshop(pipeline, graphs, tmp_path, said):
    """One with a copy of `graphs`; what it says is in `said`."""
    events = Events(lambda event, fields: said.append(fields.get("text", event)))
    return Workshop(pipeline, OPENVINO, Cache(Path(copytree(graphs, tmp_path / "engines"))), events)


@pytest.fixture
def empty(workshop, tmp_path):
    return again(workshop, cache=Cache(tmp_path / "empty"))


def again(workshop, **changes):
    """The workshop of another process."""
    return replace(workshop, _graphs={}, _open={}, **changes)


def counted(monkeypatch, name):
    calls, real = [], getattr(building, name)
    monkeypatch.setattr(building, name, lambda *args: calls.append(args) or real(*args))
    return calls


def test_an_engine_is_made_once_and_found_by_the_next(empty, shapes, monkeypatch, said):
    exports, judged = counted(monkeypatch, "export_graph"), counted(monkeypatch, "measure_parity")
    empty.open(NETWORK, shapes)
    assert (len(exports), len(judged)) == (1, 1)
    assert said == [
        "making the engine of vae_decoder at 3x4x8x8 for openvino …",
        "making the graph of vae_decoder in fp32 …",
    ]
    said.clear()
    again(empty, may_build=False).open(NETWORK, shapes)
    assert (len(exports), len(judged)) == (1, 1) and said == []


def test_other_rows_share_the_graph(workshop, pipeline, shapes, monkeypatch):
    exports = counted(monkeypatch, "export_graph")
    one = workshop.engine(NETWORK, shapes)
    other = workshop.engine(NETWORK, input_shapes(NETWORK, axis_sizes(pipeline, 32), 5))
    assert exports == [] and one.folder != other.folder
    assert one.facts["graph"] == other.facts["graph"]


def test_an_engine_computes_the_network(workshop, pipeline, shapes):
    inputs = example_inputs(pipeline, NETWORK, shapes)
    expected = wrap(pipeline, NETWORK.name)(*inputs)
    engine = workshop.open(NETWORK, shapes)
    (found,) = engine(*inputs)
    torch.testing.assert_close(found, expected[0], rtol=1e-3, atol=1e-4)
    kept = found.clone()
    engine(*(tensor * 0 for tensor in inputs))
    assert torch.equal(found, kept), "a later call leaves the outputs alone"


def test_without_building_what_is_missing_names_the_command(empty, pipeline, shapes):
    with pytest.raises(EnvironmentFault) as caught:
        again(empty, may_build=False).open(NETWORK, shapes)
    assert "--no-build: there is no engine of vae_decoder" in str(caught.value) and "dogfast build-engines" in str(caught.value)
    assert not empty.cache.root.exists()


@pytest.mark.parametrize(
    "change",
    [dict(precision="bf16"), dict(backend="onnxruntime", precision="fp32"), dict(backend="tensorrt-rtx", target="sm86")],
)
def test_the_key_is_of_all_an_engine_depends_on(workshop, shapes, change):
    other = replace(workshop, platform=replace(OPENVINO, **({"precision": "fp16"} if "target" in change else {}) | change))
    assert workshop._engine_fields(NETWORK, shapes) != other._engine_fields(NETWORK, shapes)


@pytest.mark.parametrize("what", ["weights", "runtime", "exporter", "format", "machine", "opset"])
def test_another_version_is_another_engine(workshop, shapes, monkeypatch, what):
    before = workshop._engine_fields(NETWORK, shapes)
    if what == "weights":
        monkeypatch.setattr(type(workshop.pipeline), "weights", lambda self, part: "other")
    elif what == "runtime":
        monkeypatch.setitem(building.RUNTIME_VERSIONS, "openvino", lambda: "1999.0")
    elif what == "exporter":
        monkeypatch.setattr(building, "_exporters", lambda: {"torch": "3.0"})
    elif what == "machine":
        monkeypatch.setattr(building, "processor_name", lambda: "another")
    else:
        monkeypatch.setattr(building, what.upper(), 99)
    assert workshop._engine_fields(NETWORK, shapes) != before
    assert what == "machine" or is_current(before) is (what == "weights")


@pytest.mark.slow
def test_a_touched_graph_is_said_and_made_again(workshop, shapes, said):
    folder = workshop.files_of(NETWORK, shapes, workshop.engine(NETWORK, shapes))[0]
    (folder / "model.onnx").write_bytes(b"hostile")
    said.clear()
    again(workshop).open(NETWORK, shapes)
    assert any("model.onnx is not as it was built" in text for text in said)
    assert (folder / "model.onnx").read_bytes() != b"hostile"


def test_a_touched_graph_is_not_opened_without_building(workshop, shapes):
    folder = workshop.files_of(NETWORK, shapes, workshop.engine(NETWORK, shapes))[0]
    (folder / "model.onnx.data").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="--no-build: there is no graph of vae_decoder"):
        again(workshop, may_build=False).open(NETWORK, shapes)


# --- parity -----------------------------------------------------------------------------------------------------
def test_parity_is_measured_and_written_down(workshop, shapes):
    entry = workshop.engine(NETWORK, shapes)
    parity = json.loads((entry.folder / "sidecar.json").read_text())["facts"]["parity"]
    assert parity["verdict"] == "ok" and 0.99999 < parity["cosine"] <= 1.0001 and 0 <= parity["max_abs"] < 1e-3


def test_an_engine_that_computes_something_else_is_refused_and_not_kept(workshop, shapes, monkeypatch):
    real = building.openvino.open_engine

    def wrong(*args):
        engine = real(*args)
        return lambda *inputs: tuple(tensor.flip(0) for tensor in engine(*inputs))

    monkeypatch.setattr(building.openvino, "open_engine", wrong)
    with pytest.raises(EnvironmentFault, match=r"vae_decoder: openvino computes something else than torch \(cosine"):
        workshop.open(NETWORK, shapes)
    assert not workshop.stands(NETWORK, shapes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_engine_that_says_nothing_finite_is_refused(workshop, shapes, monkeypatch, value):
    real = building.openvino.open_engine

    def broken(*args):
        engine = real(*args)
        return lambda *inputs: tuple(torch.full_like(tensor, value) for tensor in engine(*inputs))

    monkeypatch.setattr(building.openvino, "open_engine", broken)
    with pytest.raises(EnvironmentFault, match="computes something else"):
        workshop.open(NETWORK, shapes)


def test_the_unet_is_judged_at_three_timesteps(pipeline):
    network = NETWORKS["unet"]
    seen = []

    def engine(latents, timesteps, states):
        seen.append(sorted(set(timesteps.tolist())))
        return wrap(pipeline, "unet")(latents, timesteps, states)

    shapes = input_shapes(network, axis_sizes(pipeline, 32), 5)
    parity = building.measure_parity(pipeline, network, shapes, engine)
    assert seen == [[999.0], [500.0], [1.0]]
    assert parity.verdict == "ok" and parity.max_abs < 1e-4


def test_one_bad_row_at_one_timestep_is_enough(pipeline):
    network = NETWORKS["unet"]

    def engine(latents, timesteps, states):
        (found,) = wrap(pipeline, "unet")(latents, timesteps, states)
        if timesteps[0] == 500:
            found = torch.cat([-found[:1], found[1:]])
        return (found,)

    parity = building.measure_parity(pipeline, network, input_shapes(network, axis_sizes(pipeline, 32), 3), engine)
    assert parity.verdict == "refused" and parity.cosine < 0


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.18215])
def test_a_wrong_scale_is_refused_though_its_cosine_is_perfect(pipeline, shapes, factor):
    def engine(latents):
        return tuple(factor * tensor for tensor in wrap(pipeline, NETWORK.name)(latents))

    parity = building.measure_parity(pipeline, NETWORK, shapes, engine)
    assert parity.verdict == "refused" and parity.cosine > 0.9999


@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_row_may_hold_what_is_not_finite(pipeline, row, value):
    def engine(latents):
        (found,) = wrap(pipeline, NETWORK.name)(latents)
        found = found.clone()
        found[row, 0, 0, 0] = value
        return (found,)

    shapes = input_shapes(NETWORK, axis_sizes(pipeline, 32), 6)
    assert building.measure_parity(pipeline, NETWORK, shapes, engine).verdict == "refused"


# --- TensorRT for RTX, with no GPU ------------------------------------------------------------------------------
@pytest.fixture
def elsewhere(workshop):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    return replace(workshop, platform=ELSEWHERE)


def test_a_plan_for_a_gpu_that_is_not_here_is_not_called_ok(elsewhere, shapes):
    entry = elsewhere.engine(NETWORK, shapes)
    assert entry.facts["parity"] == {"verdict": "not run", "cosine": None, "relative": None, "max_abs": None}
    assert set(entry.files) == {"model.plan"} and entry.fields["target"] == "sm86"


def test_two_targets_are_two_plans(elsewhere, shapes):
    one = elsewhere.engine(NETWORK, shapes)
    other = replace(elsewhere, platform=replace(ELSEWHERE, target="sm120")).engine(NETWORK, shapes)
    assert one.folder != other.folder and one.files != other.files


def test_a_plan_is_judged_before_its_first_use_where_its_gpu_is(elsewhere, shapes, monkeypatch):
    elsewhere.engine(NETWORK, shapes)
    here = replace(elsewhere, platform=replace(ELSEWHERE, device="cuda", target=""))
    opened = []
    monkeypatch.setattr(building, "present_target", lambda device: "sm86")
    monkeypatch.setattr(building, "measure_parity", lambda *args: Parity("ok", 1.0, 0.0, 0.0))
    monkeypatch.setattr(building.tensorrt, "open_engine", lambda *args: opened.append(args) or "engine")
    assert here.open(NETWORK, shapes) == "engine"
    assert here.engine(NETWORK, shapes).facts["parity"]["verdict"] == "ok"
    monkeypatch.setattr(building, "measure_parity", lambda *args: pytest.fail("it was judged already"))
    here.open(NETWORK, shapes)


def test_a_plan_that_fails_its_judgement_is_not_opened(elsewhere, shapes, monkeypatch):
    elsewhere.engine(NETWORK, shapes)
    here = replace(elsewhere, platform=replace(ELSEWHERE, device="cuda", target=""))
    monkeypatch.setattr(building, "present_target", lambda device: "sm86")
    monkeypatch.setattr(building, "measure_parity", lambda *args: Parity("refused", 0.5, 0.5, 9.0))
    monkeypatch.setattr(building.tensorrt, "open_engine", lambda *args: "engine")
    with pytest.raises(EnvironmentFault, match="computes something else"):
        here.open(NETWORK, shapes)
    assert here.engine(NETWORK, shapes).facts["parity"]["verdict"] == "not run"


@pytest.mark.slow
def test_an_fp32_graph_is_refused_as_a_plan(elsewhere, pipeline, shapes, tmp_path):
    from dogfast.engines.backends.tensorrt import build_plan
    from dogfast.engines.export import export_graph

    export_graph(pipeline, NETWORK, axis_sizes(pipeline, 32), "fp32", tmp_path)
    with pytest.raises(EnvironmentFault, match="vae_decoder would not be fp16: latents is"):
        build_plan("tensorrt-rtx", tmp_path, NETWORK, shapes, "sm86", tmp_path / "plan")
    assert not (tmp_path / "plan").exists()


def test_what_tensorrt_cannot_read_is_one_message(elsewhere, shapes, tmp_path):
    from dogfast.engines.backends.tensorrt import build_plan

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EnvironmentFault, match="tensorrt-rtx cannot read vae_decoder"):
        build_plan("tensorrt-rtx", tmp_path, NETWORK, shapes, "sm86", tmp_path / "plan")


def test_a_verdict_that_cannot_be_kept_is_said_and_the_engine_opens(elsewhere, shapes, monkeypatch, said):
    elsewhere.engine(NETWORK, shapes)
    here = replace(elsewhere, platform=replace(ELSEWHERE, device="cuda", target=""))

    def refuse(*args):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(building, "present_target", lambda device: "sm86")
    monkeypatch.setattr(building, "measure_parity", lambda *args: Parity("ok", 1.0, 0.0, 0.0))
    monkeypatch.setattr(building.tensorrt, "open_engine", lambda *args: "engine")
    monkeypatch.setattr(cache, "_write_sidecar", refuse)
    assert here.open(NETWORK, shapes) == "engine"
    assert any("will be measured again next time" in text and "Read-only file system" in text for text in said)


@pytest.mark.parametrize("backend, call", [("openvino", "open_engine"), ("onnxruntime", "open_engine")])
def test_what_a_runtime_raises_is_one_message(workshop, shapes, monkeypatch, backend, call):
    def broken(*args):
        raise RuntimeError("Check failed\nat src/core")

    monkeypatch.setattr(getattr(building, backend), call, broken)
    broken_workshop = replace(workshop, platform=replace(OPENVINO, backend=backend))
    with pytest.raises(EnvironmentFault, match=rf"{backend} cannot open vae_decoder \(Check failed\)$"):
        broken_workshop.open(NETWORK, shapes)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("Failed to allocate"), MemoryError()]
)
def test_memory_that_ends_while_an_engine_opens_is_told_as_such(workshop, shapes, monkeypatch, error):
    def full(*args):
        raise error

    monkeypatch.setattr(building.openvino, "open_engine", full)
    with pytest.raises(OutOfMemory, match="openvino cannot open vae_decoder"):
        workshop.open(NETWORK, shapes)


@pytest.mark.parametrize("current, device, index", [(3, "cuda", 3), (3, "cuda:1", 1), (0, "cuda", 0)])
def test_onnx_runtime_works_on_the_gpu_of_its_process(monkeypatch, current, device, index):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
    providers = dict(building.onnxruntime._providers("onnxruntime-tensorrt", device))
    assert [place["device_id"] for place in list(providers.values())[:2]] == [index, index]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_still_opens(workshop, shapes):
    workshop.engine(NETWORK, shapes)
    workshop.cache.root.chmod(0o500)
    try:
        replace(workshop, may_build=False).open(NETWORK, shapes)
    finally:
        workshop.cache.root.chmod(0o700)
