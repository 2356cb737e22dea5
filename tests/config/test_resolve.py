"""The configuration of a run: out to TOML and back, and what overrides what."""

import dataclasses
import math
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dogfast.config import RunConfig
from dogfast.config.presets import PRESETS, preset
from dogfast.config.resolve import field_types, parse_assignment, read_toml, remembered_config
from dogfast.errors import DataError, UsageError

OTHER = RunConfig().with_values(
    {
        "data": {"classes": 'a "b"\\c\n\t\x7f日本', "data": ["a=b", "c=d=e"], "image_px": 64, "id_images": 0, "match_codec": "none"},
        "model": {
            "model": "x/y", "revision": "r", "clip": "z", "tiny_decoder": "t", "safety_checker": "own", "lora": "l", "precision": "bf16", "backend": "openvino", "attention": "sdpa",
            "engine_dir": "e", "build": False, "device": "cpu", "offline": True,
        },
        "concepts": {
            "vocabulary": "shapes", "exclude_words": ["one", "två"], "prompt": "{}!", "inversion_steps": 1, "inversion_batch": 2,
            "inversion_lr": 1e-7, "inversion_images": 3, "top_k": 4, "block_list": "b.txt", "anchors": "a b.jsonl", "anchor_source": "clip-mean", "anchor_side": "far", "anchor_lambda": 0.5, "anchor_band": [0.1, 1.0], "eta": 0.5, "anchor_quantile": 1, "margin": -0.5, "concepts_seed": 5,
        },
        "synthesis": {
            "m": 1, "budget": "10m", "strategy": "id-control", "output_kind": "latent", "recipe": "paper", "solver": "ddim", "deepcache": 2, "decoder": "tiny", "templates": ("{} x",), "negative_prompt": "n", "reject_id": True, "ray": "auto", "workers": 2, "steps": 9, "guidance_scale": 7.5, "guidance_start": 0, "guidance_stop": 0.75, "resolution": 64,
            "samples_per_shard": 7, "store": "s3://b/c", "rows": 8, "seed": 2**53 - 1,
        },
        "training": {
            "objective": "oe", "outliers": "noise", "backbone": "wrn-16-2", "dropout": 0, "id_synthetic": 0.25, "pretrain_epochs": 1, "pretrain_lr": 1e16,
            "epochs": 2, "lr": 3, "batch": 4, "ood_batch": 5, "oe_weight": 0.25, "momentum": 0.5, "weight_decay": 0.0,
            "weights": "w", "allow_pickle": True, "start": "scratch", "accumulate": 3, "ema": 0.9, "follow": True, "window_mb": 3, "compile": "off",
            "checkpoint_minutes": 0, "track": ["wandb"], "tune": ["lr=1,2"], "train_precision": "fp32", "round": 2, "train_seed": 7,
        },
        "objectives": {
            "energy_in": -23, "energy_out": -5,
            "wor_step": "alternate", "wor_sign": "descend", "wor_strengths": [1, 2.5], "wor_smoothing": 0.1, "wor_warmup": 6,
            "oal_kd": 1, "oal_contrast": 2, "oal_temperature": 0.5, "oal_mi": "club", "atom_quantile": 0.2, "atom_pool": 1,
            "atom_epsilon": 0, "atom_attack_steps": 2, "poem_prior": 2, "poem_noise": 3, "virtual_start": 0.5,
            "virtual_queue": 10, "virtual_draws": 20, "npos_neighbour": 3, "npos_boundary": 4, "npos_draws": 5,
            "npos_sigma": 0.2, "contrast_temperature": 0.5, "confgan_lr": 0.1, "confgan_noise": 7, "confgan_channels": 9,
        },
        "detection": {
            "scores": ["energy"], "ood": ["a", "b=c"], "ood_images": 1, "ash_percentile": 90, "knn_share": 0.5,
            "protocol": "openood", "protocol_seed": 3, "corrupted_images": 7, "keep_features": "fp16",
        },
    },
    "test",
)  # fmt: skip


def sections(config):
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def of_the_run(config):
    """``config`` without what holds for one launch only."""
    values = {
        name: {
            item.name: getattr(section if item.metadata["kept"] else type(section)(), item.name)
            for item in dataclasses.fields(section)
        }
        for name, section in sections(config).items()
    }
    return RunConfig().with_values(values, "again")


