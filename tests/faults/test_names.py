"""Class names of any kind: data in the json, and never a part of a key, a file or a folder."""

import json
import re
import runpy
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import launch, write_jsonl
from dogfast.shards.reader import MEMBER, load_outliers, read_records
from dogfast.shards.verify import verify
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
FILES = re.compile(
    r"run\.(toml|json)|\.lock|concepts/conditions\.jsonl|plan/dog/\d{3}\.json|"
    r"outliers/dog/(README\.md|train-\d{5}\.tar|records/\d{5}\.json)"
)
WEIRD = [
    *("", " ", ".", "..", "/", "\\", "../../x", "/etc/passwd", "a/b", "a.b.c", "C:\\x", "CON", "~", "$HOME", "{}", "%s", "*"),
    *("\0", "\n", "\r\n", "\u202e", "\u2028", "é", "e\u0301", "日本", "🦊", "'", '"', "`rm`", "-rf", "--m", "x" * 5000),
]


def conditions(names):
    return [
        {"cls": y, "class_name": name, "strategy": "dog", "anchor": name, "text": [[f"a photo of a {name}", 1.0]]}
        for y, name in enumerate(names)
    ]


def paint(root, names):
    config = fakes.config(m=1, samples_per_shard=5, rows=5)
    with fakes.installed(), launch(root, config.to_toml()) as run:
        write_jsonl(run.conditions, conditions(names))
        return generate(config, run, Events())


@settings(max_examples=3, deadline=None, database=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=8, unique=True))
@example(WEIRD)
def test_names_are_data_and_nothing_else(names):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "run"
        paint(root, names)
        shown = [path.relative_to(place).as_posix() for path in Path(place).rglob("*") if path.is_file()]
        assert all(name.startswith("run/") and FILES.fullmatch(name.removeprefix("run/")) for name in shown), shown
        folder = root / "outliers" / "dog"
        assert not any(verify(folder)) and sum(record["samples"] for record in read_records(folder)) == len(names)
        outliers = load_outliers(folder, 16)
        assert [facts["class_name"] for facts in outliers.facts] == names
        assert outliers.keys == tuple(f"{n // 5:05d}{n % 5:04d}" for n in range(len(names)))
        assert all(MEMBER.fullmatch(f"{key}.png") for key in outliers.keys)
        assert all(json.loads(json.dumps(facts)) == facts for facts in outliers.facts)


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="line 3: the same class and text as line 1"):
        paint(tmp_path / "run", ["a", "b", "a"])
