"""Painting on a GPU: the host never waits for it between two batches. Skipped where there is none."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from dogfast.config.model import ModelConfig
from dogfast.diffusion.guidance import Guidance
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.solvers import SOLVERS
from dogfast.engines.opening import open_networks
from dogfast.events import Events
from dogfast.synthesis.id_check import LOOKS_ID, id_check
from dogfast.synthesis.painter import begin, paint
from dogfast.synthesis.recipes import Recipe
from dogfast.synthesis.resolver import Sources
from dogfast.synthesis.worker import brush_for

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")]

ROWS = 4
WORDS = ("oval", "frame", "star", "plus")


@contextmanager
def no_waiting():
    """Every operation that makes the host wait for the GPU is an error, save events that are waited for by name."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("solver", SOLVERS)
def test_batches_are_enqueued_without_waiting_and_arrive_as_on_their_own(random_pipeline, solver):
    pipeline = Pipeline(ModelConfig(), str(random_pipeline))
    networks = open_networks(pipeline, ModelConfig(backend="torch", device="cuda", precision="fp32"), Events())
    conditions = [{"class_name": "circle", "anchor": word, "text": [[f"a photo of a {word}", 1.0]]} for word in WORDS]
    recipe = Recipe("test", solver, 4, Guidance(4.0, 0.0, 0.5), "tiny")
    brush = brush_for(pipeline, networks, recipe, conditions, Sources("a photo of a {}", {}, list), 16, 32, ROWS)
    brush = replace(brush, checks={LOOKS_ID: id_check(pipeline, networks, "a photo of a {}", conditions)})
    given = [n % len(WORDS) for n in range(3 * ROWS)]
    expected = paint(brush, given, lambda place, attempt: 1 + place)  # the networks are compiled here
    with no_waiting():
        pending = [begin(brush, given[n : n + ROWS], list(range(1 + n, 1 + n + ROWS)), 0) for n in range(0, len(given), ROWS)]
    found = [painted for batch in pending for painted in batch()]
    assert all(torch.equal(a.content, b.content) for a, b in zip(found, expected, strict=True))
    assert not any(painted.content.is_pinned() for painted in found)