# --- TOML -------------------------------------------------------------------------------------------------------
def test_the_example_differs_in_every_field():
    default = RunConfig()
    same = {
        item.name
        for name, section in sections(OTHER).items()
        for item in dataclasses.fields(section)
        if getattr(section, item.name) == getattr(getattr(default, name), item.name)
    }
    assert not same


@pytest.mark.parametrize("config", [RunConfig(), OTHER, *map(preset, PRESETS)])
def test_round_trip(config, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(config.to_toml(), encoding="utf-8")
    again = RunConfig().with_values(read_toml(file), str(file))
    assert again == of_the_run(config)
    for name, section in sections(again).items():
        for item in dataclasses.fields(section):
            assert type(getattr(section, item.name)) is type(getattr(getattr(config, name), item.name)), item.name


def test_what_holds_for_one_launch_is_not_kept():
    written = tomllib.loads(OTHER.to_toml())
    assert not {"ray", "workers", "budget", "store"} & written["synthesis"].keys() and "follow" not in written["training"]


def test_none_is_left_out():
    assert "steps" not in tomllib.loads(RunConfig().to_toml())["synthesis"]
    assert tomllib.loads(OTHER.to_toml())["synthesis"]["steps"] == 9


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1), number=st.floats(0, 1e300, exclude_min=True), words=st.lists(st.text(), max_size=3))
def test_any_text_and_number_survive(text, number, words):
    values = {"data": {"classes": text}, "training": {"lr": number}, "concepts": {"exclude_words": words}}
    config = RunConfig().with_values(values, "test")
    assert RunConfig().with_values(tomllib.loads(config.to_toml()), "again") == config


@pytest.mark.parametrize(
    "content",
    [b"[data", b"a = ", b"\xff\xfe", b"x = " + b"9" * 5000, b"x = " + b"[" * 100_000, b"[data]\nclasses = 'a'\nclasses = 'b'"],
    ids=["open", "empty", "binary", "huge", "deep", "twice"],
)
def test_what_is_no_toml(tmp_path, content):
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"--config .*x\.toml is not readable TOML"):
        read_toml(tmp_path / "x.toml")


@pytest.mark.parametrize("body", ["[data", "[dat]", "[data]\nclasses = 3", "data = 1"])
def test_what_a_run_remembers_is_data(tmp_path, body):
    """Nobody typed it as a flag."""
    (tmp_path / "run.toml").write_text(body)
    with pytest.raises(DataError, match=r"^.*run\.toml.*; mend the file") as told:
        remembered_config(tmp_path / "run.toml")
    assert not str(told.value).startswith("--config")


def test_a_field_goes_back_to_what_it_is_without_a_word():
    remembered = RunConfig().with_values({"training": {"lr": 0.3, "objective": "oe"}}, "test")
    for text in ("training.lr=default", "training.objective=default"):
        remembered = remembered.with_values(parse_assignment(text), "--set")
    assert remembered == RunConfig()
    with pytest.raises(UsageError, match="unknown field"):
        remembered.with_values(parse_assignment("training.nonesuch=default"), "--set")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UsageError, match=r"--config .*gone\.toml does not exist"):
        read_toml(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match="is not readable TOML"):
        read_toml(tmp_path)


# --- values -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "values, message",
    [
        (
            {"date": {}},
            r"here: unknown section \[date\]; known: data, model, concepts, synthesis, training, objectives, detection",
        ),
        ({"data": {"clases": "x"}}, r"here: unknown field data\.clases; known: classes, data"),
        ({"data": 3}, "here: 'data' must be a section"),
        ({"m": 3}, r"here: unknown section \[m\]"),
        ({"synthesis": {"m": True}}, r"here: synthesis\.m = True must be of type int"),
        ({"synthesis": {"m": 3.0}}, r"synthesis\.m = 3\.0 must be of type int"),
        ({"synthesis": {"m": "3"}}, r"synthesis\.m = '3' must be of type int"),
        ({"synthesis": {"steps": False}}, r"synthesis\.steps = False must be of type int"),
        ({"training": {"lr": True}}, r"training\.lr = True must be of type float"),
        ({"training": {"lr": "fast"}}, "must be of type float"),
        ({"training": {"lr": 10**400}}, "must be of type float"),
        ({"training": {"lr": math.inf}}, r"training\.lr = inf must be a finite number"),
        ({"concepts": {"margin": math.nan}}, r"concepts\.margin = nan must be a finite number"),
        ({"objectives": {"wor_strengths": [0.1, math.inf]}}, "must be a finite number"),
        ({"objectives": {"wor_strengths": [0.1, True]}}, "must be of type float"),
        ({"objectives": {"wor_strengths": "0.1"}}, "must be of type float"),
        ({"model": {"offline": 1}}, r"model\.offline = 1 must be of type bool"),
        ({"data": {"classes": 5}}, r"data\.classes = 5 must be of type str"),
        ({"data": {"classes": None}}, "must be of type str"),
        ({"data": {"classes": "\udcff"}}, "must be UTF-8 text"),
        ({"detection": {"ood": [1]}}, "must be of type str"),
        ({"detection": {"ood": {"a": "b"}}}, "must be of type str"),
    ],
)
def test_wrong_values_name_their_origin(values, message):
    with pytest.raises(UsageError, match=message) as refusal:
        RunConfig().with_values(values, "here")
    str(refusal.value).encode()


