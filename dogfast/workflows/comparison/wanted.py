"""Which classifier stands behind every row, and which rows have none."""

from __future__ import annotations

from dataclasses import replace

from dogfast.config import RunConfig
from dogfast.config.detection import SCORES
from dogfast.data.catalogue import load_id
from dogfast.run import Run
from dogfast.training.names import source_name
from dogfast.workflows.comparison.cells import Cell
from dogfast.workflows.comparison.passes import at_equal_passes
from dogfast.workflows.comparison.request import Comparison
from dogfast.workflows.comparison.rows import AUXILIARY, BASELINE, DOG, POST_HOC, REJECTION, TABLES, Row, scores_of
from dogfast.workflows.comparison.settings import AUXILIARY_OF


def rows_of(table: int, request: Comparison) -> tuple[Row, ...]:
    """The rows of a table. Where ``--scores`` leaves out the score that judges a training, the first of those judges it."""
    known = request.scores or SCORES
    return tuple(
        row if row.group == POST_HOC or row.score in (*known, REJECTION) else replace(row, score=known[0])
        for row in TABLES[table].rows
    )


def rows_in(tables: tuple[int, ...], request: Comparison) -> list[Row]:
    """The rows of several tables, one table after the other."""
    return [row for table in tables for row in rows_of(table, request)]


def auxiliary_of(config: RunConfig, request: Comparison) -> str:
    """The auxiliary images: those of ``--auxiliary``, else the classes' own, else none."""
    return request.auxiliary or AUXILIARY_OF.get(config.data.classes, "")


def outliers_of(row: Row, config: RunConfig, request: Comparison) -> str:
    """What ``row`` learns from, as people call it; nothing where it learns from no outliers."""
    named = auxiliary_of(config, request) if row.outliers == AUXILIARY else row.outliers
    return source_name(named) if named else ""


def why_not(row: Row, config: RunConfig, request: Comparison) -> str:
    """Why nothing is to be trained for ``row``; empty where something is."""
    if row.outliers == AUXILIARY and not auxiliary_of(config, request):
        return f"there are no auxiliary images for {config.data.classes}; name some with --auxiliary PATH"
    if row.score not in (*(request.scores or SCORES), REJECTION):
        return f"--scores leaves out {row.score}"
    return ""


def trained_as(row: Row | None, config: RunConfig, request: Comparison) -> RunConfig:
    """What the classifier of ``row`` is trained and evaluated with, but for equal images; of no row the baseline's."""
    objective = row.objective if row else BASELINE
    named = auxiliary_of(config, request) if row and row.outliers == AUXILIARY else row and row.outliers
    scores = scores_of(objective, request.scores or SCORES)
    chosen = {"training": {"objective": objective, "outliers": named or DOG}, "detection": {"scores": scores}}
    return config.with_values(chosen, "compare")


def cells_of(rows: list[Row], config: RunConfig, run: Run, request: Comparison) -> dict[str, Cell]:
    """Every classifier of ``rows`` by its name, each once and at equal images, the baseline first."""
    id_images = len(load_id(config.data).train)
    wanted = [None, *(row for row in rows if not why_not(row, config, request))]
    cells = [Cell(at_equal_passes(trained_as(row, config, request), id_images), run) for row in wanted]
    return {cell.name: cell for cell in cells}
