"""Why an image was refused, in words: what CLIP takes it for, among the anchors of a run and its classes."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from dogfast.concepts.edited import read_edited
from dogfast.concepts.embeddings import Embedder
from dogfast.config import RunConfig
from dogfast.diffusion.load import Pipeline, choose_model
from dogfast.engines.opening import open_networks
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run
from dogfast.workflows.score import Explain


def explainer(config: RunConfig, run: Run, class_names: tuple[str, ...], events: Events) -> Explain:
    """By the run's generator: its CLIP embeds the images, its words are the anchors of the run and ``class_names``.

    Raises :class:`DataError` where the run has no anchors, EnvironmentFault where its generator is not here.
    """
    if not run.anchors.exists():
        raise DataError(f"--why: {run.root} has no anchors ({run.anchors}); `dogfast anchors` finds them")
    anchors = tuple(dict.fromkeys(row["word"] for row in read_edited(run.anchors, class_names)))
    pipeline = Pipeline(config.model, choose_model(config.model.model, config.data.classes).value)
    networks = open_networks(pipeline, config.model, events)
    embedder = Embedder(pipeline, networks, config.concepts.prompt, events)
    of_anchors, of_classes = (F.normalize(embedder.words(words), dim=1) for words in (anchors, class_names))

    def explain(images: torch.Tensor) -> list[str]:
        pictures = F.normalize(networks.encode_image(images).float().cpu(), dim=1)
        to_anchor, to_class = ((pictures @ words.T).max(dim=1) for words in (of_anchors, of_classes))
        rows = zip(to_anchor.values, to_anchor.indices, to_class.values, to_class.indices)
        return [_reason(anchors[a], class_names[c], bool(near >= nearer)) for near, a, nearer, c in rows]

    return explain


def _reason(anchor: str, class_name: str, is_anchor: bool) -> str:
    if is_anchor:
        return f"nearest `{anchor}`, not `{class_name}`"
    return f"nearest `{class_name}`, then `{anchor}`"
