"""What the README says of the proof on photographs."""

from typing import Any

from cells import by_seed, control_and_accuracy, digits, papers_tables, percent, pipes, seeds_of, under_each, verdicts

SCORES = ("msp", "energy", "ash-s")


def photographs_block(result: dict[str, Any]) -> str:
    """Every part, or that it was not run; all but the first are folded."""
    first, *others = [(title, tell(result[part]) if part in result else "not run") for part, (title, tell) in PARTS.items()]
    folded = [f"<details><summary>{title}</summary>\n\n{said}\n\n</details>" for title, said in others]
    return "\n\n".join([f"**{first[0]}**\n\n{first[1]}", *folded])


def _rows(found: dict[str, Any]) -> str:
    near, everywhere = found["strangers"], found["everywhere"]
    head = ["row", *(f"{s}: FPR95 (by seed)" for s in SCORES), "verdicts", "of `oe+real`'s gain", "mean of all sets"]
    lines = []
    for name in found["order"]:
        row, judged = near[name], near[name]["judged"]
        lines.append(
            [
                name,
                *(by_seed(judged[s]) for s in SCORES),
                verdicts(name, row, SCORES),
                under_each(SCORES, lambda s, judged=judged: percent(judged[s]["share_of_reference"])),
                under_each(SCORES, lambda s, row=everywhere[name]: f"{row['judged'][s]['mean']:.1f}"),
                *control_and_accuracy(row, SCORES),
            ]
        )
    bases = under_each(SCORES, lambda s: f"`{near['ce']['judged'][s]['baseline']}`")
    return (
        f"{pipes([*head, 'artefact control', 'ID acc.'], lines)}\n\nFPR95 on the held-out photographs, percent; the last but two also "
        f"on shapes and on noises, which `oe+noise` learns from. Seeds {seeds_of(found)}; {_scale(found)}. Triples are under {', '.join(SCORES)}; "
        f"verdicts against the better baseline under each: {bases}."
    )


def _tables(found: dict[str, Any]) -> str:
    return f"{papers_tables(found)} One seed, on {found['hardware']}."


def _unmatched(found: dict[str, Any]) -> str:
    head = ["row", *(f"{s}: FPR95" for s in SCORES), "mean of all sets", "artefact control", "ID acc."]
    lines = [
        [
            name,
            *(f"{found['strangers'][name]['judged'][s]['mean']:.1f}" for s in SCORES),
            under_each(SCORES, lambda s, row=found["everywhere"][name]: f"{row['judged'][s]['mean']:.1f}"),
            *control_and_accuracy(found["strangers"][name], SCORES),
        ]
        for name in found["order"]
    ]
    return (
        f"{pipes(head, lines)}\n\nOne seed. The photographs on disk are in the codec of the ID files; what was painted is not, and here "
        "did not go through it."
    )


def _curve(found: dict[str, Any]) -> str:
    def cell(name: str) -> str:
        return under_each(SCORES, lambda s: f"{found['strangers'][name]['judged'][s]['mean']:.1f}")

    lines = [["none", *[cell(found["none"])] * len(found["lines"])]]
    lines += [[f"{count:,}", *(cell(f"{name} {count}") for name in found["lines"])] for count in found["counts"]]
    highest = max(value for row in found["strangers"].values() for value in row["artefact_control"].values())
    return (
        f"{pipes(['outliers', *found['lines']], lines)}\n\nOne seed, at equal steps; the last row is all that each has at least. "
        f"Under each: {', '.join(SCORES)}. The artefact control is at most {highest:.0f} % in all of them."
    )


def _gate(found: dict[str, Any]) -> str:
    slow = found["seconds_an_image"][found["published"]]
    head = [
        "recipe",
        "seconds an image",
        f"against `{found['published']}`",
        *(f"{s}: FPR95 (by seed), change (its interval)" for s in SCORES),
        "artefact control",
        "ID acc.",
    ]
    lines = [
        [
            f"`{name}`",
            digits(found["seconds_an_image"][name]),
            f"{slow / found['seconds_an_image'][name]:.1f}×",
            *(_with_change(found["strangers"][name]["judged"][s], name) for s in SCORES),
            *control_and_accuracy(found["strangers"][name], SCORES),
        ]
        for name in found["order"]
    ]
    return (
        f"{pipes(head, lines)}\n\nSeeds {seeds_of(found)}; objective `dog` on {found['outliers']:,} outliers a class, "
        f"on {found['hardware']}."
    )


def _with_change(judged: dict[str, Any], name: str) -> str:
    if name == judged["baseline"]:
        return by_seed(judged)
    low, high = judged["interval"]
    return f"{by_seed(judged)}, {judged['change']:+.1f} ({low:+.1f} to {high:+.1f})"


def _scale(found: dict[str, Any]) -> str:
    training = found["training"]
    images = f"{found['id_images']:,} ID images" if found["id_images"] else "all ID images"
    return (
        f"{images}, {found['outliers']:,} outliers a class, {training['backbone']}, {training['pretrain_epochs']} epochs and "
        f"{training['epochs']} of tuning with {100 * found['id_synthetic']:.0f} % painted ID images beside the real ones, on {found['hardware']}"
    )


PARTS = {
    "rows": ("Outliers over seeds", _rows),
    "causes": ("What makes the difference", _rows),
    "autoencoder": ("What the autoencoder takes from real outliers", _rows),
    **{f"table-{number}": (f"The papers' Table {number}", _tables) for number in (1, 2, 4)},
    "unmatched": ("Without the codec of the ID files", _unmatched),
    "curve": ("FPR95 by number of outliers", _curve),
    "gate": ("Faster recipes", _gate),
}
"""Part of the result file to its title and what is said of it."""
