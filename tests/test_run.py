"""The run folder: files that are whole or absent, one owner at a time, and nobody else's folder touched."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dogfast import run as run_module
from dogfast.errors import DataError, DogfastError, EnvironmentFault, RunMismatch, UsageError
from dogfast.run import (
    Run,
    default_place,
    digest,
    exclusive,
    file_digest,
    is_run,
    launch,
    newest_run,
    open_run,
    publish,
    read_json,
    read_jsonl,
    refuse_difference,
    sweep_partial,
    to_json,
    versions,
    write_jsonl,
)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- publish ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("content, written", [("Häuschen\n", "Häuschen\n".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")])
def test_publish_writes_and_replaces(tmp_path, content, written):
    file = tmp_path / "a" / "b" / "file"
    for _ in range(2):
        publish(file, content)
        assert file.read_bytes() == written and names(tmp_path) == ["a", "a/b", "a/b/file"]


@pytest.mark.parametrize("fault", ["replace", "fsync"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, fault, before):
    file = tmp_path / "file"
    if before is not None:
        file.write_bytes(before)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fault, full)
    with pytest.raises(EnvironmentFault, match=r"cannot write .*file: No space left on device; .*--output"):
        publish(file, b"new")
    monkeypatch.undo()
    assert names(tmp_path) == ([] if before is None else ["file"])
    assert before is None or file.read_bytes() == before


@pytest.mark.parametrize("point", ["fsync", "replace"])
def test_a_crash_leaves_only_what_the_sweep_removes(tmp_path, monkeypatch, point):
    (tmp_path / "file").write_bytes(b"old")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, point, crash)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    (tmp_path / "keep.part-1").touch()
    sweep_partial(tmp_path)
    assert names(tmp_path) == ["file", "keep.part-1"]


def test_data_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace

    def watched_fsync(descriptor):
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(("folder" if place.is_dir() else place.read_bytes(), place))
        fsync(descriptor)

    def watched_replace(old, new):
        steps.append(("rename", Path(new)))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_fsync), monkeypatch.setattr(os, "replace", watched_replace)
    publish(tmp_path / "file", b"content")
    (data, temporary), (rename, renamed), (folder, synced) = steps
    assert (data, rename, folder) == (b"content", "rename", "folder")
    assert temporary.parent == tmp_path and renamed == tmp_path / "file" and synced == tmp_path


def test_a_file_in_the_way_is_an_error_of_the_machine(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"cannot write .*file/below"):
        publish(tmp_path / "file" / "below", b"x")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        publish(tmp_path, b"a folder stands there")
    assert names(tmp_path) == ["file"]


def test_text_that_cannot_be_encoded_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        publish(tmp_path / "file", "\udcff")
    assert names(tmp_path) == []


# --- JSON -------------------------------------------------------------------------------------------------------
BROKEN = {
    "text": b"no json",
    "empty": b"",
    "cut": b'{"a": [1,',
    "not utf-8": b'{"a": "\xff"}',
    "huge number": b'{"a": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_json_is_named(tmp_path, kind):
    (tmp_path / "x.json").write_bytes(BROKEN[kind])
    with pytest.raises(DataError, match=r"x\.json is not readable JSON"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("kind", sorted(set(BROKEN) - {"empty"}))
def test_broken_lines_are_named(tmp_path, kind):
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n' + BROKEN[kind] + b"\n")
    with pytest.raises(DataError, match=r"x\.jsonl(, line 2: not JSON| is not readable text)") as refusal:
        read_jsonl(tmp_path / "x.jsonl")
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("line", ["3", '"a"', "null", "[1]", "true"])
def test_lines_must_be_objects(tmp_path, line):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n\n' + line)
    with pytest.raises(DataError, match="line 3: expected an object, found"):
        read_jsonl(tmp_path / "x.jsonl")


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_missing_files_and_folders(tmp_path, read):
    with pytest.raises(DataError, match="gone is missing"):
        read(tmp_path / "gone")
    with pytest.raises(DataError, match="is not readable"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["plain", "Häuschen 日本", "a\nb\r", "\u2028\u2029\x85\x0b\x0c\x1c", '"\\', ""])
def test_rows_come_back_whatever_their_text(tmp_path, text):
    rows = [{"text": text, "n": 1}, {"text": text + "!", "x": None}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    assert read_jsonl(tmp_path / "x.jsonl") == rows


def test_rows_edited_by_hand(tmp_path):
    (tmp_path / "x.jsonl").write_bytes("\ufeff".encode() + b'{"a": 1}\r\n\r\n  {"a": 2}  \r\n\n')
    assert read_jsonl(tmp_path / "x.jsonl") == [{"a": 1}, {"a": 2}]
    write_jsonl(tmp_path / "x.jsonl", [])
    assert read_jsonl(tmp_path / "x.jsonl") == []


def test_json_does_not_depend_on_the_locale(tmp_path):
    publish(tmp_path / "x.json", to_json({"a": "Häuschen"}))
    code = "import sys; from pathlib import Path; from dogfast.run import read_json; assert read_json(Path(sys.argv[1]))['a'] == 'H\\xe4uschen'"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "x.json"], check=True, env=environment)


def test_json_has_a_stable_order():
    assert to_json({"b": 1, "a": {"d": 1, "c": 2}}) == to_json({"a": {"c": 2, "d": 1}, "b": 1})


# --- digests ----------------------------------------------------------------------------------------------------
def test_digests_are_frozen():
    assert digest({"a": 1, "b": [1.5, None, "ü"]}, b"\x00x") == FROZEN_DIGEST
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 2}, {"b": 1})
    assert digest("ab", "c") != digest("a", "bc") and digest() != digest("")


FROZEN_DIGEST = "9fcaa1abb7b435c1e558c796b9c1c4f44f8db1749642ccd23ff1781dfdec1694"


def test_file_digest(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_versions_name_what_decides_results():
    assert set(versions()) >= {"dogfast", "torch", "diffusers", "numpy"} and all(versions().values())


# --- stages -----------------------------------------------------------------------------------------------------
@pytest.fixture
def run(tmp_path):
    with launch(tmp_path / "run", "") as run:
        pass
    return run


def test_a_stage_is_bound_to_its_fields(run):
    run.claim("concepts", {"eta": 0.05, "words": ("a", "b")}, has_results=False)
    assert run.state["stages"] == {"concepts": {"eta": 0.05, "words": ["a", "b"]}}
    run.claim("concepts", {"words": ["a", "b"], "eta": 0.05}, has_results=True)
    run.claim("other", {"x": 1}, has_results=True)
    assert set(run.state["stages"]) == {"concepts", "other"} and run.state["versions"] == versions()


def test_exactly_the_differing_fields_are_listed(run):
    run.claim("concepts", {"eta": 0.05, "top_k": 10, "gone": "x", "same": 1}, has_results=False)
    before = (run.root / "run.json").read_bytes()
    with pytest.raises(RunMismatch) as refusal:
        run.claim("concepts", {"eta": 0.1, "top_k": 10, "new": "y", "same": 1}, has_results=True)
    assert "(eta: was 0.05, now 0.1; gone: was 'x', now 'absent'; new: was 'absent', now 'y')" in str(refusal.value)
    assert "stage 'concepts'" in str(refusal.value) and "--output" in str(refusal.value) and refusal.value.exit_code == 6
    assert (run.root / "run.json").read_bytes() == before


def test_a_stage_without_results_may_be_tried_with_anything(run):
    run.claim("concepts", {"eta": 0.05}, has_results=False)
    run.claim("concepts", {"eta": 0.1}, has_results=False)
    assert run.state["stages"]["concepts"] == {"eta": 0.1}


def test_claiming_the_same_writes_nothing(run, monkeypatch):
    run.claim("concepts", {"eta": 0.05}, has_results=False)
    monkeypatch.setattr(run_module, "publish", lambda *_: pytest.fail("written"))
    run.claim("concepts", {"eta": 0.05}, has_results=False)
    run.claim("concepts", {"eta": 0.05}, has_results=True)


def test_equal_fields_are_no_difference():
    refuse_difference("x", {"a": 1, "b": [2]}, {"b": [2], "a": 1})


RECORDS = {
    "text": b"no json",
    "binary": b"\xff\xfe",
    "list": b"[]",
    "foreign": b'{"project": "other"}',
    "stages are a list": b'{"stages": []}',
    "a stage is a number": b'{"stages": {"concepts": 3}}',
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_is_not_ours_is_refused_and_kept(tmp_path, kind):
    (tmp_path / "run.json").write_bytes(RECORDS[kind])
    with pytest.raises(DataError, match=r"run\.json is not a run record; name another run or folder"):
        with launch(tmp_path, "x = 1"):
            pytest.fail("entered")
    assert (tmp_path / "run.json").read_bytes() == RECORDS[kind] and not (tmp_path / "run.toml").exists()


# --- launches ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("there", ["absent", "deep", "empty", "after a kill"])
def test_a_new_run(tmp_path, there):
    root = tmp_path / "a" / "b" / "run" if there == "deep" else tmp_path / "run"
    if there in ("empty", "after a kill"):
        root.mkdir()
    if there == "after a kill":
        for leftover in (".lock", ".owner", ".run.json.part-123"):
            (root / leftover).write_text("process 1 on nowhere")
    with launch(root, "[data]\n") as run:
        assert is_run(root) and run.root == root and run.state == {"stages": {}, "versions": versions()}
    assert run.config_file.read_text() == "[data]\n" and not list(root.glob(".*part*")) and not (root / ".owner").exists()


def test_an_existing_run_takes_a_new_configuration_only_when_the_launch_ended_well(run):
    run.claim("concepts", {"a": 1}, has_results=False)
    run.config_file.write_text("old")
    with pytest.raises(DataError), launch(run.root, "broken"):
        raise DataError("it failed")
    with launch(run.root, "new") as again:
        assert again.state["stages"] == {"concepts": {"a": 1}} and again.config_file.read_text() == "old"
    assert again.config_file.read_text() == "new"
    with launch(run.root, "new") as again:
        again.remembers = "what it settled on"
    assert again.config_file.read_text() == "what it settled on"


@pytest.mark.parametrize("entry", ["photo.png", "run.toml", "sub/", ".git/", ".lockfile", "events/"])
def test_a_foreign_folder_is_refused_untouched(tmp_path, entry):
    root = tmp_path / "mine"
    root.mkdir()
    (root / entry).mkdir() if entry.endswith("/") else (root / entry).write_text("precious")
    before = names(tmp_path)
    with pytest.raises(RunMismatch, match="exists and is not a dogfast run; choose another --output") as refusal:
        with launch(root, ""):
            pytest.fail("entered")
    assert refusal.value.exit_code == 6 and names(tmp_path) == before


def test_a_file_is_no_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunMismatch, match="file exists and is not a dogfast run"):
        with launch(tmp_path / "file", ""):
            pytest.fail("entered")
    with pytest.raises(EnvironmentFault, match=r"cannot write in .*file/run"):
        with launch(tmp_path / "file" / "run", ""):
            pytest.fail("entered")


def fail_in(root, error=None, prepare=lambda run: None):
    with pytest.raises(type(error or UsageError())):
        with launch(root, "x") as run:
            prepare(run)
            raise error or UsageError("no")


def test_a_new_run_whose_first_stage_fails_is_removed(tmp_path):
    fail_in(tmp_path / "runs" / "shapes", prepare=lambda run: publish(run.events(), "{}\n"))
    assert names(tmp_path) == []


def test_folders_that_were_there_stay(tmp_path):
    (tmp_path / "runs" / "shapes").mkdir(parents=True)
    fail_in(tmp_path / "runs" / "shapes")
    assert names(tmp_path) == ["runs", "runs/shapes"]


def test_a_neighbour_made_meanwhile_stays(tmp_path):
    fail_in(tmp_path / "runs" / "a", prepare=lambda run: (run.root.parent / "b").mkdir())
    assert names(tmp_path) == ["runs", "runs/b"]


@pytest.mark.parametrize("left", ["classifiers/ce/model.safetensors", "notes.txt", "concepts/anchors.jsonl"])
def test_a_run_that_holds_anything_is_kept(tmp_path, left):
    fail_in(tmp_path / "run", prepare=lambda run: publish(run.root / left, "work"))
    assert (tmp_path / "run" / left).read_text() == "work" and is_run(tmp_path / "run")


def test_a_run_with_a_bound_stage_is_kept(tmp_path):
    fail_in(tmp_path / "run", prepare=lambda run: run.claim("concepts", {"a": 1}, has_results=False))
    assert Run(tmp_path / "run").state["stages"] == {"concepts": {"a": 1}}


def test_an_existing_run_is_never_removed(run):
    before = (run.root / "run.json").read_bytes()
    fail_in(run.root)
    assert is_run(run.root) and (run.root / "run.json").read_bytes() == before and run.config_file.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), AssertionError()])
def test_other_ends_keep_the_run_and_free_it(tmp_path, error):
    fail_in(tmp_path / "run", error)
    with launch(tmp_path / "run", ""):
        assert is_run(tmp_path / "run")


def test_the_first_error_is_the_one_that_is_told(tmp_path):
    with pytest.raises(DogfastError, match="the cause"):
        with launch(tmp_path / "run", "") as run:
            run.root.joinpath("events").symlink_to(tmp_path)
            raise DataError("the cause")


def test_open_run(tmp_path, run):
    assert open_run(run.root).root == run.root
    with pytest.raises(RunMismatch, match="gone does not exist"):
        open_run(tmp_path / "gone")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunMismatch, match=r"folder is not a dogfast run \(it has no run\.json\)"):
        open_run(tmp_path / "folder")


# --- one owner --------------------------------------------------------------------------------------------------
HOLD = """
import sys, time
from pathlib import Path
from dogfast.run import launch
with launch(Path(sys.argv[1]), ""):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the run ``tmp_path / "run"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill(), process.communicate()


