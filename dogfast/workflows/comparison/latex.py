"""Tables as LaTeX, for the package booktabs."""

from __future__ import annotations

from typing import Any

from dogfast.reporting.figures import MINUS
from dogfast.workflows.comparison.layout import Layout, Line, by_every_score, by_own_score, notes

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': "''", "±": r"$\pm$", MINUS: "$-$", "–": "--",
}  # fmt: skip


def latex(table: dict[str, Any]) -> str:
    """A table of `build_table` as two tables: every row under its own score, and every classifier under each."""
    own = _environment(by_own_score(table), f"{table['title']}: {table['classes']}. " + " ".join(notes(table)))
    return own + "\n" + _environment(by_every_score(table), f"{table['title']}: averages under every score.")


def escaped(text: str) -> str:
    """``text`` with nothing left in it that LaTeX would take for a command; a name's backticks are left out."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.replace("`", "").split()))


def _environment(layout: Layout, caption: str) -> str:
    columns = "l" * len(layout.names) + "rr" * len(layout.pairs) + "r" * len(layout.tail)
    before, after = "& " * len(layout.names), " &" * len(layout.tail)
    over = " & ".join(rf"\multicolumn{{2}}{{c}}{{{escaped(name)}}}" for name in layout.pairs)
    first = len(layout.names) + 1
    rules = " ".join(rf"\cmidrule(lr){{{first + 2 * at}-{first + 2 * at + 1}}}" for at in range(len(layout.pairs)))
    heads = [*map(escaped, layout.names), *([r"FPR95$\downarrow$", r"AUROC$\uparrow$"] * len(layout.pairs))]
    lines = [
        r"\begin{table}[t]", r"\centering", rf"\caption{{{escaped(caption)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        rf"{before}{over}{after} \\", rules, " & ".join([*heads, *map(escaped, layout.tail)]) + r" \\", r"\midrule",
        *(_line(line, len(columns)) for line in layout.lines), r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _line(line: Line, width: int) -> str:
    cells = [*map(escaped, line.names)]
    if line.remark:
        cells.append(rf"\multicolumn{{{width - len(cells)}}}{{l}}{{{escaped(line.remark)}}}")
    else:
        cells += [escaped(value) for pair in line.pairs for value in pair] + [*map(escaped, line.tail)]
    return " & ".join(rf"\textit{{{cell}}}" if cell and line.published else cell for cell in cells) + r" \\"
