"""Why a word is an anchor or is not: what it means, the rule that keeps it out, and what a run found of it."""

from __future__ import annotations

from typing import Any

from dogfast.config import RunConfig
from dogfast.data.catalogue import class_names_of
from dogfast.data.nouns import folded
from dogfast.data.vocabulary import choose_vocabulary, explain_word
from dogfast.run import Run, read_jsonl


def explain(words: list[str], config: RunConfig, run: Run) -> list[dict[str, Any]]:
    """For each word its senses, the rule against it (empty: none), and its rows of Eq. 5 and 6 where the run has them."""
    source = choose_vocabulary(config.concepts.vocabulary, config.data.classes).value
    names = class_names_of(config.data)
    found = read_jsonl(run.candidates) if run.candidates.exists() else []
    return [
        explain_word(word, source, names, config)
        | {"searched": bool(found), "rows": [row for row in found if folded(row["word"]) == folded(word)]}
        for word in words
    ]
