"""The model card of `mini`: what it was trained on, how well it paints, what is weak."""

from typing import Any

from tiny_imagenet import parted

from dogfast.data.class_sets import name_of_folder

WEAKEST = 12
LOOKED_AT = (
    "Looked at, CIFAR-10's concepts have their shapes; most of Tiny ImageNet's, each seen in a twentieth as many photographs, have their "
    "colours and textures and hardly more."
)
"""Of the sheet of samples, by a person: to be looked at again after another training."""
CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
inference: false
---
# mini

A Stable Diffusion pipeline in little (UNet, autoencoder, both CLIP towers; fp16) that paints photographs of 170 concepts at 32 px.
It was made by `benchmarks/mini` of dogfast to test outlier synthesis, and is good for nothing else.

## Data

CIFAR-10's training images (10 concepts, 5,000 images each) and 160 classes of Tiny ImageNet's training images at 32 px (250 each).
Concepts are called by their class names and WordNet's other names. These {n_held_out} classes of Tiny ImageNet were held out, from images
and names alike: {held_out}.

The weights were trained on photographs collected from the web for research; whoever took these holds their rights, and neither
data set grants a licence for them. Use the weights for research alone.

## Training

Setting `{setting}` of `benchmarks/mini/settings.py`, {minutes:.0f} minutes in all on {hardware}.

## Quality

{quality}

## What is weak

{weak}
"""


def card(result: dict[str, Any]) -> str:
    """The card's text, of what `judge.py` found."""
    training = result["training"]
    held_out = ", ".join(sorted(name_of_folder(wnid) for wnid in parted()[1]))
    return CARD.format(
        n_held_out=len(parted()[1]),
        held_out=held_out,
        setting=training["setting"],
        minutes=training["seconds"] / 60,
        hardware=training["hardware"],
        quality=quality(result),
        weak=weaknesses(result),
    )


def quality(result: dict[str, Any]) -> str:
    """What a judge says of samples, of photographs nobody trained on, and of these after the autoencoder."""
    all_, own, spread, distance = (result[name] for name in ("recognised", "recognised_among_own", "diversity", "frechet"))
    rows = [
        f"| {named} | {' | '.join(_percent(each[name][of]) for of in ('cifar10', 'tiny_imagenet') for each in (all_, own))} "
        f"| {distance[name]:.1f} |"
        for named, name in (
            ("samples", "samples"),
            ("photographs", "photographs"),
            ("photographs, encoded and decoded", "decoded"),
        )
    ]
    table = "\n".join(
        [
            "| named right by the judge | CIFAR-10's concepts, of all 170 | of the ten | Tiny ImageNet's, of all 170 | of the 160 "
            "| Fréchet distance |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )
    return (
        f"{table}\n\nThe judge ({result['judge']['backbone']}) was trained on the same photographs and is none of `mini`'s networks; "
        "distances are in its features, to photographs that nobody trained on (of the row “photographs”: training ones to these). "
        f"{result['samples_per_concept']} samples a concept, recipe `{result['recipe']}`. Samples of a concept spread "
        f"{spread['cifar10']:.2f} (CIFAR-10's) and {spread['tiny_imagenet']:.2f} (Tiny ImageNet's) times as far as photographs. CLIP "
        f"zero-shot names {_percent(result['zero_shot_cifar10'])} of CIFAR-10's test images right."
    )


def weaknesses(result: dict[str, Any]) -> str:
    """Concepts whose samples are hardly recognised among those of their data set, beside photographs of the same."""
    concepts = result["per_concept"]
    worst = sorted(concepts, key=lambda word: (concepts[word]["samples"] - concepts[word]["photographs"], word))[:WEAKEST]
    hardly = sum(found["samples"] < found["photographs"] / 2 for found in concepts.values())
    told = ", ".join(
        f"{word} {_percent(concepts[word]['samples'])} (photographs {_percent(concepts[word]['photographs'])})"
        for word in worst
    )
    return (
        f"Of {len(concepts)} concepts, {hardly} are recognised, among those of their data set, in samples less than half as often as in "
        f"photographs. Weakest: {told}. {LOOKED_AT} Everything is 32 pixels wide; text is understood by its names alone, not as sentences."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