def test_a_run_in_use_names_its_owner(tmp_path, holder):
    for _ in range(2):
        with pytest.raises(RunMismatch, match=rf"run is in use by process {holder.pid} on \S+; wait for it") as refusal:
            with launch(tmp_path / "run", ""):
                pytest.fail("entered")
    assert refusal.value.exit_code == 6 and is_run(tmp_path / "run")
    holder.communicate("")
    with launch(tmp_path / "run", ""):
        pass


def test_a_killed_owner_frees_the_run(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / ".owner").exists(), "it had no time to clean up"
    with launch(tmp_path / "run", "") as run:
        assert (run.root / ".owner").read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_an_owner_that_does_not_say_who_it_is(tmp_path, content):
    with exclusive(tmp_path):
        (tmp_path / ".owner").unlink() if content is None else (tmp_path / ".owner").write_bytes(content)
        with pytest.raises(RunMismatch, match="in use by another process;"):
            with exclusive(tmp_path):
                pytest.fail("entered")


def test_the_run_is_freed_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with exclusive(tmp_path):
            raise ZeroDivisionError
    with exclusive(tmp_path):
        pass
    assert not (tmp_path / ".owner").exists()


# --- places -----------------------------------------------------------------------------------------------------
def test_default_places(monkeypatch, tmp_path):
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    expected = {
        "shapes": "shapes",
        "../x/birds/": "birds",
        "/data/cars.tar": "cars.tar",
        ".": "pets",
        "./": "pets",
        "..": tmp_path.name,
    }
    for classes, name in expected.items():
        assert default_place(classes) == Path("runs") / name


def test_the_newest_run(tmp_path):
    assert newest_run(tmp_path) is None and newest_run(tmp_path / "gone") is None
    for age, name in enumerate(("new", "middle", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({}))
        os.utime(tmp_path / name / "run.json", (1000 - age, 1000 - age))
    (tmp_path / "no run").mkdir()
    assert newest_run(tmp_path) == tmp_path / "new"


def test_paths_of_a_run():
    run = Run(Path("r"))
    places = [
        run.plan("dog"),
        run.outliers("dog"),
        run.classifier("oe"),
        run.evaluation("oe"),
        run.events(2),
        run.anchors,
        run.report,
    ]
    assert [str(place) for place in places] == [
        "r/plan/dog", "r/outliers/dog", "r/classifiers/oe", "r/evaluation/oe", "r/events/2.jsonl", "r/concepts/anchors.jsonl",
        "r/report/index.html",
    ]  # fmt: skip
