"""The wheel holds every package of the house: a folder that is not listed is missing where nobody edits in place."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = [(f"dogfast.{top}" if top != "dogfast" else top, ROOT / top) for top in ("dogfast", "engines", "cli")]
    found = {
        ".".join((name, *path.parent.relative_to(folder).parts))
        for name, folder in folders
        for path in folder.rglob("__init__.py")
    }
    assert listed == found
