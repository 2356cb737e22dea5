"""A folder of several files is whole or absent."""

import pytest

from dogfast.errors import EnvironmentFault, UsageError
from dogfast.folders import whole_folder

MARK = "mark.json"


def ours(folder):
    return (folder / MARK).is_file()


def fill(place, content="new"):
    with whole_folder(place, ours) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "x").write_text(content)
        (folder / MARK).write_text("{}")


def content(root):
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_it_stands_when_all_went_well(tmp_path):
    fill(tmp_path / "deep" / "out")
    assert content(tmp_path) == {"deep/out/inner/x": "new", f"deep/out/{MARK}": "{}"}


def test_nothing_is_there_before_and_nothing_is_left_of_what_failed(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", ours) as folder:
        (folder / "x").write_text("x")
        assert not (tmp_path / "out").exists()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_former_one_is_replaced_whole_or_kept(tmp_path):
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "old only").write_text("x")
    with pytest.raises(EnvironmentFault, match=r"cannot write .*out: full"), whole_folder(tmp_path / "out", ours):
        raise OSError(28, "full")
    assert (tmp_path / "out" / "inner" / "x").read_text() == "old"
    fill(tmp_path / "out")
    assert content(tmp_path) == {"out/inner/x": "new", f"out/{MARK}": "{}"}


def test_a_former_one_comes_back_when_it_cannot_be_replaced(tmp_path, monkeypatch):
    import os

    fill(tmp_path / "out", "old")
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return replace(source, target)

    monkeypatch.setattr("dogfast.folders.os.replace", failing)
    with pytest.raises(EnvironmentFault):
        fill(tmp_path / "out")
    assert content(tmp_path) == {"out/inner/x": "old", f"out/{MARK}": "{}"}


@pytest.mark.parametrize("moment", ["while it was made", "between the two renames", "before the former one was removed"])
def test_what_a_killed_process_left_is_mended(tmp_path, moment):
    fill(tmp_path / "out", "old")
    if moment == "while it was made":
        (tmp_path / ".out.making" / "inner").mkdir(parents=True)
    if moment == "between the two renames":
        (tmp_path / "out").rename(tmp_path / ".out.former")
        (tmp_path / ".out.making").mkdir()
    if moment == "before the former one was removed":
        (tmp_path / ".out.former").mkdir()
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", ours) as folder:
        assert not list(folder.iterdir())
        raise ZeroDivisionError
    assert content(tmp_path) == {"out/inner/x": "old", f"out/{MARK}": "{}"}
    fill(tmp_path / "out")
    assert content(tmp_path)["out/inner/x"] == "new" and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_is_replaced_unless_that_is_said(tmp_path):
    fill(tmp_path / "out", "old")
    with pytest.raises(UsageError), whole_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "inner" / "x").read_text() == "old"


def test_an_empty_folder_is_taken_and_anything_else_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for name in ("full", "file", "dangling"):
        with pytest.raises(UsageError, match=f"{name} holds something else"):
            fill(tmp_path / name)
    assert (tmp_path / "full" / "thesis.txt").exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFault, match="choose another --output"):
        fill(tmp_path / "file" / "out")
