"""Tables as Markdown."""

from __future__ import annotations

import re
from typing import Any

from dogfast.workflows.comparison.layout import Layout, Line, by_every_score, by_own_score, notes


def markdown(table: dict[str, Any]) -> str:
    """A table of `build_table`: every row under its own score, every classifier under each, and notes."""
    title = f"# Table {table['table']}. {table['title']}: {escaped(table['classes'])}"
    told = "\n".join(f"- {_in_one_line(note)}" for note in notes(table))
    return (
        "\n\n".join(
            [title, pipe_table(by_own_score(table)), told, "Averages under every score:", pipe_table(by_every_score(table))]
        )
        + "\n"
    )


def pipe_table(layout: Layout) -> str:
    """One table of pipes."""
    heads = [*layout.names, *(f"{name}: FPR95 / AUROC" for name in layout.pairs), *layout.tail]
    lines = [heads, ["---"] * len(heads), *(_cells(line, len(heads)) for line in layout.lines)]
    return "\n".join(f"| {' | '.join(map(escaped, cells))} |" for cells in lines)


def escaped(text: str) -> str:
    """``text`` as one cell: no bar ends it, no line break tears the table, and no tag is one."""
    return re.sub(r"([\\|<])", r"\\\1", _in_one_line(text))


def _cells(line: Line, width: int) -> list[str]:
    cells = [*line.names, *([line.remark] if line.remark else [" / ".join(pair) for pair in line.pairs]), *line.tail]
    cells += [""] * (width - len(cells))
    return [f"*{cell}*" if cell and line.published else cell for cell in cells]


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
