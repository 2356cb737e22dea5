"""`dogfast compare`, whole, in little: every classifier of Tables 1, 2 and 4 on the embedded world."""

import csv
import json
import subprocess
import sys

import pytest

from dogfast.workflows.comparison.rows import TABLES
from tests.environment import ENVIRONMENT

LITTLE = (
    "--id-images 64 --m 3 --inversion-steps 2 --steps 2 --pretrain-epochs 1 --epochs 1 --id-synthetic 0.1 --ood-images 40 "
    "--virtual-queue 4 --virtual-draws 50 --ood held-out-shapes --ood noise"
)


def typed(place):
    done = subprocess.run(
        [sys.executable, "-m", "dogfast", "compare", "--classes", "shapes", *LITTLE.split(), "--json"],
        cwd=place,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_every_row_of_every_table_stands(tmp_path):
    answer, _ = typed(tmp_path)
    assert answer["failed"] == [] and answer["not_run"] == {} and list(answer["tables"]) == ["1", "2", "4"]
    run = tmp_path / answer["run"]
    for number, files in answer["tables"].items():
        table = json.loads((tmp_path / files["json"]).read_text())
        assert [row["method"] for row in table["rows"]] == [row.method for row in TABLES[int(number)].rows]
        assert {row["status"] for row in table["rows"]} == {"ok"} and not any(row["published"] for row in table["rows"])
        lines = list(csv.DictReader((tmp_path / files["csv"]).open()))
        assert {line["method"] for line in lines} == {row["method"] for row in table["rows"]}
        assert "held-out-shapes" in (tmp_path / files["md"]).read_text()
        assert r"\toprule" in (tmp_path / files["tex"]).read_text()
    trained = {path: path.stat().st_mtime_ns for path in run.glob("classifiers/*/model.safetensors")}
    assert len(trained) == 22
    again, said = typed(tmp_path)
    assert "22 of 22 classifiers stand" in said and again["failed"] == []
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
