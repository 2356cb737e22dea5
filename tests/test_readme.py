"""Every figure of the README comes from a result file."""

import re
from pathlib import Path

import readme as tables

ROOT = Path(__file__).parents[1]


def test_figures_are_those_of_the_results():
    readme = (ROOT / "README.md").read_text()
    assert tables.render(readme) == readme


def typed_lines():
    """Lines of the README's fenced blocks that begin with the command."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("dogfast ")]
    assert len(lines) > 5
    return lines


def test_commands_and_flags_of_the_readme_exist():
    from typer.main import get_command

    from dogfast.cli.main import app

    for line in typed_lines():
        command = get_command(app).commands[line.split()[1]]
        known = {name for p in command.params for name in p.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line
