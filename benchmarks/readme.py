"""Write the README's figures from benchmarks/results/: `python benchmarks/readme.py`; `--check` only compares.

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`; what cannot be rendered for want of its file says `not run`.
"""

import json
import re
import sys
from pathlib import Path

from dogfast.detection.table import format_evaluations, format_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def demo_block(result: dict) -> str:
    """Table and seconds of `dogfast demo`."""
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in result["seconds"].items())
    return f"```\n{format_evaluations(result['evaluations'])}\n```\n\n{result['total_s']:.0f} seconds on {result['hardware']}: {stages}."


def cifar_block(result: dict) -> str:
    """The starting classifier on real CIFAR-10."""
    table = format_table({result["name"]: (result["id_accuracy"], result["rows"])})
    return f"```\n{table}\n```\n\n{result['budget']}, on {result['hardware']}."


def tiny_block(result: dict) -> str:
    """What a judge says of the embedded generator."""
    worst = sorted(result["per_word"].items(), key=lambda item: item[1]["samples"])[:6]
    weak = ", ".join(f"{word} {100 * found['samples']:.0f} %" for word, found in worst)
    return (
        f"A classifier trained on true renders names {100 * result['samples_named_right']:.0f} % of the samples right "
        f"(true renders: {100 * result['renders_named_right']:.0f} %); their spread within a word is "
        f"{result['diversity_against_renders']:.2f} of the true renders'; CLIP ranks the right word first for "
        f"{100 * result['clip_right_word_first']:.0f} % of true renders. Weakest words: {weak}."
    )


def seeds_block(result: dict) -> str:
    """Every row of benchmarks/demo_seeds.py: mean FPR95 over held-out shapes and glyphs, and what it means."""
    scores = list(result["rows"]["ce"]["judged"])
    head = ["row", *[f"{s}: FPR95 (by seed)" for s in scores], "verdicts", "share of ceiling", "artefact control", "ID acc."]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in result["rows"].items():
        judged = row["judged"]
        cells = [f"`{name}`"]
        cells += [f"{judged[s]['mean']:.1f} ({', '.join(f'{v:.0f}' for v in judged[s]['by_seed'])})" for s in scores]
        cells.append(", ".join("–" if judged[s]["baseline"] == name else judged[s]["verdict"] for s in scores))
        shares = [judged[s]["share_of_ceiling"] for s in scores]
        cells.append(", ".join("–" if share is None else f"{100 * share:.0f} %" for share in shares))
        cells.append(", ".join(f"{row['artefact_control'][s]:.0f} %" for s in scores))
        cells.append(f"{row['id_accuracy']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    baselines = ", ".join(f"{s} `{result['rows']['ce']['judged'][s]['baseline']}`" for s in scores)
    minutes = ", ".join(f"{sum(rows.values()) / 60:.0f}" for rows in result["seconds"].values())
    return (
        "\n".join(lines)
        + f"\n\nSeeds {', '.join(map(str, result['seeds']))}; {result['id_images']} ID images, {result['outliers']} outliers; "
        + f"minutes a seed: {minutes}, on {result['hardware']}. Triples are under {', '.join(scores)}. Baselines: {baselines}."
    )


BLOCKS = {"demo": demo_block, "cifar10-ce": cifar_block, "demo-seeds": seeds_block, "tiny": tiny_block}


def render(text: str) -> str:
    """``text`` with every block written anew."""
    for name, block in BLOCKS.items():
        path = RESULTS / f"{name}.json"
        body = block(json.loads(path.read_text())) if path.exists() else "not run"
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, body=body: match[1] + body + match[2], text)
        assert found == 1, f"the README has no block {name}"
    return text


def main() -> int:
    path = ROOT / "README.md"
    written = path.read_text()
    rendered = render(written)
    if "--check" in sys.argv:
        return int(rendered != written)
    path.write_text(rendered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
