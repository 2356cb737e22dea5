"""Why a word is an anchor or is not: what it means, the rule that keeps it out, and what a run found of it."""

from __future__ import annotations

from typing import Any

from dogfast.config import RunConfig
from dogfast.data.catalogue import class_names_of
from dogfast.data.nouns import folded
from dogfast.data.vocabulary import choose_vocabulary, explain_word
from dogfast.errors import DataError
from dogfast.run import Run, has_fields, read_jsonl

TEXTS, NUMBERS = ("word", "class_name", "reason"), ("distance", "bound", "limit", "text_cosine")
FIELDS = dict.fromkeys(TEXTS, str) | dict.fromkeys(NUMBERS, int | float)


def explain(words: list[str], config: RunConfig, run: Run) -> list[dict[str, Any]]:
    """For each word its senses, the rule against it (empty: none), and its rows of Eq. 5 and 6 where the run has them."""
    source = choose_vocabulary(config.concepts.vocabulary, config.data.classes).value
    names = class_names_of(config.data)
    found = _candidates(run) if run.candidates.exists() else []
    return [
        explain_word(word, source, names, config)
        | {"searched": bool(found), "rows": [row for row in found if folded(row["word"]) == folded(word)]}
        for word in words
    ]


def _candidates(run: Run) -> list[dict[str, Any]]:
    """Every candidate of the run; :class:`DataError` names the first that `dogfast anchors` did not write."""
    found = read_jsonl(run.candidates)
    for number, row in enumerate(found, 1):
        if not has_fields(row, FIELDS) or not isinstance(row.get("kept"), bool):
            raise DataError(f"{run.candidates}: candidate {number} is none; remove the file and run `dogfast anchors` again")
    return found
