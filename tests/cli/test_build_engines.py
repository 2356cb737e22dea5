"""`dogfast build-engines` as typed: on what runs here, for GPUs that are not here, and every wrong way to ask."""

import json
import os
import subprocess
import sys

import pytest

from tests.environment import ENVIRONMENT

FIELDS = {
    "network", "backend", "precision", "rows", "shapes", "target", "path", "sha256", "bytes", "build_s", "parity",
}  # fmt: skip


PLANNED = ("text_encoder", "vae_decoder")


def typed(*words, code=0):
    command = [sys.executable, "-m", "dogfast", "build-engines", *words]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def answer(done):
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def tiny():
    """The embedded generator's engines for OpenVINO, in the session's cache, as later commands find them."""
    pytest.importorskip("openvino", reason="openvino is not installed (extra cpu)")
    return answer(typed("--backend", "openvino", "--json"))


@pytest.fixture(scope="module")
def plans():
    """Networks of the embedded generator for two GPUs that are not here."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    words = [word for name in PLANNED for word in ("--network", name)]
    return answer(
        typed("--model", "tiny", "--backend", "tensorrt-rtx", "--target", "sm86,sm120", "--rows", "8", *words, "--json")
    )


@pytest.mark.slow
def test_every_network_is_built_and_judged(tiny):
    assert {engine["network"] for engine in tiny["engines"]} == {
        "text_encoder", "image_encoder", "unet", "vae_encoder", "vae_decoder",
    }  # fmt: skip
    for engine in tiny["engines"]:
        assert engine.keys() == FIELDS
        assert engine["parity"]["verdict"] == "ok" and engine["parity"]["cosine"] >= 0.999
        assert os.path.getsize(engine["path"]) == engine["bytes"] > 100_000


@pytest.mark.slow
def test_the_unet_is_built_for_guided_and_plain_rows(tiny):
    rows = [engine["rows"] for engine in tiny["engines"] if engine["network"] == "unet"]
    assert len(rows) == 2 and rows[1] == 2 * rows[0]


@pytest.mark.slow
def test_a_second_typing_builds_nothing(tiny):
    done = typed("--backend", "openvino", "--json")
    assert answer(done) == tiny and "making" not in done.stderr


@pytest.mark.slow
def test_a_dry_run_says_what_stands(tiny, tmp_path):
    planned = answer(typed("--backend", "openvino", "--dry-run", "--json"))
    assert planned["dry_run"] and all(engine["stands"] for engine in planned["engines"])
    elsewhere = answer(typed("--backend", "openvino", "--dry-run", "--json", "--engine-dir", str(tmp_path / "engines")))
    assert not any(engine["stands"] for engine in elsewhere["engines"]) and not (tmp_path / "engines").exists()


def test_deepcache_has_two_networks_in_the_place_of_the_unet(tmp_path, monkeypatch, capsys):
    from dogfast.cli.main import _exit_code

    pytest.importorskip("openvino", reason="openvino is not installed (extra cpu)")
    words = ("--backend", "openvino", "--device", "cpu", "--dry-run", "--json", "--engine-dir", str(tmp_path / "engines"))
    planned = {}
    for every in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["dogfast", "build-engines", *words, "--deepcache", every])
        assert _exit_code() == 0
        planned[every] = [engine["network"] for engine in json.loads(capsys.readouterr().out.splitlines()[-1])["engines"]]
    others = [name for name in planned["1"] if name != "unet"]
    assert len(planned["1"]) == len(others) + 2 and not {"unet_deep", "unet_shallow"} & {*others}
    assert sorted(planned["2"]) == sorted([*others, "unet_deep", "unet_deep", "unet_shallow", "unet_shallow"])


@pytest.mark.slow
def test_deepcaches_networks_are_planned_for_a_gpu_that_is_not_here():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    words = ("--network", "unet_deep", "--network", "unet_shallow", "--deepcache", "2", "--target", "sm86", "--rows", "8")
    engines = answer(typed("--model", "tiny", "--backend", "tensorrt-rtx", *words, "--json"))["engines"]
    assert [(engine["network"], engine["rows"]) for engine in engines] == [
        ("unet_deep", 8), ("unet_deep", 16), ("unet_shallow", 8), ("unet_shallow", 16),
    ]  # fmt: skip
    assert all(engine["precision"] == "fp16" and engine["parity"]["verdict"] == "not run" for engine in engines)
    assert engines[2]["bytes"] < engines[0]["bytes"] / 2


@pytest.mark.slow
def test_two_targets_without_a_gpu(plans):
    assert {(engine["network"], engine["target"]) for engine in plans["engines"]} == {
        (network, target) for network in PLANNED for target in ("sm86", "sm120")
    }
    for engine in plans["engines"]:
        assert engine["precision"] == "fp16" and engine["parity"]["verdict"] == "not run" and engine["parity"]["cosine"] is None
        assert engine["path"].endswith("model.plan") and engine["bytes"] > 100_000
    assert len({engine["sha256"] for engine in plans["engines"]}) == len(plans["engines"])


@pytest.mark.slow
def test_people_read_that_a_plan_was_not_run(plans):
    line = typed("--model", "tiny", "--target", "sm86", "--rows", "8", "--network", "vae_decoder").stdout
    assert "parity not run (its GPU is not here)" in line and "parity ok" not in line


def test_torch_has_nothing_to_build():
    done = typed("--backend", "torch")
    assert done.stdout.strip() == "nothing to build" and "runs the networks as they are" in done.stderr


@pytest.mark.parametrize(
    "words, code, told",
    [
        (("--target", "sm90"), 2, "--target 'sm90' is unknown"),
        (("--backend", "openvino", "--target", "sm86"), 2, "only tensorrt-rtx builds for GPUs that are not here"),
        (("--backend", "tensorrt"), 2, "--backend tensorrt does not run on cpu"),
        (("--backend", "magic"), 2, "--backend 'magic' is unknown"),
        (("--network", "brain"), 2, "--network 'brain' is unknown"),
        (("--network", "unet_deep"), 2, "--network 'unet_deep' is unknown"),
        (("--deepcache", "0"), 2, "--deepcache 0"),
        (("--prune", "--dry-run"), 2, "--prune removes what cannot be opened"),
        (
            ("--backend", "openvino", "--no-build", "--rows", "3"),
            3,
            "run `dogfast build-engines --model tiny --backend openvino",
        ),
        (("--rows", "-1"), 2, "--rows -1"),
        (("--backend", "openvino", "--resolution", "30"), 2, "--resolution 30 must be a multiple of 4"),
        (("--backend", "onnxruntime", "--precision", "bf16"), 2, "--precision bf16: onnxruntime has fp32 there"),
        (("--model", "tiny", "--random-weights"), 2, "--random-weights has the sizes of sd15"),
        (("--model", "nowhere", "--backend", "openvino"), 3, "--model 'nowhere'"),
        (("--backend", "openvino", "--engine-dir", "/proc/engines"), 3, "--engine-dir"),
    ],
)
def test_what_cannot_be_built_is_one_message(words, code, told, monkeypatch, capsys):
    from dogfast.cli.main import _exit_code

    monkeypatch.setattr(sys, "argv", ["dogfast", "build-engines", "--device", "cpu", *words])
    assert _exit_code() == code
    said = capsys.readouterr()
    assert told in said.err and said.out == ""


def test_pruning_says_what_went(tmp_path):
    place = tmp_path / "engines"
    place.mkdir(mode=0o700)
    (place / "stray").write_text("x")
    assert answer(typed("--prune", "--json", "--engine-dir", str(place))) == {
        "removed": 1, "bytes_freed": 1, "engine_dir": str(place),
    }  # fmt: skip
    assert not (place / "stray").exists()
