"""Write the README's figures from benchmarks/results/: `python benchmarks/readme.py`; `--check` only compares.

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`; what cannot be rendered for want of its file says `not run`.
"""

import json
import re
import sys
from pathlib import Path
from statistics import median

from cells import (
    by_seed,
    control_and_accuracy,
    digits,
    in_order,
    mean_of,
    papers_tables,
    percent,
    pipes,
    seeds_of,
    signed,
    under_each,
    verdicts,
)
from mini.card import quality, weaknesses
from proof.told import photographs_block

from dogfast.detection.summary import format_evaluations, format_table
from dogfast.workflows.refine import rounds_without_gain

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def demo_block(result: dict) -> str:
    """Table and seconds of `dogfast demo`."""
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in result["seconds"].items())
    return f"```\n{format_evaluations(result['evaluations'])}\n```\n\n{result['total_s']:.0f} seconds on {result['hardware']}: {stages}."


def cifar_block(result: dict) -> str:
    """Real outliers on real CIFAR-10, beside what was published."""
    budget = ", ".join(f"{name} {value}" for name, value in result["budget"].items())
    seconds = ", ".join(f"{name} {found['seconds']:.0f} s" for name, found in result["training"].items())
    published = "; ".join(f"{name} {figures}" for name, figures in result["published"].items())
    table = format_table({name: (found["id_accuracy"], found["rows"]) for name, found in result["evaluations"].items()})
    return (
        f"```\n{table}\n```\n\n{result['outliers']} outliers; {budget}; {seconds}, on {result['hardware']}. Published, with WRN-40-2, "
        f"100 epochs, all images and other (far) test sets, FPR95 / AUROC: {published}."
    )


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


def mini_block(result: dict) -> str:
    """What the model card of `mini` says of its quality."""
    return f"{quality(result)}\n\n{weaknesses(result)}"


def seeds_block(result: dict) -> str:
    """Every row of benchmarks/demo_seeds.py: mean FPR95 over held-out shapes and glyphs, and what it means."""
    rows, scores = in_order(result), result["scores"]
    table = pipes(
        [
            "row",
            *[f"{s}: FPR95 (by seed)" for s in scores],
            "change",
            "verdicts",
            "of `dog+renders`' gain",
            "artefact control",
            "ID acc.",
        ],
        [
            [
                f"`{name}`",
                *[by_seed(row["judged"][s]) for s in scores],
                under_each(scores, lambda s, row=row: signed(row["judged"][s]["relative_change"])),
                verdicts(name, row, scores),
                under_each(scores, lambda s, row=row: percent(row["judged"][s]["share_of_reference"])),
                *control_and_accuracy(row, scores),
            ]
            for name, row in rows.items()
        ],
    )
    baselines = ", ".join(f"{s} `{rows['ce']['judged'][s]['baseline']}`" for s in scores)
    return (
        f"{table}\n\nSeeds {seeds_of(result)}; {result['id_images']} ID images, {result['outliers']} "
        f"outliers, {result['training']['backbone']}, {result['training']['epochs']} epochs; minutes a seed: {', '.join(f'{m:.0f}' for m in result['minutes'])}, on {result['hardware']}, painted with {result['backend']}. "
        f"Triples are under {', '.join(scores)}. Baselines: {baselines}."
    )


def ingredients_block(result: dict) -> str:
    """`dog` less one ingredient each, compared with `dog` itself."""
    if "ingredients" not in result:
        return "not run"
    rows, scores = in_order(result["ingredients"]), result["scores"]
    table = pipes(
        ["`dog`", *[f"{s}: FPR95 (by seed)" for s in scores], "change (points)", "verdicts", "artefact control", "ID acc."],
        [
            [
                "as it is" if name == "dog" else name,
                *[by_seed(row["judged"][s]) for s in scores],
                under_each(scores, lambda s, row=row: f"{row['judged'][s]['change']:+.1f}"),
                verdicts(name, row, scores),
                *control_and_accuracy(row, scores),
            ]
            for name, row in rows.items()
        ],
    )
    same = "; ".join(f"{name}, that is the row `{other}`" for name, other in result["ingredients"]["same_as"].items())
    return f"{table}\n\nSeeds {seeds_of(result['ingredients'])}. {same[:1].upper()}{same[1:]}."


