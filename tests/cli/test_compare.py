"""`dogfast compare` as it is typed: what reaches the workflow, what is answered, and with which code it ends."""

import json
import sys
from contextlib import chdir
from unittest.mock import patch

import pytest

from dogfast.cli.main import main
from dogfast.workflows.comparison.settings import SETTINGS

FAILED = [{"seed": 0, "name": "csi", "reason": "no memory"}]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command asks of the workflow, which makes one table and fails at ``failed``."""
    found = {"failed": []}

    def work(config, run, events, request):
        found.update(config=config, request=request, root=run.root)
        table = tmp_path / "table-4.md"
        table.write_text("# Table 4.\n")
        return {
            "run": str(run.root),
            "seconds": 1.0,
            "tables": {"4": {"md": str(table)}},
            "sweeps": {},
            "failed": found["failed"],
        }

    monkeypatch.setattr("dogfast.workflows.compare.compare", work)
    return found


def typed(cwd, *words):
    """The exit code."""
    with chdir(cwd), patch.object(sys, "argv", ["dogfast", "compare", *words]), pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_flags_reach_the_request(tmp_path, asked, capsys):
    words = ["--classes", "shapes", "--seeds", "0,2", "--tables", "1,4", "--auxiliary", "noise", "--sweep", "m=1,2", "--m", "7"]
    assert typed(tmp_path, *words, "--scores", "msp", "--json") == 0
    request, config = asked["request"], asked["config"]
    assert (request.seeds, request.tables, request.auxiliary) == ((0, 2), (1, 4), "noise")
    assert (request.sweep, request.scores, config.synthesis.m) == (("m=1,2",), ("msp",), 7)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["tables"]["4"]["md"].endswith("table-4.md")


def test_a_new_run_begins_with_the_settings_of_a_comparison(tmp_path, asked, capsys):
    assert typed(tmp_path, "--quiet") == 0
    assert str(asked["root"]) == "runs/shapes" and asked["config"].synthesis.m == SETTINGS["shapes"]["synthesis"]["m"]
    assert capsys.readouterr().out.startswith("# Table 4.\n")
    assert typed(tmp_path, "mine/new", "--classes", "shapes", "--quiet") == 0
    assert str(asked["root"]) == "mine/new" and asked["config"].synthesis.m == SETTINGS["shapes"]["synthesis"]["m"]


def test_an_existing_run_keeps_its_settings(tmp_path, asked):
    typed(tmp_path, "--m", "9", "--id-images", "99", "--quiet")
    assert typed(tmp_path, "--quiet") == 0
    assert (asked["config"].synthesis.m, asked["config"].data.id_images) == (9, 99)


def test_failed_cells_end_with_their_own_code_after_the_answer(tmp_path, asked, capsys):
    asked["failed"] = FAILED
    assert typed(tmp_path, "--json", "--quiet") == 5
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["failed"] == FAILED
    assert said.err == "error: 1 classifiers failed: csi (no memory); the others stand\n"


@pytest.mark.parametrize(
    "words, code, named",
    [
        (["--seeds", "a"], 2, "--seeds 'a'"),
        (["--tables", "7"], 2, "--tables '7'"),
        (["--tables", "3"], 2, "--tables 3 is of ImageNet"),
        (["--sweep", "x=1"], 2, "--sweep 'x' is unknown"),
        (["--sweep", "m=0"], 2, "--sweep m=0: --m 0"),
        (["--sweep", "eta=two"], 2, "--sweep eta=two"),
        (["--scores", "nonesuch"], 2, "--scores 'nonesuch'"),
        (["--auxiliary", "nonesuch"], 4, "--auxiliary 'nonesuch'"),
        (["--auxiliary", "dog"], 2, "--auxiliary dog"),
        (["--objective", "oe"], 2, "--objective"),
        (["--seed", "1"], 2, "--seed"),
        (["no-run-here"], 6, "no-run-here"),
        (["--classes", "cifar10"], 4, "--data places365=PATH"),
        (["--ood", "nonesuch"], 4, "nonesuch"),
    ],
)
def test_mistakes_get_one_sentence_and_leave_nothing(tmp_path, capsys, words, code, named):
    assert typed(tmp_path, *words) == code
    said = capsys.readouterr().err
    assert named in said and "Traceback" not in said
    assert not list(tmp_path.rglob("*"))


def test_a_plan_lists_every_cell(tmp_path, capsys, few_test_images):
    assert typed(tmp_path, "--dry-run", "--tables", "4", "--id-images", "48", "--quiet") == 0
    said = capsys.readouterr().out
    assert "\n  seed 0, name ce, state to be trained, images " in said and "name poem+renders" in said
    assert "images to paint: " in said and not list(tmp_path.rglob("*"))
