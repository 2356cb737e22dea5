"""Plans and conditions made by a stranger who means harm: refused by name, before memory is taken or anything is written."""

import json
import runpy
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.errors import DataError, UsageError
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.verify import verify
from dogfast.synthesis.stage import generate
from dogfast.workflows.shards import repair_shards, verify_shards

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
LITTLE_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan") / "run"
    paint(root)
    return root


@pytest.fixture
def root(painted, tmp_path):
    return Path(shutil.copytree(painted, tmp_path / "run"))


def paint(root, **synthesis):
    config = fakes.config(**synthesis)
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events())


def seen(root):
    kept = [path for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.read_bytes() for path in kept}


PLANS = {
    "10^12 images of one condition": {"counts": [[0, 0, 10**12]]},
    "10^400 images": {"counts": [[0, 0, 10**400]]},
    "many in all": {"counts": [[row, 0, 10**7] for row in range(6)]},
    "more shards than keys": {"counts": [[0, 0, 100_001]], "samples_per_shard": 1},
    "a shard beyond any": {"first_shard": 10**9},
    "an index beyond any": {"counts": [[0, 10**12, 1]]},
    "a condition beyond any": {"counts": [[10**12, 0, 3]]},
    "a number of a million digits": {"counts": "9" * 10**6},
    "nested": {"counts": [[[0]]]},
    "no list": {"counts": {"0": [0, 3]}},
    "truth for numbers": {"counts": [[True, False, True]]},
}


@pytest.mark.parametrize("name", PLANS)
def test_a_hostile_plan_is_refused_before_memory_is_taken(root, name):
    path = root / "plan" / "dog" / "000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | PLANS[name]))
    before = seen(root)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"plan/dog"):
            paint(root)
        assert tracemalloc.get_traced_memory()[1] < LITTLE_BYTES
    finally:
        tracemalloc.stop()
    assert seen(root) == before


@pytest.mark.parametrize(
    "flags", [{"m": 10**12}, {"m": 10**8, "samples_per_shard": 10_000}, {"m": 50_000, "samples_per_shard": 1}]
)
def test_too_much_is_refused_by_its_flag_before_anything_is_planned(tmp_path, flags):
    with pytest.raises(UsageError, match=rf"--m {flags['m']} is too much.*--samples-per-shard"):
        paint(tmp_path / "run", **flags)
    assert not (tmp_path / "run" / "plan").exists()


CONDITIONS = {
    "a table outside": {"text": [[{"table": "../../secret", "row": 0}, 1.0]]},
    "an absolute table": {"text": [[{"table": "/etc/passwd", "row": 0}, 1.0]]},
    "a row beyond any": {"text": [[{"table": "words", "row": 10**30}, 1.0]]},
    "half a character": {"class_name": "\ud800"},
    "an infinite weight": {"text": [["a", float("inf")]]},
    "a class that is a path's list": {"class_name": ["../x"]},
    "a start far out": {"start": [["x", 1.0]], "start_t": 10**12},
    "no text": {"text": []},
    "a class of another kind": {"cls": 1e300},
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_hostile_conditions_are_refused(tmp_path, name):
    root, config = tmp_path / "run", fakes.config()
    with fakes.installed(), launch(root, config.to_toml()) as run:
        rows = fakes.conditions()
        run.concepts.mkdir()
        run.conditions.write_text(
            "".join(json.dumps(row | (CONDITIONS[name] if not n else {})) + "\n" for n, row in enumerate(rows))
        )
        with pytest.raises(DataError, match=r"conditions\.jsonl|words\.safetensors"):
            generate(config, run, Events())
    assert not (root / "outliers").exists() or not fakes.tars(root / "outliers" / "dog")


RECORDS = {
    "a tar outside": {"tar": "../../../precious.tar"},
    "an absolute tar": {"tar": "/tmp/precious.tar"},
    "another's number": {"shard": 10**30},
    "10^12 samples": {"samples": 10**12},
    "a size beyond any": {"bytes": 10**30},
    "a digest that is a list": {"sha256": [1]},
}


@pytest.mark.parametrize("name", RECORDS)
def test_hostile_records_are_named_and_repair_touches_nothing_else(root, name):
    precious = root.parent / "precious.tar"
    precious.write_bytes(b"years of work")
    path, whole = root / "outliers" / "dog" / "records" / "00001.json", fakes.tars(root / "outliers" / "dog")
    path.write_text(json.dumps(json.loads(path.read_text()) | RECORDS[name]))
    with launch(root, "") as run, fakes.installed():
        (fault,) = verify_shards(run, "", Events())["faults"]["dog"]
        assert fault["record"] == "00001.json"
        repair_shards(fakes.config(), run, Events(), "")
    assert precious.read_bytes() == b"years of work"
    assert fakes.tars(root / "outliers" / "dog") == whole and not any(verify(root / "outliers" / "dog"))
