"""Embeddings are kept by their content: the same words and images are embedded once, anything else anew."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

import dogfast.concepts.embeddings as module
from dogfast.concepts.embeddings import Embedder
from dogfast.config.model import ModelConfig
from dogfast.data.images import ImageSet
from dogfast.diffusion.load import Pipeline
from dogfast.engines.opening import open_networks
from dogfast.events import Events


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DOGFAST_EMBEDDINGS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


@pytest.fixture
def made(pipeline, cache):
    """An embedder, and what its towers were asked for."""
    asked, said = [], []
    networks = open_networks(pipeline, ModelConfig(backend="torch", device="cpu", precision="fp32"), Events())
    counting = replace(
        networks,
        encode_text=lambda ids: asked.append(len(ids)) or networks.encode_text(ids),
        encode_image=lambda images: asked.append(len(images)) or networks.encode_image(images),
    )
    events = Events(lambda event, fields: said.append(fields["text"]) if event == "note" else None)
    return lambda prompt="a photo of a {}": Embedder(pipeline, counting, prompt, events), asked, said


def pictures(seed=0, count=5):
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return ImageSet(images, torch.zeros(count, dtype=torch.long), tuple(map(str, range(count))), ("one",))


def test_the_same_is_embedded_once(made, monkeypatch):
    embedder, asked, _ = made
    monkeypatch.setattr(module, "ROWS", 2)
    words, images = ("star", "wave", "gear"), pictures()
    first = embedder().words(words), embedder().images(images)
    assert asked == [2, 1, 2, 2, 1]
    again = embedder().words(words), embedder().images(images)
    assert asked == [2, 1, 2, 2, 1]
    for one, other in zip(first, again):
        assert torch.equal(one, other) and one.dtype == torch.float32
    assert first[0].shape == (3, 24) and first[1].shape == (5, 24)


def test_anything_else_is_embedded_anew(made):
    embedder, asked, _ = made
    embedder().words(("star",)), embedder("a {}").words(("star",)), embedder().words(("wave",))
    embedder().images(pictures()), embedder().images(pictures(seed=1))
    assert asked == [1, 1, 1, 5, 5]


def test_a_touched_table_is_not_believed(made, cache):
    embedder, asked, said = made
    first = embedder().words(("star",)).clone()
    (table,) = cache.glob("*/table.npy")
    np.save(table, np.zeros((1, 24), np.float32))
    assert torch.equal(embedder().words(("star",)), first) and asked == [1, 1]
    assert any("kept embeddings of words are not used" in text for text in said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_nothing_can_be_kept_it_is_said(made, cache):
    cache.parent.chmod(0o500)
    embedder, _, said = made
    assert embedder().words(("star",)).shape == (1, 24)
    assert any("embeddings of words are not kept" in text for text in said)


def test_a_cache_that_is_a_file_is_no_reason_to_fail(made, cache):
    cache.write_text("not a folder")
    embedder, asked, said = made
    assert embedder().words(("star", "wave")).shape == (2, 24) and asked[-1] == 2
    assert any("embeddings of words are not kept" in text and "$DOGFAST_EMBEDDINGS" in text for text in said)