def strategies_block(result: dict) -> str:
    """What benchmarks/strategies.py found: every strategy's outliers against `dog`'s."""
    rows, scores = in_order(result), result["scores"]
    table = pipes(
        [
            "outliers",
            *[f"{s}: FPR95 (by seed) / AUROC" for s in scores],
            "verdicts against `dog`",
            "artefact control",
            "ID acc.",
        ],
        [
            [
                "none (`ce`)" if name == "ce" else f"`{name}`",
                *[f"{by_seed(row['judged'][s])} / {row['judged'][s]['auroc']:.1f}" for s in scores],
                verdicts(name, row, scores),
                *control_and_accuracy(row, scores),
            ]
            for name, row in rows.items()
        ],
    )
    return (
        f"{table}\n\nMeans over held-out shapes and glyphs; seeds {seeds_of(result)}, {result['outliers']} "
        f"outliers of every strategy, objective `dog`, the preset of `shapes`, on {result['hardware']}. "
        f"Triples are under {', '.join(scores)}."
    )


def recipes_block(result: dict) -> str:
    """What benchmarks/recipes.py found: FPR95 of each recipe's outliers beside the time they take."""
    rows, scores, seconds = in_order(result), result["scores"], result["seconds_an_image"]
    slow = seconds[result["published"]]
    table = pipes(
        ["outliers", "seconds an image", f"against `{result['published']}`", *[f"{s}: FPR95 (by seed)" for s in scores], "verdicts", "ID acc."],
        [
            [
                "none (`ce`)" if name == "ce" else name,
                digits(seconds[name]) if name in seconds else "–",
                f"{slow / seconds[name]:.1f}×" if name in seconds else "–",
                *[by_seed(row["judged"][s]) for s in scores],
                verdicts(name, row, scores),
                f"{row['id_accuracy']:.2f}",
            ]
            for name, row in rows.items()
        ],
    )  # fmt: skip
    return (
        f"{table}\n\nSeeds {seeds_of(result)}, {result['outliers']} outliers a class, the settings of `compare`, "
        f"on {result['hardware']}. Triples are under {', '.join(scores)}."
    )


def training_block(result: dict) -> str:
    """What benchmarks/training.py measured: images a second of outlier exposure."""
    rows = in_order(result)
    slowest = rows["DataLoader fp32"]["img_per_s"]
    table = pipes(
        ["loop", "images a second (range)", "against DataLoader fp32", "share of its time it waits for images"],
        [
            [
                name,
                f"{digits(row['img_per_s'])} ({digits(row['slowest'])}–{digits(row['fastest'])})",
                f"{row['img_per_s'] / slowest:.2f}×",
                f"{row['waiting']:.2%}",
            ]
            for name, row in rows.items()
        ],
    )
    return (
        f"{table}\n\n{result['backbone']}, {result['batch']} ID images and {result['ood_batch']} outliers a step, medians of "
        f"{result['rounds']} rounds of {result['steps']} steps, on {result['hardware']}."
    )


def streaming_block(result: dict) -> str:
    """What benchmarks/streaming.py measured: reading shards for training, against webdataset."""
    table = pipes(
        ["shards of", *next(iter(result["sets"].values()))["contenders"], "over the faster of webdataset's"],
        [
            [
                f"{found['images']:,} {name.partition('-')[0].upper()}, {found['side_px']} px",
                *[
                    f"{each['img_per_s']:.0f} ({each['slowest']:.0f}–{each['fastest']:.0f})"
                    for each in found["contenders"].values()
                ],
                f"{found['over_the_faster_peer']:.2f}×",
            ]
            for name, found in result["sets"].items()
        ],
    )
    rounds = max(found["rounds"] for found in result["sets"].values())
    return f"{table}\n\nImages a second, medians of {rounds} rounds that read the set {result['cycles']} times, on {result['hardware']}."


def objectives_block(result: dict) -> str:
    """What benchmarks/objectives.py found: Table 1 over seeds, at equal images."""
    return (
        f"{papers_tables(result)} About {result['images']:,} images through the network each (of a tuned method, its start's among them), "
        f"on {result['hardware']}."
    )


