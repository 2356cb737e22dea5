"""`train --follow` beside a process that holds the run: what it may, what it waits for, and what its record says."""

import json
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.data.catalogue as catalogue
import dogfast.training.sources as sources
from dogfast.config import RunConfig
from dogfast.errors import RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import TRAINING, beside, exclusive, launch
from dogfast.workflows.chain import run_evaluate, run_train
from tests.environment import ENVIRONMENT

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
TINY = {"backbone": "wrn-10-1", "pretrain_epochs": 1, "epochs": 2, "batch": 16, "ood_batch": 8, "train_precision": "fp32"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(catalogue, "SHAPES_TEST_IMAGES", 16)
    monkeypatch.setattr(sources, "POLL_S", 0.01)


def config(**training):
    values = {"data": {"id_images": 48, "image_px": 16}, "model": {"device": "cpu"}, "training": TINY | training}
    return RunConfig().with_values(values, "test")


def paint(run, shard):
    helpers.commit(run.outliers("dog"), shard, count=4, side=16)


def test_a_training_follows_beside_the_launch_that_paints(tmp_path):
    """It waits for the first shard; the finished run, whatever was added, has the classifier as its own."""
    wanted, said = config(objective="oe", follow=True), []

    def hear(event, fields):
        if event == "note":
            said.append(fields["text"])
            if "waiting" in fields["text"]:
                paint(run, 0)

    with launch(tmp_path / "run", "# the painter's\n") as run:
        with beside(run.root, wanted.to_toml()) as followed:
            found = run_train(wanted, followed, Events(hear))
        assert not found["resumed"] and sum("waiting" in text for text in said) == 1
    assert run.config_file.read_text() == "# the painter's\n"
    record = json.loads((run.classifier("oe") / "train.json").read_text())
    assert record["shards"] == ["train-00000.tar"]
    assert record["identity"]["outliers"] == sources.source_digest(run, "dog")
    paint(run, 1)
    with launch(run.root, "") as run:
        for follow in (False, True):
            assert run_train(config(objective="oe", follow=follow), run, Events())["resumed"]
    run.outliers("dog").joinpath("records", "00000.json").unlink()
    with pytest.raises(RunMismatch, match="outliers: was"):
        run_train(config(objective="oe", follow=True), run, Events())


def test_an_interrupted_training_that_followed_goes_on(tmp_path, monkeypatch):
    wanted = config(objective="oe", follow=True, checkpoint_minutes=0.0)
    with launch(tmp_path / "run", "") as run:
        paint(run, 0)

        def stop(event, fields):
            if event == "epoch" and "oe" in fields["task"]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_train(wanted, run, Events(stop))
        paint(run, 1)
        said = []
        run_train(wanted, run, Events(lambda event, fields: said.append(fields.get("text", ""))))
    assert any("goes on with step" in text for text in said)
    record = json.loads((run.classifier("oe") / "train.json").read_text())
    assert record["shards"] == ["train-00000.tar", "train-00001.tar"]


def test_two_trainings_of_one_run_exclude_each_other_and_painting_excludes_none(tmp_path):
    with launch(tmp_path / "run", "") as run, exclusive(run.root, TRAINING):
        with pytest.raises(RunMismatch, match=r"is in use by process \d+"):
            run_train(config(objective="ce"), run, Events())


def test_a_launch_spares_what_a_training_beside_it_is_writing(tmp_path):
    with launch(tmp_path / "run", "") as run:
        part = run.root / "classifiers" / ".model.safetensors.part-7"
        part.parent.mkdir()
        part.touch()
    with exclusive(run.root, TRAINING), launch(run.root, ""):
        assert part.exists()
    with launch(run.root, ""):
        assert not part.exists()


def test_nothing_is_made_where_there_is_no_run_to_follow(tmp_path):
    with pytest.raises(RunMismatch, match="does not exist"), beside(tmp_path / "run", ""):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["noise", "renders", "aux"])
def test_only_painted_sources_are_followed(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aux").mkdir()
    with launch(tmp_path / "run", "") as run, pytest.raises(UsageError, match="--follow takes in shards"):
        run_train(config(objective="oe", follow=True, outliers=source), run, Events())


def test_candidates_that_saw_different_shards_are_not_compared(tmp_path):
    with launch(tmp_path / "run", "") as run, pytest.raises(UsageError, match="--follow: candidates of --tune"):
        run_train(config(objective="oe", follow=True, tune=("lr=0.1,0.01",)), run, Events())


def test_what_follows_paints_nothing_and_evaluates_nothing(tmp_path):
    with launch(tmp_path / "run", "") as run:
        with pytest.raises(UsageError, match="id-control is not painted"):
            run_train(config(objective="oe", follow=True, id_synthetic=0.2), run, Events())
        with pytest.raises(UsageError, match="--follow is for `dogfast train`"):
            run_evaluate(config(objective="oe", follow=True), run, Events())


@pytest.mark.slow
def test_one_process_paints_and_another_follows_it(tmp_path):
    """Both commands as they are typed, with the embedded model."""
    quick = "--id-images 400 --anchor-source clip-mean --steps 4 --backend torch"
    painting = f"generate --classes shapes --m 24 --samples-per-shard 16 --rows 16 {quick}"
    training = "train run --follow --objective oe --id-synthetic 0 --pretrain-epochs 1 --epochs 12 --json"

    def start(command):
        words = [sys.executable, "-m", "dogfast", *command.split()]
        return subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    painter = start(f"{painting} --output run")
    while not (tmp_path / "run" / "run.toml").exists():
        assert painter.poll() is None
        time.sleep(0.05)
    follower = start(training)
    heard = {}
    for name, process in (("painter", painter), ("follower", follower)):
        heard[name] = threading.Thread(target=lambda n=name, p=process: heard.update({n: p.communicate()}))
        heard[name].start()
    for process in (follower, painter):
        process.wait(600)
    time.sleep(0.2)
    assert painter.returncode == follower.returncode == 0, heard
    out, err = heard["follower"]
    assert "waiting for another process to paint" in err and err.count("waiting") == 1
    record = json.loads((tmp_path / "run/classifiers/oe/train.json").read_text())
    painted = sorted(path.name for path in (tmp_path / "run/outliers/dog").glob("*.tar"))
    assert record["shards"] and set(record["shards"]) <= set(painted) and len(painted) == 12
    assert not list((tmp_path / "run").rglob(".*.part-*"))
    again = start(training.replace("--follow ", ""))
    out, err = again.communicate(timeout=1800)
    assert again.returncode == 0 and json.loads(out.splitlines()[-1])["resumed"], err
