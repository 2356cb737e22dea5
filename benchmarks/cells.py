"""The README's tables, cell by cell."""

from dogfast.workflows.comparison.layout import CONTROL_NOTE, by_every_score, by_own_score, notes
from dogfast.workflows.comparison.markdown import pipe_table


def papers_tables(result: dict) -> str:
    """The papers' tables that a benchmark holds, every classifier under every score, and how to read them."""
    tables = result["tables"]
    own = [f"Table {number}. {table['title']}:\n\n{pipe_table(by_own_score(table))}" for number, table in tables.items()]
    every = pipe_table(by_every_score({"rows": [row for table in tables.values() for row in table["rows"]]}))
    return "\n\n".join([*own, "Averages under every score:", every, _needed(next(iter(tables.values())))])


def _needed(table: dict) -> str:
    """Of the notes: the convention, what is judged, and whose figures are published."""
    first, second, *others = notes(table)
    control = [note for note in others if note == CONTROL_NOTE]
    return " ".join([first, second, *control, *(others[-1:] if any(row["published"] for row in table["rows"]) else [])])


def digits(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def in_order(table: dict) -> dict[str, dict]:
    return {name: table["rows"][name] for name in table["order"]}


def pipes(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)])


def under_each(scores: list[str], cell) -> str:
    return ", ".join(map(cell, scores))


def seeds_of(result: dict) -> str:
    return ", ".join(map(str, result["seeds"]))


def by_seed(judged: dict) -> str:
    return f"{judged['mean']:.1f} ({', '.join(f'{value:.1f}' for value in judged['by_seed'])})"


def verdicts(name: str, row: dict, scores: list[str]) -> str:
    return under_each(scores, lambda s: "–" if row["judged"][s]["baseline"] == name else row["judged"][s]["verdict"])


def control_and_accuracy(row: dict, scores: list[str]) -> list[str]:
    return [under_each(scores, lambda s: f"{row['artefact_control'][s]:.0f} %"), f"{row['id_accuracy']:.2f}"]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def signed(share: float | None) -> str:
    return "–" if not share else f"{100 * share:+.0f} %"


def mean_of(found: list[dict], key: str) -> float:
    return sum(each[key] for each in found) / len(found)