def compare_block(result: dict) -> str:
    """What benchmarks/compare.py found: the papers' tables of one seed, and how long they took."""
    seconds = result["seconds"]
    spent = ", ".join(f"{name} {seconds[name]:.0f}" for name in ("painting", "training", "evaluating"))
    return (
        f"{papers_tables(result)} {result['total_s'] / 60:.0f} minutes for {seconds['classifiers']} classifiers, {result['jobs']} at a "
        f"time, on {result['hardware']} (seconds of all processes: {spent})."
    )


def oal_few_block(result: dict) -> str:
    """What benchmarks/oal_few.py found: `oal` on a few latents against `dog` on as many images."""
    rows, scores = result["rows"], result["scores"]
    start = [by_seed(rows["ce"]["judged"][s]) for s in scores]
    lines = [["none (`ce`)", *start, *start, "–"]]
    for count in result["counts"]:
        found = [by_seed(rows[f"{objective} {count}"]["judged"][s]) for objective in ("dog", "oal") for s in scores]
        against = result["oal_against_dog"][str(count)]
        lines.append([f"{count:,}", *found, under_each(scores, lambda s, against=against: against[s]["verdict"])])
    head = ["outliers", *(f"`{objective}`, {s}: FPR95 (by seed)" for objective in ("dog", "oal") for s in scores)]
    worth = {name: mean_of(result["h_explains"], name) for name in ("id", "outliers")}
    return (
        f"{pipes([*head, '`oal` against `dog`'], lines)}\n\nMeans over held-out shapes and glyphs; seeds "
        f"{seeds_of(result)}, the settings of `compare`, as many steps, on {result['hardware']}. What latents tell "
        f"of features (R² of h): {worth['id']:.2f} of ID images it was not fitted on, {worth['outliers']:.2f} of the outliers. "
        f"Verdicts are under {', '.join(scores)}."
    )


def refine_block(result: dict) -> str:
    """What benchmarks/refine.py found in each world."""
    worlds = {"shapes": "The embedded world", "photographs": "CIFAR-10"}
    return "\n\n".join(
        f"**{title}**\n\n{_rounds(result[name]) if name in result else 'not run'}" for name, title in worlds.items()
    )


def _rounds(result: dict) -> str:
    """Rounds against one round, and what each round brought."""
    rows, scores, lines = result["rows"], result["scores"], []
    for name in result["order"]:
        row, told = rows[name], result["told"][name]
        judged = [by_seed(row["judged"][s]) for s in scores]
        against = "–" if name == "one round" else under_each(scores, lambda s, row=row: row["judged"][s]["verdict"])
        twin = result["against_evenly"].get(name)
        evenly = under_each(scores, lambda s, twin=twin: twin["judged"][s]["verdict"]) if twin else "–"
        validation, like_id = (_round_by_round(told, key) for key in ("fpr95", "like_id"))
        lines.append([name, *judged, against, evenly, f"{row['id_accuracy']:.2f}", validation, like_id])
    head = ["in all", *(f"{s}: FPR95 (by seed)" for s in scores), "against one round", "against dealing evenly", "ID accuracy"]
    longest = [told for found in result["told"].values() for told in found if len(told["rounds"]) > 2]
    ended = sum(_would_end(told["rounds"]) for told in longest)
    fewest, most = (pick(pick(images) for images in result["painted"].values()) for pick in (min, max))
    painted = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return (
        f"{pipes([*head, 'validation FPR95 by round', 'look ID by round'], lines)}\n\nMeans over {' and '.join(result['judged'])}, in percent; "
        f"{result['outliers']} outliers a class ({painted} were painted) and {result['epochs']} epochs in all, their "
        f"learning rate falling to nothing in every round, seeds {seeds_of(result)}, the "
        f"settings of the world, on {result['hardware']}. Verdicts are under {', '.join(scores)}. A patience of 1 would have ended "
        f"{ended} of the {len(longest)} refinements of three rounds after the second. What "
        f"foretells which conditions of a class fool the classifier next (rank correlation, rounds dealt evenly): acceptance of the "
        f"images it was trained on {_correlation(result['foretells']['accepted'])}, of the same images before they trained it "
        f"{_correlation(result['foretells']['fooled'])}."
    )


