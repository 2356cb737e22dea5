"""The command line's frozen surface: flags, exit codes, JSON lines, and how fast it answers."""

import io
import json
import os
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from dogfast.cli.main import main
from tests.environment import ENVIRONMENT

SHARED = {"--config", "--set", "--dry-run", "--json", "--quiet", "--help"}
DATA = {"--classes", "--data", "--image-px", "--id-images", "--hub", "--no-hub", "--match-codec"}
MODEL = {
    "--model", "--revision", "--clip", "--tiny-decoder", "--safety-checker", "--lora", "--precision", "--backend", "--attention", "--engine-dir",
    "--build", "--no-build", "--device", "--offline", "--no-offline",
}  # fmt: skip
ENGINES = {"--classes", "--target", "--rows", "--resolution", "--deepcache", "--network", "--random-weights", "--prune"}
CONCEPTS = {
    "--vocabulary", "--exclude-words", "--block-list", "--prompt", "--inversion-steps", "--inversion-batch", "--inversion-lr",
    "--inversion-images", "--top-k", "--eta", "--anchor-quantile", "--anchor-lambda", "--anchor-band", "--anchor-side",
    "--anchor-source", "--anchors", "--margin", "--concepts-seed",
}  # fmt: skip
SYNTHESIS = {
    "--m", "--budget", "--strategy", "--output-kind", "--recipe", "--solver", "--steps", "--guidance-scale", "--guidance-start", "--guidance-stop",
    "--deepcache", "--decoder", "--templates", "--negative-prompt", "--reject-id", "--no-reject-id", "--resolution", "--samples-per-shard", "--store", "--ray", "--workers", "--rows", "--seed",
}  # fmt: skip
TRAINING = {
    "--objective", "--outliers", "--id-synthetic", "--backbone", "--dropout", "--pretrain-epochs", "--pretrain-lr", "--epochs", "--lr", "--batch",
    "--ood-batch", "--oe-weight", "--momentum", "--weight-decay", "--train-precision", "--round", "--train-seed", "--weights", "--allow-pickle", "--no-allow-pickle", "--start",
    "--accumulate", "--ema", "--follow", "--no-follow", "--window-mb", "--compile", "--checkpoint-minutes", "--track", "--tune",
    "--energy-in", "--energy-out", "--wor-step", "--wor-sign", "--wor-strengths", "--wor-smoothing", "--wor-warmup",
    "--oal-kd", "--oal-contrast", "--oal-temperature", "--oal-mi", "--atom-quantile", "--atom-pool", "--atom-epsilon",
    "--atom-attack-steps", "--poem-prior", "--poem-noise", "--virtual-start", "--virtual-queue", "--virtual-draws",
    "--npos-neighbour", "--npos-boundary", "--npos-draws", "--npos-sigma", "--contrast-temperature", "--confgan-lr",
    "--confgan-noise",
    "--confgan-channels",
}  # fmt: skip
DETECTION = {"--scores", "--ood", "--ood-images", "--ash-percentile", "--knn-share", "--protocol", "--protocol-seed"}
DETECTION |= {"--corrupted-images", "--keep-features"}
DECIDED = {
    "--objective", "--outliers", "--strategy", "--output-kind", "--concepts-seed", "--seed", "--train-seed", "--round", "--follow", "--no-follow",
    "--tune", "--budget",
}  # fmt: skip
OF_ROUNDS = {"--round", "--follow", "--no-follow", "--tune", "--budget", "--strategy", "--output-kind"}
REFINEMENT = {"--rounds", "--patience", "--score"}
COMPARISON = {"--seeds", "--tables", "--auxiliary", "--sweep", "--jobs"}
USING = {
    "--data",
    "--hub",
    "--no-hub",
    "--device",
    "--offline",
    "--no-offline",
    "--objective",
    "--outliers",
    "--round",
    "--train-seed",
}
COMMANDS = {
    "doctor": {"--json", "--help"},
    "build-engines": SHARED | MODEL | ENGINES,
    "anchors": SHARED | DATA | MODEL | CONCEPTS | {"--output", "--explain"},
    "generate": SHARED | DATA | MODEL | CONCEPTS | SYNTHESIS | {"--output"},
    "train": SHARED | DATA | MODEL | TRAINING,
    "evaluate": SHARED | DATA | MODEL | TRAINING | DETECTION,
    "score": SHARED | USING | {"--score", "--why"},
    "export": SHARED | USING | {"--classes", "--ash-percentile", "--knn-share", "--score", "--recall", "--format", "--output"},
    "refine": (SHARED | DATA | MODEL | CONCEPTS | SYNTHESIS | TRAINING | DETECTION) - OF_ROUNDS | REFINEMENT,
    "compare": (SHARED | DATA | MODEL | CONCEPTS | SYNTHESIS | TRAINING | DETECTION) - DECIDED | COMPARISON,
    "report": SHARED | DATA,
    "shards ls": SHARED | {"--source"},
    "shards verify": SHARED | {"--source"},
    "shards repair": SHARED | MODEL | {"--source"},
    "shards export": SHARED | {"--source", "--output"},
    "demo": SHARED | MODEL | {"--output", "--seed", "--refine"},
}


