"""Conditions are edited by people: every mistake is named by file, line and field."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.errors import DataError
from dogfast.synthesis.conditions import read_conditions

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_the_anchors_wrote_is_read(tmp_path):
    assert read_conditions(write(tmp_path / "c.jsonl", fakes.conditions()), "dog") == fakes.conditions()


@pytest.mark.parametrize(
    "change, field",
    [
        ({"cls": "0"}, "cls"),
        ({"cls": True}, "cls"),
        ({"cls": 1.0}, "cls"),
        ({"class_name": None}, "class_name"),
        ({"class_name": "\ud800"}, "class_name"),
        ({"strategy": 3}, "strategy"),
        ({"anchor": ["oval"]}, "anchor"),
        ({"anchor": "\udfff"}, "anchor"),
        ({"text": "a photo of an oval"}, "text"),
        ({"text": []}, "text"),
        ({"text": [["a"], ["b"]]}, "text"),
        ({"text": [["a", 1.0], ["b"]]}, "text"),
        ({"text": [["a", float("inf")]]}, "text"),
        ({"text": [[{"table": "../x", "row": 0}, 1.0]]}, "text"),
        ({"text": [[{"table": "boundary", "row": -1}, 1.0]]}, "text"),
        ({"text": [[{"table": "boundary"}, 1.0]]}, "text"),
        ({"text_noise": -0.1}, "text_noise"),
        ({"text_noise": "0.3"}, "text_noise"),
        ({"start": [], "start_t": 500}, "start"),
        ({"start": [["key"]], "start_t": 500}, "start"),
        ({"start": [["key", 1.0]]}, "start_t"),
        ({"start_t": 500}, "start_t"),
        ({"start": [["key", 1.0]], "start_t": 1000}, "start_t"),
        ({"start": [["key", 1.0]], "start_t": 0.5}, "start_t"),
        ({"guidance_scale": None}, "guidance_scale"),
        ({"text": [[3, 1.0]]}, "text"),
        ({"text": [["\ud800", 1.0]]}, "text"),
        ({"text": {"a": 1}}, "text"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_with_its_line(tmp_path, change, field):
    rows = fakes.conditions()
    rows[2] = rows[2] | change
    with pytest.raises(DataError, match=rf"c\.jsonl, line 3: '{field}'"):
        read_conditions(write(tmp_path / "c.jsonl", rows), "dog")


@pytest.mark.parametrize("field", ["cls", "class_name", "strategy", "anchor", "text"])
def test_a_missing_field_is_named(tmp_path, field):
    rows = fakes.conditions()
    del rows[0][field]
    with pytest.raises(DataError, match=rf"line 1: '{field}'"):
        read_conditions(write(tmp_path / "c.jsonl", rows), "dog")


def test_the_same_class_and_text_twice_would_paint_the_same_images(tmp_path):
    rows = fakes.conditions()
    with pytest.raises(DataError, match="line 7: the same class and text as line 2"):
        read_conditions(write(tmp_path / "c.jsonl", [*rows, rows[1] | {"anchor": "other"}]), "dog")


def test_one_text_may_serve_two_classes(tmp_path):
    rows = fakes.conditions()
    rows[1] |= {"text": rows[0]["text"]}
    assert len(read_conditions(write(tmp_path / "c.jsonl", rows), "dog")) == len(rows)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[1]\n", b"{\n", b"\xff\xfe\n", b"[" * 100_000, b"null\n"])
def test_a_file_that_holds_no_conditions_is_named(tmp_path, content):
    (tmp_path / "c.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"c\.jsonl"):
        read_conditions(tmp_path / "c.jsonl", "dog")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"c\.jsonl is missing"):
        read_conditions(tmp_path / "c.jsonl", "dog")


def test_a_file_without_the_strategy_is_named(tmp_path):
    with pytest.raises(DataError, match=r"c\.jsonl holds no condition of --strategy id-control"):
        read_conditions(write(tmp_path / "c.jsonl", fakes.conditions()), "id-control")


def test_line_numbers_are_those_of_the_file(tmp_path):
    rows = [fakes.conditions()[0] | {"strategy": "id-control"}, *fakes.conditions()]
    rows[3] = rows[3] | {"cls": None}
    with pytest.raises(DataError, match="line 4"):
        read_conditions(write(tmp_path / "c.jsonl", rows), "dog")


@pytest.mark.parametrize("field, values", [("guidance_scale", (1.0, 2.0)), ("start_t", (400, 500))])
def test_what_a_batch_shares_is_the_same_for_all(tmp_path, field, values):
    rows = fakes.conditions()
    for row, value in zip(rows, values * len(rows)):
        row |= {"start": [["k", 1.0]], "start_t": 500} | {field: value}
    with pytest.raises(DataError, match=f"conditions of dog differ in '{field}'"):
        read_conditions(write(tmp_path / "c.jsonl", rows), "dog")


def test_one_class_may_begin_at_many_images_under_one_prompt(tmp_path):
    base = fakes.conditions()[0] | {"start_t": 500}
    rows = [base | {"start": [[key, 1.0]]} for key in ("a", "b")]
    assert read_conditions(write(tmp_path / "c.jsonl", rows), "dog") == rows
    with pytest.raises(DataError, match="line 3: the same class and text as line 1"):
        read_conditions(write(tmp_path / "c.jsonl", [*rows, rows[0]]), "dog")