def _correlation(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"


def _round_by_round(told: list[dict], key: str) -> str:
    """Means over seeds of what every round told, in percent."""
    rounds = zip(*(each["rounds"] for each in told))
    return " → ".join(f"{100 * sum(row[key] for row in of_round) / len(of_round):.1f}" for of_round in rounds)


def _would_end(rounds: list[dict]) -> bool:
    """Whether `refine` would not have gone on after the second round, were its patience 1."""
    return rounds_without_gain(rounds[:2]) > 0


def inversion_block(result: dict) -> str:
    """What benchmarks/inversion.py measured: all classes in the same passes against one class at a time."""
    peer = sum(result["peer_seconds_a_class"]) / result["peer_classes_measured"]
    drop, wanted = (result["loss_before"] - result[key] for key in ("loss_peer", "loss_wanted"))
    text = (
        f"One class at a time: {result['peer_rows'] // result['classes']:,} UNet rows and {peer:.0f} s a class "
        f"({result['peer_classes_measured']} of {result['classes']} classes measured); the loss on held-out images falls from "
        f"{result['loss_before']:.4f} by {drop:.4f}. "
    )
    if result["reached"]:
        text += (
            f"All classes in the same passes have {100 * wanted / drop:.0f} % of that after {result['reached']['update']} updates, "
            f"{result['rows']:,} rows and {result['reached']['seconds']:.0f} s for all classes: {result['fewer_rows']:.1f} times "
            f"fewer rows, {result['less_time']:.1f} times less time. "
        )
    else:
        text += f"All classes in the same passes did not reach {100 * wanted / drop:.0f} % of that. "
    lines = [
        [f"{name}: {found['k']} nearest of {found['words']:,}", *(f"{100 * found[pair]:.0f} %" for pair in SHARED_PAIRS)]
        for name, found in result["nearest_words"].items()
    ]
    return f"{text}On {result['hardware']}.\n\n{pipes(['Eq. 5, words in common', *SHARED_PAIRS], lines)}"


def misnamed_block(result: dict) -> str:
    """What benchmarks/misnamed_classes.py found."""
    learned = result["learned_from_wrong_names"]
    rows = {"the true names": [result["true_names"]], "the wrong names": [result["wrong_names"]]}
    rows["pseudo-words learned from the wrong names"] = learned
    lines = [
        [name, *(mean_of(found, key) for key in ("candidates_shared", "cosine_to_own_pictures"))]
        for name, found in rows.items()
    ]
    lines = [[name, f"{100 * shared:.0f} %", f"{cosine:.2f}"] for name, shared, cosine in lines]
    table = pipes(
        ["words", f"of the true names' {result['top_k']} candidates", "cosine to unseen pictures of the class"], lines
    )
    return (
        f"{table}\n\nMeans over the classes and {len(learned)} seeds, {result['steps']} steps; chance is "
        f"{100 * result['candidates_shared_by_chance']:.0f} % of {result['words']} words."
    )


def engines_block(result: dict) -> str:
    """What benchmarks/engines.py measured: every network on every backend of a CPU."""
    lines = [
        [
            f"{network} ({found['tflop_a_row']:.3f} TFLOP)",
            name,
            f"{row['seconds_a_row']:.3f} ({row['fastest']:.3f}–{row['slowest']:.3f})",
            f"{row['tflops']:.2f}",
            f"{row['share_of_gemm']:.2f}",
            f"{row['faster_than_diffusers fp32']:.2f}×",
            f"{row['faster_than_diffusers bf16 channels_last']:.2f}×",
            f"{row['parity']['cosine']:.5f}" if row["parity"] else "–",
        ]
        for network, found in result["networks"].items()
        for name, row in found["contenders"].items()
    ]
    machines = " and ".join(sorted({found["hardware"] for found in result["networks"].values()}))
    low, full = (median(found[rate] for found in result["networks"].values()) for rate in ("gemm_tflops", "gemm_fp32_tflops"))
    head = ["network", "on", "seconds a row (range)", "TFLOP/s", "of the GEMM rate", "against fp32", "against bf16", "parity"]
    return (
        f"{pipes(head, lines)}\n\nRandom weights, {result['rows']} rows at {result['side_px']} px, medians of "
        f"{result['rounds']} interleaved rounds, on {machines}; parity is the least cosine to torch in fp32. Matrix products "
        f"reach {low:.2f} TFLOP/s in bf16 and {full:.2f} in fp32 there: what runs fp32 at that rate cannot be beaten by more "
        f"than {low / full:.1f} times."
    )


def concepts_block(result: dict) -> str:
    """What benchmarks/concepts.py measured: towers on a sample, the matrix part whole."""
    towers = (
        f"On {result['backend']}, {result['rows']} rows: {result['words_a_s']:.0f} words a second ({result['tokens']} tokens), "
        f"{result['images_a_s']:.1f} images a second (ViT-L/14), on a sample."
    )
    matrix = (
        f"The matrix part whole, {result['words']:,} words and {result['images']:,} images of {result['classes']} classes: "
        f"Eq. 5 {result['eq5_s']:.1f} s, Eq. 6 over the candidates {result['eq6_s']:.1f} s and its verdicts "
        f"{result['choice_s']:.1f} s, with {result['memory_beyond_inputs_gib']:.2f} GiB beyond the embeddings "
        f"({result['inputs_gib']:.2f} GiB); over every word, {result['matrix_tflop']:.1f} TFLOP, "
        f"{result['eq6_of_every_word_s']:.0f} s. Distances equal those of float64 brute force on a subset within "
        f"{result['largest_difference_to_brute_force']:.0e}."
    )
    return f"{towers} {matrix} Random weights, on {result['hardware']}."


def knn_block(result: dict) -> str:
    """What benchmarks/knn.py measured: memory of the whole, time of a part."""
    return (
        f"{result['queries']:,} queries against {result['bank']:,} features of {result['width']} ({result['bank_gib']:.2f} GiB), "
        f"k = {result['k']}: planned are {result['planned_gib']:.2f} GiB beyond bank and queries. {result['measured_queries']:,} "
        f"queries against the whole bank took {result['measured_gib']:.2f} GiB and {1000 * result['seconds_a_query']:.0f} ms a "
        f"query ({1000 * result['fastest']:.0f}–{1000 * result['slowest']:.0f}); extrapolated to all of them that is "
        f"{result['extrapolated_h']:.1f} hours of {result['tflop']:,.0f} TFLOP. Distances equal those of float64 brute force on "
        f"{result['checked']} queries within {result['largest_difference_to_brute_force']:.0e}. Random features, on "
        f"{result['hardware']}."
    )


def scaling_block(result: dict) -> str:
    """What benchmarks/scaling.py measured: fake devices under both starters."""
    counts = list(next(iter(result["starters"].values())))
    lines = [
        [
            starter,
            *(f"{found[n]['efficiency']:.3f} ({found[n]['slowest']:.3f}–{found[n]['fastest']:.3f})" for n in counts),
            f"{found['1']['busy']:.3f}",
        ]
        for starter, found in result["starters"].items()
    ]
    table = pipes(["efficiency", *(f"{n} processes" for n in counts), "share of its time that one device is busy"], lines)
    return f"{table}\n\nMedians of {result['rounds']} rounds, {result['images_a_process']} images a process, on {result['hardware']}."


def throughput_block(result: dict) -> str:
    """What benchmarks/throughput.py measured: whole painting on a CPU."""
    return "\n\n".join(_throughput_of(name, found) for name, found in result["worlds"].items())


def _throughput_of(name: str, found: dict) -> str:
    rows = {contender: found["contenders"][contender] for contender in found["order"]}
    lines = [
        [contender, _range(row), digits(1 / row["seconds_an_image"]), str(row["rounds"])]
        + [_against_best(peer, contender, rows) for peer in THROUGHPUT_PEERS]
        for contender, row in rows.items()
        if ", without" not in contender
    ]
    stages = "; ".join(
        f"{contender}: " + ", ".join(f"{stage} {share:.1%}" for stage, share in _stages(rows, contender).items())
        for contender in rows
        if contender.startswith("dogfast") and "," not in contender
    )
    best = [f"against the best batch of {peer} in this precision" for peer in THROUGHPUT_PEERS]
    return (
        f"`{name}` painted at {found['side_px']} px, stored at {found['image_px']} px, {found['rows']} rows:\n\n"
        f"{pipes(['on', 'seconds an image (range)', 'images a second', 'rounds', *best], lines)}\n\n"
        f"Share of the whole: {stages}. On {found['hardware']}, whose bf16 products reach {found['gemm_tflops']:.2f} TFLOP/s."
    )


def _against_best(peer: str, contender: str, rows: dict) -> str:
    """How much faster a contender is than ``peer`` at its best batch in the same precision; "–" where there is no such row."""
    precision = next(word for word in contender.replace(",", "").split() if word in ("fp32", "bf16"))
    times = [
        row["seconds_an_image"]
        for name, row in rows.items()
        if name.startswith(f"{peer} {precision}, batch") and "recipe" not in name
    ]
    return f"{min(times) / rows[contender]['seconds_an_image']:.2f}×" if times else "–"


def _stages(rows: dict, contender: str) -> dict[str, float]:
    """What share of the whole the networks alone take, and what each stage, as the whole is faster without it."""
    whole = rows[contender]["seconds_an_image"]
    left_out = {name.split(", without ")[1]: row for name, row in rows.items() if name.startswith(f"{contender}, without ")}
    shares = {stage: 1 - row["seconds_an_image"] / whole for stage, row in left_out.items()}
    return {"networks' own time": rows[f"{contender}, the networks alone"]["seconds_an_image"] / whole, **shares}


def gpu_block(result: dict) -> str:
    """What benchmarks/gpu.py measured: the whole command and the UNet on a GPU."""
    command = pipes(
        ["512 px, whole command", "seconds an image (range)", "images a second", "minutes for 100 × 1,000"],
        [
            [name, row, "–", "–"]
            if isinstance(row, str)
            else [name, _range(row), digits(1 / row["seconds_an_image"]), f"{row['minutes_of_100_x_1000']:.0f}"]
            for name, row in result["command"].items()
        ],
    )
    lines = [
        [cell, name, *([row, "–", "–"] if isinstance(row, str) else _rates(row))]
        for cell, found in result["cells"].items()
        for name, row in ({"all": found} if isinstance(found, str) else found["contenders"]).items()
    ]
    head = ["rows", "on", "milliseconds a row", "TFLOP/s", "of the bf16 GEMM rate"]
    return f"{command}\n\n{pipes(head, lines)}\n\nSD v1.5 with random weights on {result['gpu']}, medians of {result['rounds']} rounds."


def _rates(row: dict) -> list[str]:
    return [f"{1000 * row['seconds_a_row']:.2f}", f"{row['tflops']:.0f}", f"{row['share_of_gemm']:.2f}"]


def _range(row: dict) -> str:
    return " ".join((digits(row["seconds_an_image"]), f"({digits(row['fastest'])}–{digits(row['slowest'])})"))


THROUGHPUT_PEERS = ("diffusers", "optimum-intel")
SHARED_PAIRS = ("learned, true names", "learned, wrong names", "wrong names, true names")

BLOCKS = {
    "demo": ("demo", demo_block),
    "cifar10": ("cifar10", cifar_block),
    "demo-seeds": ("demo-seeds", seeds_block),
    "ingredients": ("demo-seeds", ingredients_block),
    "strategies": ("strategies", strategies_block),
    "oal-few": ("oal-few", oal_few_block),
    "refine": ("refine", refine_block),
    "inversion": ("inversion", inversion_block),
    "misnamed-classes": ("misnamed-classes", misnamed_block),
    "engines": ("engines", engines_block),
    "concepts": ("concepts", concepts_block),
    "knn": ("knn", knn_block),
    "recipes": ("recipes", recipes_block),
    "training": ("training", training_block),
    "streaming": ("streaming", streaming_block),
    "objectives": ("objectives", objectives_block),
    "compare": ("compare", compare_block),
    "scaling": ("scaling", scaling_block),
    "throughput": ("throughput", throughput_block),
    "gpu": ("gpu", gpu_block),
    "tiny": ("tiny", tiny_block),
    "mini": ("mini", mini_block),
    "photographs": ("photographs", photographs_block),
}
"""Block of the README to (result file, what it says)."""


def render(text: str) -> str:
    """``text`` with every block written anew."""
    for name, (result, block) in BLOCKS.items():
        path = RESULTS / f"{result}.json"
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
