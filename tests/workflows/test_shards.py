"""Listing, verifying and repairing what a fake generator painted."""

import hashlib
import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

import dogfast.synthesis.stage as stage
from dogfast.cli.main import main
from dogfast.errors import DataError, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import Run, launch
from dogfast.shards.reader import read_records, read_shard
from dogfast.shards.writer import tar_bytes
from dogfast.synthesis.stage import generate
from dogfast.workflows.shards import export_images, list_shards, plan_export_images, repair_shards, verify_shards

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
QUIET = Events()


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards") / "run"
    config = fakes.config()
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        generate(config, run, QUIET)
    return root


@pytest.fixture
def run(painted, tmp_path):
    shutil.copytree(painted, tmp_path / "run")
    return Run(tmp_path / "run")


def repaired(run, **synthesis):
    with fakes.installed():
        return repair_shards(fakes.config(**synthesis), run, QUIET, "")["repaired"]["dog"]


def record_of(run, number):
    return run.outliers("dog") / "records" / f"{number:05d}.json"


def tar_of(run, number):
    return run.outliers("dog") / f"train-{number:05d}.tar"


def rewrite(run, number, change):
    """A tar of changed samples whose record has its digest: only what is inside tells."""
    samples = change(list(read_shard(tar_of(run, number))))
    tar_of(run, number).write_bytes(tar_bytes(samples))
    record = json.loads(record_of(run, number).read_text())
    content = tar_of(run, number).read_bytes()
    record |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    record_of(run, number).write_text(json.dumps(record))


def flip(run):
    content = bytearray(tar_of(run, 1).read_bytes())
    content[len(content) // 2] ^= 1
    tar_of(run, 1).write_bytes(content)


DAMAGES = {
    "is damaged": flip,
    "SHA-256": lambda run: tar_of(run, 1).write_bytes(tar_of(run, 1).read_bytes()[:700]),
    "which is missing": lambda run: tar_of(run, 1).unlink(),
    "not readable JSON": lambda run: record_of(run, 1).write_text("{"),
    "not a shard record": lambda run: record_of(run, 1).write_text("[]"),
    "its record says": lambda run: rewrite(run, 1, lambda samples: samples[:-1]),
    "belongs to another shard": lambda run: rewrite(run, 1, lambda _: list(read_shard(tar_of(run, 0)))),
    "not those that were painted": lambda run: rewrite(run, 1, swapped),
}


def swapped(samples):
    first, second, *others = samples
    return [
        type(first)(first.facts, second.content, first.suffix),
        type(first)(second.facts, first.content, second.suffix),
        *others,
    ]


def test_ls_counts_what_is_there(run):
    (found,) = list_shards(run, "")["sources"].values()
    assert (found["samples"], found["shards"], found["planned_shards"], found["failed"]) == (9, 3, 3, 0)
    assert found["bytes"] == sum(path.stat().st_size for path in run.outliers("dog").glob("*.tar"))
    assert found["engines"] == ["fake fp32, 4 rows"]


def test_whole_shards_have_no_fault_and_repair_leaves_them_alone(run):
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()}
    assert verify_shards(run, "", QUIET)["faults"] == {"dog": []}
    assert repaired(run) == []
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_fault_is_named_and_repair_gives_the_same_bytes_again(run, painted, reason):
    DAMAGES[reason](run)
    (fault,) = verify_shards(run, "", QUIET)["faults"]["dog"]
    assert fault["record"] == "00001.json" and reason in fault["reason"]
    (outcome,) = repaired(run)
    unknown = reason in ("not readable JSON", "not a shard record")
    assert outcome["pixels"] == ("not known before" if unknown else "the recorded ones")
    assert fakes.tars(run.outliers("dog")) == fakes.tars(painted / "outliers" / "dog")
    assert verify_shards(run, "", QUIET)["faults"] == {"dog": []}


def typed(run, *words):
    """`dogfast shards …` as a person types it, with the fake generator; the exit code."""
    with fakes.installed(), patch.object(sys, "argv", ["dogfast", "shards", *words, str(run.root)]):
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code or 0


