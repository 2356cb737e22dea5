"""`dogfast compare`, whole, in little: every classifier of Tables 1, 2 and 4 on the embedded world."""

import csv
import json
import sys
from contextlib import chdir
from unittest.mock import patch

import pytest

from dogfast.cli.main import main
from dogfast.workflows.comparison.rows import TABLES

LITTLE = (
    "compare --classes shapes --id-images 64 --m 3 --anchor-source clip-mean --steps 2 --pretrain-epochs 1 --epochs 1 "
    "--id-synthetic 0 --ood-images 40 --ood held-out-shapes --ood noise --virtual-queue 4 --virtual-draws 50 --backend torch --json"
)


def typed(place, capsys):
    with chdir(place), patch.object(sys, "argv", ["dogfast", *LITTLE.split()]), pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    return json.loads(said.out.splitlines()[-1]), said.err


@pytest.mark.slow
def test_every_row_of_every_table_stands(tmp_path, capsys, few_test_images):
    answer, _ = typed(tmp_path, capsys)
    assert answer["failed"] == [] and answer["not_run"] == {} and list(answer["tables"]) == ["1", "2", "4"]
    for number, files in answer["tables"].items():
        table = json.loads((tmp_path / files["json"]).read_text())
        assert [row["method"] for row in table["rows"]] == [row.method for row in TABLES[int(number)].rows]
        assert {row["status"] for row in table["rows"]} == {"ok"} and not any(row["published"] for row in table["rows"])
        lines = list(csv.DictReader((tmp_path / files["csv"]).read_text().splitlines()))
        assert {line["method"] for line in lines} == {row["method"] for row in table["rows"]}
        assert "held-out-shapes" in (tmp_path / files["md"]).read_text()
        assert r"\toprule" in (tmp_path / files["tex"]).read_text()
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/shapes/classifiers/*/model.safetensors")}
    assert len(trained) == 22
    again, said = typed(tmp_path, capsys)
    assert "22 of 22 classifiers stand" in said and again["failed"] == []
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