def test_values_that_are_made_to_fit():
    config = RunConfig().with_values(
        {"training": {"lr": 1}, "objectives": {"wor_strengths": [1]}, "detection": {"ood": "glyphs"}}, "here"
    )
    assert type(config.training.lr) is float and type(config.objectives.wor_strengths[0]) is float
    assert config.detection.ood == ("glyphs",)
    assert (
        RunConfig().with_values({"synthesis": {"steps": 5}}, "a").with_values({"synthesis": {"steps": None}}, "b")
        == RunConfig()
    )


def test_range_checks_follow():
    with pytest.raises(UsageError, match="--m 0"):
        RunConfig().with_values({"synthesis": {"m": 0}}, "here")


def test_later_values_win_and_leave_the_others():
    base = RunConfig().with_values({"synthesis": {"m": 5, "seed": 1}, "data": {"classes": "a"}}, "file")
    changed = base.with_values({"synthesis": {"m": 7}}, "flags")
    assert (changed.synthesis.m, changed.synthesis.seed, changed.data.classes) == (7, 1, "a")
    assert base.synthesis.m == 5 and base.with_values({}, "nothing") == base


def test_every_field_has_a_type_that_is_known():
    for section in sections(RunConfig()).values():
        assert set(field_types(type(section))) == {item.name for item in dataclasses.fields(section)}


# --- --set ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, section, name, value",
    [
        ("synthesis.m=5", "synthesis", "m", 5),
        ("training.lr = 1e-3", "training", "lr", 1e-3),
        ("training.objective=oe", "training", "objective", "oe"),
        ('training.objective="oe"', "training", "objective", "oe"),
        ("model.offline=true", "model", "offline", True),
        ("detection.ood=['a','b=c']", "detection", "ood", ["a", "b=c"]),
        ("detection.ood=mine=/x/y", "detection", "ood", "mine=/x/y"),
        ("concepts.prompt=a photo of a {}", "concepts", "prompt", "a photo of a {}"),
        ("data.classes=", "data", "classes", ""),
        ("data.classes=" + "[" * 100_000, "data", "classes", "[" * 100_000),
        ("data.classes=" + "9" * 5000, "data", "classes", "9" * 5000),
    ],
    ids=range(11),
)
def test_assignments(text, section, name, value):
    assert parse_assignment(text) == {section: {name: value}}


@pytest.mark.parametrize("text", ["", "m=5", "synthesis.m", ".m=5", "synthesis.=5", "=5", "."])
def test_what_is_no_assignment(text):
    with pytest.raises(UsageError, match=r"--set .* is not section\.field=value"):
        parse_assignment(text)


def test_an_assignment_of_an_unknown_field():
    with pytest.raises(UsageError, match=r"--set a: unknown field synthesis\.m\.x"):
        RunConfig().with_values(parse_assignment("synthesis.m.x=1"), "--set a")


# --- presets ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [*PRESETS, "some/folder"])
def test_presets_are_of_their_classes(classes):
    assert preset(classes).data.classes == classes


def test_classes_without_a_preset_have_the_defaults():
    assert preset("some/folder").with_values({"data": {"classes": "shapes"}}, "test") == RunConfig()


# --- imports ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("module", ["dogfast", "dogfast.config", "dogfast.cli.main"])
def test_no_torch_is_imported(module):
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {{'torch', 'numpy', 'diffusers', 'transformers', 'PIL'}}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "[]"
