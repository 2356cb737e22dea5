"""Graphs: what is open and what is fixed, where weights lie, which arithmetic, and what is refused."""

import onnx
import pytest
import torch
from onnx import TensorProto

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.engines.export import GRAPH_FILE, OPSET, WEIGHTS_FILE, check_graph, export_graph
from dogfast.engines.table import NETWORKS, axis_sizes
from dogfast.errors import EnvironmentFault

QUICK = ("text_encoder", "vae_decoder")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


@pytest.fixture(scope="module")
def exported(pipeline, tmp_path_factory):
    """Folder of a graph by network and precision, each exported once."""
    made = {}

    def folder_of(name, precision):
        if (name, precision) not in made:
            made[name, precision] = tmp_path_factory.mktemp(f"{name}-{precision}")
            export_graph(pipeline, NETWORKS[name], axis_sizes(pipeline, 32), precision, made[name, precision])
        return made[name, precision]

    return folder_of


def read(folder):
    return onnx.load(str(folder / GRAPH_FILE), load_external_data=False)


def axes(value):
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_tokens_stay_open_and_all_else_is_fixed(exported, pipeline, name):
    graph = read(exported(name, "fp16")).graph
    sizes = axis_sizes(pipeline, 32)
    for port, value in zip(NETWORKS[name].inputs, graph.input, strict=True):
        assert value.name == port.name
        assert axes(value) == [axis if axis in ("rows", "tokens") else sizes[axis] for axis in port.axes]
    assert [value.name for value in graph.output] == [port.name for port in NETWORKS[name].outputs]


@pytest.mark.parametrize(
    "name, precision",
    [
        ("text_encoder", "fp32"),
        ("text_encoder", "fp16"),
        pytest.param("unet", "fp16", marks=pytest.mark.slow),
    ],
)
def test_two_files_and_one_opset(exported, name, precision):
    folder = exported(name, precision)
    assert {path.name for path in folder.iterdir()} == {GRAPH_FILE, WEIGHTS_FILE}
    assert all(path.is_file() and not path.is_symlink() for path in folder.iterdir())
    model = read(folder)
    assert [(each.domain, each.version) for each in model.opset_import if each.domain == ""] == [("", OPSET)]
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("name", NAMES)
def test_half_is_half_inside_and_outside(exported, name):
    graph = read(exported(name, "fp16")).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    wanted = {"ids": TensorProto.INT64, "timesteps": TensorProto.FLOAT}
    assert kinds == {port: wanted.get(port, TensorProto.FLOAT16) for port in kinds}
    large = [tensor for tensor in graph.initializer if torch.Size(tensor.dims).numel() > 256]
    assert large and {tensor.data_type for tensor in large} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("name", ["vae_decoder", pytest.param("unet", marks=pytest.mark.slow)])
def test_the_pipelines_weights_stay_as_loaded(exported, pipeline, name):
    exported(name, "fp16")
    weights = [*pipeline.unet.parameters(), *pipeline.vae.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}


# --- what is refused --------------------------------------------------------------------------------------------
def damaged(exported, tmp_path, damage, name="vae_decoder", precision="fp32"):
    model = read(exported(name, precision))
    damage(model)
    onnx.save(model, str(tmp_path / GRAPH_FILE))
    (tmp_path / WEIGHTS_FILE).write_bytes((exported(name, precision) / WEIGHTS_FILE).read_bytes())
    with pytest.raises(EnvironmentFault) as caught:
        check_graph(tmp_path, NETWORKS[name], precision)
    return str(caught.value)


def test_weights_elsewhere_are_refused(exported, tmp_path):
    (tmp_path / "elsewhere").write_bytes(bytes(10_000_000))

    def redirect(model):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = "elsewhere"

    assert "reads weights from elsewhere" in damaged(exported, tmp_path, redirect)


@pytest.mark.parametrize("place", ["../model.onnx.data", "/etc/passwd"])
def test_weights_outside_the_folder_are_refused(exported, tmp_path, place):
    def redirect(model):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = place

    assert str(tmp_path / GRAPH_FILE) in damaged(exported, tmp_path, redirect)


def test_foreign_operators_are_refused(exported, tmp_path):
    def estrange(model):
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
        model.graph.node[0].domain = "com.example"

    assert "com.example" in damaged(exported, tmp_path, estrange)


def test_other_ports_are_refused(exported, tmp_path):
    def rename(model):
        old, model.graph.output[0].name = model.graph.output[0].name, "pictures"
        for node in model.graph.node:
            node.output[:] = ["pictures" if name == old else name for name in node.output]

    assert "its outputs are [('pictures'" in damaged(exported, tmp_path, rename)


def test_fixed_rows_are_refused(exported, tmp_path):
    def fix(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2

    assert "latents is fixed in rows" in damaged(exported, tmp_path, fix)


def test_an_fp32_graph_is_no_fp16_graph(exported):
    with pytest.raises(EnvironmentFault, match="its inputs are"):
        check_graph(exported("vae_decoder", "fp32"), NETWORKS["vae_decoder"], "fp16")


def test_an_fp32_product_in_an_fp16_graph_is_refused(exported, tmp_path):
    """Ports and weights in half, one product in full: what a graph called fp16 must not hide."""

    def widen(model):
        node = next(node for node in model.graph.node if node.op_type == "Conv")
        wide = onnx.helper.make_node("Cast", [node.input[0]], ["wide"], to=TensorProto.FLOAT)
        model.graph.node.insert(list(model.graph.node).index(node), wide)
        model.graph.value_info.append(onnx.helper.make_tensor_value_info("wide", TensorProto.FLOAT, None))
        node.input[0] = "wide"

    assert "matrix products are not in fp16" in damaged(exported, tmp_path, widen, precision="fp16")


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(1000)])
def test_what_is_no_graph_is_refused(tmp_path, content):
    (tmp_path / GRAPH_FILE).write_bytes(content)
    with pytest.raises(EnvironmentFault, match="is no valid ONNX graph"):
        check_graph(tmp_path, NETWORKS["unet"], "fp32")


def test_a_network_that_cannot_be_exported_is_one_message(pipeline, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("data-dependent branch\nand a page of advice")

    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(EnvironmentFault, match=r"unet: torch.onnx.export refused it \(data-dependent branch\)"):
        export_graph(pipeline, NETWORKS["unet"], axis_sizes(pipeline, 32), "fp32", tmp_path)