def test_the_commands_find_and_mend_a_fault(run, painted, capsys):
    run.config_file.write_text(fakes.config().to_toml())
    flip(run)
    assert typed(run, "verify") == 4 and "`dogfast shards repair" in capsys.readouterr().err
    assert typed(run, "repair", "--source", "dog") == 0
    assert "dog/00001.json: painted anew, pixels: the recorded ones" in capsys.readouterr().out
    assert fakes.tars(run.outliers("dog")) == fakes.tars(painted / "outliers" / "dog")
    assert typed(run, "verify") == 0 and "3 of 3 shards are whole" in capsys.readouterr().out
    assert typed(run, "ls") == 0 and "9 images in 3 of 3 planned shards" in capsys.readouterr().out
    assert typed(run, "repair", "--source", "nope") == 4 and "it has dog" in capsys.readouterr().err


def test_latents_are_listed_verified_and_mended(run, monkeypatch, capsys):
    monkeypatch.setattr(stage, "keep_id_latents", lambda job, events: None)
    config = fakes.config(output_kind="latent")
    with fakes.installed():
        generate(config, run, QUIET)
    before = fakes.tars(run.outliers("dog-latent"))
    run.config_file.write_text(fakes.config(reject_id=True).to_toml())
    assert typed(run, "ls") == 0
    assert "dog: 9 images in" in (said := capsys.readouterr().out) and "dog-latent: 9 latents in 3 of 3" in said
    assert verify_shards(run, "", QUIET)["faults"] == {"dog": [], "dog-latent": []}
    tar = run.outliers("dog-latent") / "train-00001.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    assert typed(run, "verify", "--source", "dog-latent") == 4 and "train-00001.tar" in capsys.readouterr().err
    assert typed(run, "repair", "--source", "dog-latent") == 0
    assert "dog-latent/00001.json: painted anew, pixels: the recorded ones" in capsys.readouterr().out
    assert fakes.tars(run.outliers("dog-latent")) == before


def test_repair_paints_only_what_is_planned(run):
    flip(run)
    repaired(run, m=50)
    assert sum(record["samples"] for record in read_records(run.outliers("dog"))) == 9


def test_repair_with_other_settings_is_refused_before_anything_is_taken_away(run):
    flip(run)
    before = fakes.tars(run.outliers("dog"))
    with pytest.raises(RunMismatch, match="steps"):
        repaired(run, steps=3)
    assert fakes.tars(run.outliers("dog")) == before and record_of(run, 1).exists()


def test_a_record_that_no_plan_knows_is_taken_away(run):
    shutil.copy(record_of(run, 1), run.outliers("dog") / "records" / "00009.json")
    (outcome,) = repaired(run)
    assert outcome["record"] == "00009.json" and outcome["pixels"] == "not planned, so not painted"
    assert len(read_records(run.outliers("dog"))) == 3


@pytest.mark.parametrize("source", ["", "boundary"])
def test_no_shards_are_told(run, source):
    bare = Run(run.root if source else run.root / "bare")
    with pytest.raises(DataError, match="--source 'boundary'.*it has dog" if source else "has no shards"):
        list_shards(bare, source)


# --- image files ------------------------------------------------------------------------------------------------
def test_outliers_are_exported_whole_into_the_run_or_where_it_is_said(run, tmp_path):
    samples = sum(record["samples"] for record in read_records(run.outliers("dog")))
    assert plan_export_images(run, "", None) == {
        "source": "dog",
        "output": str(run.root / "export" / "dog"),
        "images": samples,
        "bytes": sum(record["bytes"] for record in read_records(run.outliers("dog"))),
    }
    for folder in (None, tmp_path / "out"):
        result = export_images(run, "", folder, QUIET)
        assert result["images"] == samples == len(list(Path(result["output"]).rglob("*.png")))
        assert result["lists"].keys() == {"train.txt", "val.txt"}


def test_an_export_of_a_damaged_shard_leaves_nothing(run, tmp_path):
    tar_of(run, 1).write_bytes(b"")
    with pytest.raises(DataError, match=r"train-00001\.tar is damaged"):
        export_images(run, "dog", tmp_path / "out", QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_source_must_be_clear_and_of_outliers(run):
    shutil.copytree(run.outliers("dog"), run.outliers("id-control"))
    assert export_images(run, "", None, QUIET)["source"] == "dog"
    with pytest.raises(UsageError, match="--source id-control: images of the ID classes are no outliers"):
        export_images(run, "id-control", None, QUIET)
    shutil.copytree(run.outliers("dog"), run.outliers("boundary"))
    with pytest.raises(UsageError, match="has outliers of boundary, dog; name one"):
        export_images(run, "", None, QUIET)
