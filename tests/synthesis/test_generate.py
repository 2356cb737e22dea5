"""`generate` with a fake generator: what it writes, what a second call does, and what it refuses."""

import json
import os
import runpy
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import dogfast.run
import dogfast.synthesis.painter as painter
import dogfast.synthesis.resolver as resolver
import dogfast.synthesis.stage as stage
import dogfast.synthesis.worker as worker
from dogfast.errors import DataError, OutOfMemory, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import launch, write_jsonl
from dogfast.shards.reader import read_records, read_shard
from dogfast.synthesis.stage import generate
from dogfast.synthesis.worker import choose_rows

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))


def call(root, said=None, sinks=(), networks=None, **synthesis):
    """One launch of `generate` in the run at ``root``."""
    config = fakes.config(**synthesis)
    sentence = lambda event, fields: said.append(fields["text"]) if said is not None and event == "note" else None  # noqa: E731
    with fakes.installed(**networks or {}), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events(sentence, *sinks))


def facts(root):
    """The json of every stored sample, in order."""
    folder = root / "outliers" / "dog"
    return [sample.facts for record in read_records(folder) for sample in read_shard(folder / record["tar"], record["sha256"])]


def files(root):
    """Every file of a run but the diary and the lock, with its bytes."""
    kept = (path for path in root.rglob("*") if path.is_file() and path.name not in (".lock", ".owner"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}


# --- what is written --------------------------------------------------------------------------------------------
def test_a_run_holds_plan_tars_records_and_card(tmp_path):
    result = call(tmp_path / "run")
    assert {k: v for k, v in result.items() if k not in ("seconds", "img_per_s")} == {
        "run": str(tmp_path / "run"),
        "source": "dog",
        "outliers": 9,
        "shards": 3,
        "resumed_shards": 0,
        "failed": 0,
        "backend": "fake",
        "recipe": "quality",
    }
    assert result["seconds"] > 0 and result["img_per_s"] > 0
    assert json.loads(json.dumps(result)) == result
    shown = set(files(tmp_path / "run")) - {"run.toml", "run.json", "concepts/conditions.jsonl"}
    numbers = range(3)
    assert shown == {
        "plan/dog/000.json",
        "outliers/dog/README.md",
        *(f"outliers/dog/train-{n:05d}.tar" for n in numbers),
        *(f"outliers/dog/records/{n:05d}.json" for n in numbers),
    }


def test_every_sample_tells_where_it_comes_from(tmp_path):
    call(tmp_path / "run")
    found, conditions = facts(tmp_path / "run"), fakes.conditions()
    assert [f["key"] for f in found] == [f"{n // 4:05d}{n % 4:04d}" for n in range(9)]
    assert [f["cls"] for f in found] == [0, 1, 2] * 3
    assert [f["condition"] for f in found] == [0, 1, 3, 0, 2, 4, 0, 1, 5]
    seen = Counter()
    for f in found:
        condition = conditions[f["condition"]]
        index = seen.update([f["condition"]]) or seen[f["condition"]] - 1
        prompt = condition["text"][0][0]
        assert (f["class_name"], f["anchor"], f["prompt"]) == (condition["class_name"], condition["anchor"], prompt)
        assert f["seed"] == painter.image_seed(0, condition["class_name"], prompt, index, 0)
        assert (f["status"], f["attempt"], f["width"], f["height"], f["resize"]) == ("ok", 0, 16, 16, "none")
        assert (f["model"], f["model_revision"], f["recipe"], f["steps"]) == ("fake", "r0", "quality", 2)


def test_the_record_tells_the_engine(tmp_path):
    call(tmp_path / "run")
    record = read_records(tmp_path / "run" / "outliers" / "dog")[0]
    assert (record["backend"], record["device"], record["precision"], record["rows"]) == ("fake", "cpu", "fp32", 4)
    assert (record["failed"], record["faults"], record["resampled"]) == (0, {}, 0)
    assert {"torch", "numpy", "dogfast"} <= record["versions"].keys() and record["seconds"] >= 0


def test_the_card_counts_what_is_there(tmp_path):
    call(tmp_path / "run")
    text = (tmp_path / "run" / "outliers" / "dog" / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["size_categories"] == ["n<1K"] and "9 images in 3 tars" in text and "revision r0" in text


def test_paths_of_this_machine_stay_out_of_the_data_set(tmp_path, monkeypatch):
    (tmp_path / "secret" / "my-model").mkdir(parents=True)
    (tmp_path / "secret" / "animals").mkdir()
    model, classes = (str(tmp_path / "secret" / name) for name in ("my-model", "animals"))
    values = {"model": {"model": model}, "data": {"classes": classes}}
    monkeypatch.setattr(fakes, "config", lambda plain=fakes.config, **given: plain(**given).with_values(values, "test"))
    call(tmp_path / "run")
    for name, content in files(tmp_path / "run").items():
        assert not name.startswith("outliers") or b"secret" not in content, name
    assert facts(tmp_path / "run")[0]["model"] == "my-model"
    assert '"animals"' in (tmp_path / "run" / "outliers" / "dog" / "README.md").read_text()


def test_bytes_do_not_depend_on_rows(tmp_path):
    for rows in (1, 3, 7):
        call(tmp_path / str(rows), rows=rows)
    first, *others = (fakes.tars(tmp_path / str(rows) / "outliers" / "dog") for rows in (1, 3, 7))
    assert len(first) == 3 and all(other == first for other in others)


def test_progress_counts_every_image_and_every_shard_is_announced(tmp_path):
    events = []
    call(tmp_path / "run", sinks=[lambda name, fields: events.append((name, fields))])
    done = [fields["done"] for name, fields in events if name == "progress"]
    assert done[-1] == 9 and done == sorted(done)
    assert [fields["shard"] for name, fields in events if name == "shard_committed"] == [0, 1, 2]


def test_other_sizes_are_resized_and_said_to_be(tmp_path):
    call(tmp_path / "run", resolution=32)
    found = facts(tmp_path / "run")[0]
    assert (found["width"], found["resize"]) == (16, "bicubic-antialias 32->16")


def test_a_recipe_decides_steps_rows_and_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr(fakes.FakePipeline, "has_tiny_decoder", True)
    for recipe, denoised, decoder in (("paper", [8] * 3, "decode"), ("quality", [8] * 4, "decode_tiny")):
        calls, steps = [], len(denoised) - (recipe == "paper")  # PNDM takes its first step twice
        call(tmp_path / recipe, networks={"calls": calls}, recipe=recipe, steps=steps, m=1)
        assert calls == [*(("denoise", rows) for rows in denoised), (decoder, 4)]
        assert facts(tmp_path / recipe)[0]["recipe"] == recipe


def test_where_guidance_ends_the_unconditional_rows_do(tmp_path):
    calls = []
    call(tmp_path / "run", networks={"calls": calls}, steps=4, guidance_stop=0.5, m=1)
    assert calls == [*(("denoise", rows) for rows in (8, 8, 4, 4)), ("decode", 4)]


def test_draft_paints_without_guidance(tmp_path):
    calls = []
    call(tmp_path / "run", networks={"calls": calls}, recipe="draft", steps=None, m=1)
    assert calls == [("denoise", 4)] * 4 + [("decode", 4)] and facts(tmp_path / "run")[0]["guidance_scale"] == 1.0


def test_the_decoder_is_announced_with_its_reason(tmp_path):
    said = []
    call(tmp_path / "run", said)
    assert "decoder vae: the model has no tiny decoder" in said


def test_guidance_leads_away_from_the_negative_prompt(tmp_path):
    for name, words in (("plain", ""), ("negative", "blurry")):
        call(tmp_path / name, negative_prompt=words)
    plain, negative = (fakes.tars(tmp_path / name / "outliers" / "dog") for name in ("plain", "negative"))
    assert plain.keys() == negative.keys() and all(plain[name] != negative[name] for name in plain)


@pytest.mark.parametrize(
    "field", [{"solver": "unipc"}, {"decoder": "tiny"}, {"negative_prompt": "blurry"}, {"recipe": "paper"}, {"deepcache": 2}]
)
def test_another_recipe_is_refused_with_its_field(tmp_path, field):
    call(tmp_path / "run")
    with pytest.raises(RunMismatch, match=next(iter(field))):
        call(tmp_path / "run", **field)


def test_more_steps_than_the_solver_has_timesteps_are_refused_before_anything_is_planned(tmp_path):
    with pytest.raises(UsageError, match="--steps 51"):
        call(tmp_path / "run", recipe="draft", steps=51)
    assert not (tmp_path / "run" / "plan").exists()


def test_a_resolution_that_the_decoder_cannot_give_is_refused_before_anything_is_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(fakes.FakePipeline, "downscale", 3)
    with pytest.raises(UsageError, match=r"--resolution 32 must be a multiple of 3"):
        call(tmp_path / "run", resolution=32)
    assert not (tmp_path / "run" / "plan").exists()


def test_deepcache_is_refused_where_the_model_has_no_such_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(fakes.FakePipeline, "feature_channels", 0)
    with pytest.raises(UsageError, match="--deepcache 2: the outermost blocks of --model fake are of another kind"):
        call(tmp_path / "run", deepcache=2)
    assert not (tmp_path / "run" / "plan").exists()
    assert call(tmp_path / "run")["outliers"] == 9


def test_bytes_under_deepcache_do_not_depend_on_rows(tmp_path):
    calls = []
    for rows in (1, 3, 7):
        call(tmp_path / str(rows), rows=rows, steps=5, deepcache=2, networks={"calls": calls})
    first, *others = (fakes.tars(tmp_path / str(rows) / "outliers" / "dog") for rows in (1, 3, 7))
    assert all(first == other for other in others) and {what for what, _ in calls} == {"deep", "shallow", "decode"}


@pytest.mark.parametrize("wanted, device, positions, rows", [(5, "cpu", 64, 5), (0, "cpu", 64, 64), (0, "cpu", 4096, 1)])
def test_rows_are_the_ones_asked_for_or_fit_the_machine(wanted, device, positions, rows):
    choice = choose_rows(wanted, device, positions)
    assert choice.value == rows and choice.reason
    assert choose_rows(0, "cuda", 10**9).value == 1


# --- again ------------------------------------------------------------------------------------------------------
def test_a_second_call_does_nothing(tmp_path):
    call(tmp_path / "run")
    before, calls = files(tmp_path / "run"), []
    result = call(tmp_path / "run", networks={"calls": calls})
    assert not calls and files(tmp_path / "run") == before
    assert (result["outliers"], result["shards"], result["resumed_shards"], result["img_per_s"]) == (9, 3, 3, 0.0)
    assert result["backend"] == "fake"


@pytest.mark.parametrize("few, more", [(1, 2), (2, 5), (3, 4)])
def test_raising_m_appends_and_leaves_every_former_byte(tmp_path, few, more):
    call(tmp_path / "run", m=few)
    before = files(tmp_path / "run")
    result = call(tmp_path / "run", m=more)
    after = files(tmp_path / "run")
    kept = [name for name in before if name.endswith(".tar") or "records" in name or "plan" in name]
    assert all(after[name] == before[name] for name in kept)
    assert (result["outliers"], result["resumed_shards"]) == (3 * more, -(-3 * few // 4))
    call(tmp_path / "once", m=more)
    identity = ("cls", "condition", "seed", "prompt", "attempt")
    stored, direct = (sorted(tuple(f[k] for k in identity) for f in facts(tmp_path / name)) for name in ("run", "once"))
    assert stored == direct and len(set(stored)) == 3 * more
    assert f"{3 * more} images" in (tmp_path / "run" / "outliers" / "dog" / "README.md").read_text()


def test_lowering_m_takes_nothing_away(tmp_path):
    said = []
    call(tmp_path / "run", m=4)
    before = files(tmp_path / "run")
    result = call(tmp_path / "run", said, m=1)
    assert files(tmp_path / "run") | {"run.toml": before["run.toml"]} == before and result["outliers"] == 12
    assert any("4 outliers a class are planned already; --m 1 takes none away" in text for text in said)


@pytest.mark.parametrize(
    "change, field",
    [
        ({"seed": 1}, "seed: was 0, now 1"),
        ({"steps": 3}, "steps: was 2, now 3"),
        ({"guidance_scale": 1.5}, "guidance_scale: was 4.0, now 1.5"),
        ({"samples_per_shard": 5}, "samples_per_shard: was 4, now 5"),
        ({"resolution": 32}, "resolution: was None, now 32"),
    ],
    ids=str,
)
def test_another_configuration_is_refused_naming_its_fields(tmp_path, change, field):
    call(tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(RunMismatch) as caught:
        call(tmp_path / "run", **change)
    assert field in str(caught.value) and caught.value.exit_code == 6
    after = files(tmp_path / "run")
    assert {k: v for k, v in after.items() if k != "run.toml"} == {k: v for k, v in before.items() if k != "run.toml"}


def test_all_differing_fields_are_listed(tmp_path):
    call(tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"seed: was 0, now 1; steps: was 2, now 3"):
        call(tmp_path / "run", seed=1, steps=3)


def test_edited_conditions_are_refused(tmp_path):
    call(tmp_path / "run")
    write_jsonl(tmp_path / "run" / "concepts" / "conditions.jsonl", fakes.conditions()[:-1])
    with pytest.raises(RunMismatch, match="conditions: was"):
        call(tmp_path / "run")


def test_another_revision_of_the_model_is_refused(tmp_path, monkeypatch):
    call(tmp_path / "run")
    monkeypatch.setattr(fakes.FakePipeline, "revision", "r1")
    with pytest.raises(RunMismatch, match="model_revision: was 'r0', now 'r1'"):
        call(tmp_path / "run")


def test_conditions_may_change_before_anything_is_planned(tmp_path, monkeypatch):
    def fail(*given):
        raise DataError("stop")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="stop"):
        patch.setattr(stage, "plan_segments", fail)
        call(tmp_path / "run")
    assert call(tmp_path / "run", seed=9)["outliers"] == 9


def test_a_plan_beyond_the_conditions_is_refused(tmp_path):
    call(tmp_path / "run")
    plan = tmp_path / "run" / "plan" / "dog" / "000.json"
    body = json.loads(plan.read_text())
    body["counts"][-1][0] = 77
    plan.write_text(json.dumps(body))
    with pytest.raises(DataError, match="plans conditions that"):
        call(tmp_path / "run")


# --- after a crash ----------------------------------------------------------------------------------------------
def test_what_a_killed_writer_left_is_swept(tmp_path):
    call(tmp_path / "run")
    before = files(tmp_path / "run")
    source = tmp_path / "run" / "outliers" / "dog"
    for place in (source / ".train-00007.tar.part-1", source / "records" / ".00000.json.part-22"):
        place.write_bytes(b"torn")
    (tmp_path / "run" / "plan" / "dog" / ".001.json.part-3").write_bytes(b"torn")
    call(tmp_path / "run")
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("shard", [0, 1, 2])
@pytest.mark.parametrize("damage", [False, True])
def test_a_tar_without_a_record_is_painted_again(tmp_path, shard, damage):
    call(tmp_path / "run")
    folder = tmp_path / "run" / "outliers" / "dog"
    before = fakes.tars(folder)
    (folder / "records" / f"{shard:05d}.json").unlink()
    if damage:
        (folder / f"train-{shard:05d}.tar").write_bytes(b"torn")
    result = call(tmp_path / "run")
    assert fakes.tars(folder) == before
    assert (result["outliers"], result["shards"], result["resumed_shards"]) == (9, 3, 2)


def test_a_damaged_record_is_named_and_removing_it_heals(tmp_path):
    call(tmp_path / "run")
    folder = tmp_path / "run" / "outliers" / "dog"
    before, path = fakes.tars(folder), folder / "records" / "00001.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"00001\.json is not a shard record; `dogfast shards repair`"):
        call(tmp_path / "run")
    path.unlink()
    call(tmp_path / "run")
    assert fakes.tars(folder) == before


class Died(BaseException):
    """In the place of a power cut: nothing but the test catches it."""


@pytest.mark.parametrize("moment", range(0, 86, 6))
def test_a_death_at_any_step_loses_nothing_and_doubles_nothing(tmp_path, moment):
    """Before and after fsync and rename of run.json, conditions, plan, tars, records and card."""
    call(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        halves = iter(range(10_000))

        def guarded(plain):
            def call(*given):
                if next(halves) == moment:
                    raise Died
                plain(*given)
                if next(halves) == moment:
                    raise Died

            return call

        for name in ("fsync", "replace"):
            patch.setattr(dogfast.run.os, name, guarded(getattr(os, name)))
        with pytest.raises(Died):
            call(tmp_path / "torn")
    folder = tmp_path / "torn" / "outliers" / "dog"
    committed = fakes.tars(folder) if folder.exists() else {}
    counted = {record["tar"] for record in read_records(folder)}
    call(tmp_path / "torn")
    assert fakes.tars(folder) == fakes.tars(tmp_path / "whole" / "outliers" / "dog")
    assert all(fakes.tars(folder)[name] == committed[name] for name in counted)
    assert [f["key"] for f in facts(tmp_path / "torn")] == [f["key"] for f in facts(tmp_path / "whole")]
    assert set(files(tmp_path / "torn")) - set(files(tmp_path / "whole")) <= set(map(str, leftovers_of_launch(tmp_path)))


def leftovers_of_launch(tmp_path):
    """Torn files of the run's own record, which `launch` owns."""
    return [p.relative_to(tmp_path / "torn") for p in fakes.leftovers(tmp_path / "torn") if p.parent == tmp_path / "torn"]


def test_an_interrupt_keeps_every_shard_that_was_painted(tmp_path, monkeypatch):
    painted = []

    def paint(*given, plain=painter.paint):
        if len(painted) == 2:
            raise KeyboardInterrupt
        painted.append(plain(*given))
        return painted[-1]

    monkeypatch.setattr(worker, "paint", paint)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "run", m=9)
    assert len(read_records(tmp_path / "run" / "outliers" / "dog")) == 2
    assert not fakes.leftovers(tmp_path / "run")


# --- a device without memory ------------------------------------------------------------------------------------
FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "Failed to allocate memory for requested buffer of size 4194304",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate",
)


@pytest.mark.parametrize("full", FULL)
def test_out_of_memory_paints_fewer_together_and_the_same_bytes(tmp_path, full):
    call(tmp_path / "calm")
    calls, said, events = [], [], []
    sink = lambda name, fields: events.append((name, fields))  # noqa: E731
    call(tmp_path / "full", said, [sink], networks={"calls": calls, "fits": 4, "full": full}, rows=8)
    assert [text for text in said if "out of memory" in text] == [
        f"the device is out of memory; {rows} rows from here on" for rows in (4, 2)
    ]
    assert [rows for what, rows in calls if what == "denoise"][:3] == [16, 8, 4], "guided rows are twice as many"
    assert fakes.tars(tmp_path / "full" / "outliers" / "dog") == fakes.tars(tmp_path / "calm" / "outliers" / "dog")
    assert {record["rows"] for record in read_records(tmp_path / "full" / "outliers" / "dog")} == {2}
    assert sum("decoder" in text for text in said) == 3, "engines for more rows are let go of, and others are opened"
    assert max(fields["done"] for name, fields in events if name == "progress") == 9


def test_no_memory_for_one_image_is_told_with_the_remedy(tmp_path):
    with pytest.raises(OutOfMemory, match="--resolution"):
        call(tmp_path / "run", networks={"fits": 1})
    assert not read_records(tmp_path / "run" / "outliers" / "dog")


def test_other_errors_of_a_device_are_not_mistaken_for_it(tmp_path):
    with pytest.raises(RuntimeError, match="illegal"):
        call(tmp_path / "run", networks={"fits": 1, "full": "an illegal memory access was encountered"})


# --- images that cannot be used ---------------------------------------------------------------------------------
@pytest.fixture
def numbered(monkeypatch):
    """Seeds are 1000 · condition + 10 · index + attempt, and the noise tells them."""
    place = {(c["class_name"], c["text"][0][0]): n for n, c in enumerate(fakes.conditions(), 1)}
    seed = lambda run, name, prompt, index, attempt: 1000 * place[name, prompt] + 10 * index + attempt  # noqa: E731
    monkeypatch.setattr(worker, "image_seed", seed)
    monkeypatch.setattr(resolver, "gaussian_noise", fakes.marked_noise)


def test_unusable_images_are_counted_and_never_stored(tmp_path, numbered):
    spoil = {
        1000: "nan",
        1010: "black",
        1011: "nan",
        **{2000 + n: "black" for n in range(3)},
        **{6000 + n: "nan" for n in range(3)},
    }
    options = {"spoil": spoil, "text_strength": 0.0}
    result = call(tmp_path / "run", networks=options)
    assert (result["outliers"], result["failed"], result["shards"]) == (7, 2, 3)
    found = {f["seed"]: f for f in facts(tmp_path / "run")}
    assert set(found) == {1001, 1012, 1020, 2010, 3000, 4000, 5000}
    assert [found[s]["status"] for s in (1001, 1012, 1020)] == ["resampled", "resampled", "ok"]
    assert [found[s]["attempt"] for s in (1001, 1012, 1020)] == [1, 2, 0]
    records = read_records(tmp_path / "run" / "outliers" / "dog")
    assert [record["faults"] for record in records] == [{"black": 1}, {}, {"not finite": 1}]
    assert [(record["samples"], record["failed"], record["resampled"]) for record in records] == [
        (3, 1, 2),
        (4, 0, 0),
        (0, 1, 0),
    ]
    again = call(tmp_path / "run", networks=options)
    assert (again["outliers"], again["failed"], again["resumed_shards"]) == (7, 2, 3)


def test_keys_keep_their_place_when_an_image_is_missing(tmp_path, numbered):
    call(tmp_path / "run", networks={"spoil": {2000 + n: "flat" for n in range(3)}, "text_strength": 0.0})
    with tarfile.open(tmp_path / "run" / "outliers" / "dog" / "train-00000.tar") as tar:
        assert [m.name for m in tar if m.name.endswith("json")] == [f"00000000{n}.json" for n in (0, 2, 3)]