def dogfast(*words, cwd, **environment):
    """What was typed, run in this process, which has the imports behind it; what is not handled fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(cwd),
        patch.dict(os.environ, ENVIRONMENT | environment, clear=True),
        patch.object(sys, "argv", ["dogfast", *words]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())


def spawned(*words, cwd):
    """The same in a process of its own."""
    command = [sys.executable, "-m", "dogfast", *words]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def flags_of(command):
    from typer.main import get_command

    from dogfast.cli.main import app

    found = get_command(app)
    for word in command.split():
        found = found.commands[word]
    parameters = found.params
    return {name for p in parameters for name in (*p.opts, *p.secondary_opts) if name.startswith("--")} | {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_are_exactly_the_fields(command):
    assert flags_of(command) == COMMANDS[command]


def test_help_imports_no_torch_and_is_quick(tmp_path):
    code = "import sys; sys.argv = ['dogfast', '--help']\nfrom dogfast.cli.main import _exit_code\n_exit_code()\n"
    code += "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)\nassert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, tmp_path):
    done = dogfast(*command.split(), "--help", cwd=tmp_path)
    assert done.returncode == 0 and "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["generate", "--classes", "nonesuch"], 2, "--classes 'nonesuch'"),
        (["generate", "--classes", "cifar10"], 4, "--data cifar10=PATH"),
        (["generate", "--m", "0"], 2, "--m 0"),
        (["generate", "--m", "many"], 2, "--m"),
        (["generate", "--no-such-flag"], 2, "--no-such-flag"),
        (["nosuchcommand"], 2, "nosuchcommand"),
        (["generate", "--model", "nonesuch"], 3, "--model 'nonesuch'"),
        (["generate", "--device", "cuda:7"], 3, "--device cuda:7"),
        (["generate", "--recipe", "nonesuch"], 2, "--recipe 'nonesuch'"),
        (["generate", "--output-kind", "video"], 2, "--output-kind 'video'"),
        (["generate", "--output-kind", "latent", "--reject-id"], 2, "--reject-id looks at pictures"),
        (["generate", "--output-kind", "latent", "--reject-id", "--dry-run"], 2, "--reject-id looks at pictures"),
        (["generate", "--config", "missing.toml"], 2, "missing.toml"),
        (["generate", "--set", "a"], 2, "--set 'a'"),
        (["generate", "--set", "synthesis.nonesuch=1"], 2, "synthesis.nonesuch"),
        (["generate", "--data", "cifar10"], 2, "--data 'cifar10'"),
        (["train", "no-run-here"], 6, "no-run-here"),
        (["evaluate", "no-run-here"], 6, "no-run-here"),
        (["report", "no-run-here"], 6, "no-run-here"),
        (["export", "no-run-here"], 6, "no-run-here"),
        (["export", "--score", "nonesuch"], 2, "--score 'nonesuch'"),
        (["export", "--format", "pickle"], 2, "--format 'pickle'"),
        (["export", "--recall", "0"], 2, "--recall 0"),
        (["export", "--score", "odin", "--format", "onnx"], 2, "choose of msp, maxlogit, energy"),
        (["score", "no-run-here", "image.png"], 4, "no-run-here"),
        (["score", "no-run-here"], 2, "IMAGES"),
        (["train", "--objective", "nonesuch"], 2, "--objective 'nonesuch'"),
        (["train", "--backbone", "wrn-5-1", "--objective", "ce"], 2, "--backbone"),
        (["train", "--objective", "oe", "--outliers", "nonesuch"], 4, "--outliers 'nonesuch'"),
        (["evaluate", "--scores", "nonesuch"], 2, "--scores 'nonesuch'"),
        (["evaluate", "--ood", "nonesuch"], 4, "--ood 'nonesuch'"),
    ],
)
def test_mistakes_get_one_sentence_the_right_code_and_leave_nothing(words, code, named, tmp_path):
    done = dogfast(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*")), "a refused command left files"


@pytest.mark.parametrize("command", ["anchors", "evaluate", "refine", "compare", "report", "demo"])
def test_a_command_that_is_one_process_says_so_where_several_are_launched(command, tmp_path):
    done = dogfast(command, cwd=tmp_path, WORLD_SIZE="2")
    assert done.returncode == 2 and f"dogfast {command} is one process, and $WORLD_SIZE says 2" in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_tells_the_defaults_of_class_sets_beside_the_general_one(tmp_path):
    said = " ".join(dogfast("generate", "--help", cwd=tmp_path, COLUMNS="400").stdout.split())
    assert "[default: 1000; 192 for shapes; 5000 for cifar10]" in said
    assert "15 for shapes" in said


def test_codes_and_sentences_leave_the_process(tmp_path):
    done = spawned("generate", "--m", "0", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: --m 0") and done.stderr.count("\n") == 1


def test_a_folder_that_is_no_run_is_refused_and_kept(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for command in (["generate", "--output", "mine"], ["train", "mine"], ["evaluate", "mine"], ["report", "mine"]):
        done = dogfast(*command, cwd=tmp_path)
        assert done.returncode == 6 and "mine" in done.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("command", ["anchors", "generate", "train", "evaluate", "demo"])
def test_dry_run_counts_and_writes_nothing(command, tmp_path):
    done = dogfast(command, "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout.splitlines()[-1])
    assert planned["dry_run"] is True and planned["disk_free_bytes"] > 0
    assert not list(tmp_path.rglob("*"))


def test_dry_run_of_generate_knows_its_size(tmp_path):
    planned = json.loads(dogfast("generate", "--m", "50", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert planned["images"] == planned["images_left"] == 8 * 50
    assert planned["shards"] == 2 and planned["bytes"] > 0


def test_dry_run_knows_the_size_of_latents(tmp_path):
    words = ["generate", "--m", "50", "--output-kind", "latent", "--resolution", "64", "--dry-run", "--json"]
    planned = json.loads(dogfast(*words, cwd=tmp_path).stdout)
    assert planned["images"] == 8 * 50 and planned["bytes"] > 8 * 50 * 2 * 4 * 16**2


def test_dry_run_refuses_what_the_run_would(tmp_path):
    assert dogfast("generate", "--classes", "nonesuch", "--dry-run", cwd=tmp_path).returncode == 2
    assert dogfast("train", "--backbone", "resnet", "--dry-run", cwd=tmp_path).returncode == 2


def test_doctor_names_every_finding_with_its_fix(tmp_path):
    done = dogfast("doctor", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout.splitlines()[-1])
    found = {finding["name"]: finding for finding in answer["findings"]}
    assert {"torch", "device", "precision", "model tiny", "memory", "disk"} <= found.keys()
    assert all(finding["fix"] for finding in answer["findings"] if finding["status"] != "ok")
    assert done.returncode == (3 if any(f["status"] == "fail" for f in answer["findings"]) else 0)


@pytest.fixture
def bare_run(tmp_path):
    """A run that was worked on, whose configuration is gone."""
    run = tmp_path / "runs" / "animals"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"stages": {"concepts": {}}, "versions": {}}')
    return run


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["done", "dry"])
def test_a_run_whose_configuration_is_gone_is_not_taken_for_another(bare_run, tmp_path, dry):
    done = dogfast("train", "runs/animals", "--objective", "ce", *dry, cwd=tmp_path)
    assert done.returncode == 4 and "run.toml is missing; put it back" in done.stderr and "Traceback" not in done.stderr
    (bare_run / "run.toml").write_text("[data")
    done = dogfast("train", "runs/animals", "--objective", "ce", *dry, cwd=tmp_path)
    assert done.returncode == 4 and "mend the file" in done.stderr and "--config runs" not in done.stderr


def test_a_dry_run_refuses_what_is_no_run(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("x")
    done = dogfast("generate", "--classes", "shapes", "--output", "mine", "--dry-run", cwd=tmp_path)
    assert done.returncode == 6 and "not a dogfast run" in done.stderr


def test_variable_names_the_run(tmp_path):
    done = dogfast("train", cwd=tmp_path, DOGFAST_RUN="gone")
    assert done.returncode == 6 and "gone" in done.stderr


@pytest.mark.slow
def test_help_answers_at_once(tmp_path):
    """0.3 s on a processor of today that does nothing else; measured against typer itself, as this one may do much else."""
    seconds = {"--help": [], "typer": []}
    for _ in range(5):
        for what, words in {"--help": ["-m", "dogfast", "--help"], "typer": ["-c", "import typer"]}.items():
            started = time.perf_counter()
            done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
            assert done.returncode == 0
            seconds[what].append(time.perf_counter() - started)
    assert min(seconds["--help"]) < 3.5 * min(seconds["typer"])


def test_a_word_is_explained_without_a_run(tmp_path):
    done = dogfast("anchors", "--classes", "cifar10", "--explain", "wolf", "--explain", "tabby", cwd=tmp_path)
    assert done.returncode == 0 and not list(tmp_path.iterdir())
    assert "wolf: searched\n  n02114100 animal: wolf (a kind of canine)" in done.stdout
    assert "tabby: left out: a kind of a class" in done.stdout and "no candidates yet" in done.stdout
