"""The shapes world: its words keep apart, and every image is a pure function of what it is asked for."""

import hashlib
import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from dogfast.data import shapes

GROUPS = (shapes.ID_WORDS, shapes.VOCABULARY, shapes.VALIDATION_WORDS, shapes.TEST_WORDS)
PAINTERS = (shapes.render_glyph, shapes.render_stripes, shapes.render_checkers)


def test_groups_are_disjoint_and_cover_the_world():
    assert [len(group) for group in GROUPS] == [8, 36, 8, 8]
    words = [word for group in GROUPS for word in group]
    assert len(set(words)) == len(words) == len(shapes.FIGURES) >= 56
    assert set(words) == set(shapes.FIGURES)


def test_held_out_words_are_not_known():
    assert not set(shapes.KNOWN_WORDS) & {*shapes.VALIDATION_WORDS, *shapes.TEST_WORDS}
    assert set(shapes.KNOWN_WORDS) == {*shapes.ID_WORDS, *shapes.VOCABULARY}


@pytest.mark.parametrize("word", shapes.FIGURES)
def test_every_word_is_painted(word):
    image = shapes.render(word, "train", 0, 0)
    assert image.dtype == np.uint8 and image.shape == (32, 32, 3)
    assert np.ptp(image.reshape(-1, 3).astype(int), axis=0).max() > 40, "the figure stands out"
    assert np.array_equal(image, shapes.render(word, "train", 0, 0))


@pytest.mark.parametrize(
    "other", [("ring", "train", 0, 0), ("circle", "val", 0, 0), ("circle", "train", 1, 0), ("circle", "train", 0, 1)]
)
def test_each_part_of_the_key_changes_the_image(other):
    assert not np.array_equal(shapes.render("circle", "train", 0, 0), shapes.render(*other))


def test_seed_and_index_do_not_run_into_each_other():
    assert not np.array_equal(shapes.render("circle", "train", 1, 11), shapes.render("circle", "train", 11, 1))


def test_images_do_not_depend_on_the_process():
    paint = (
        "import sys; from dogfast.data import shapes; sys.stdout.buffer.write(shapes.render('gear', 'test', 3, 7).tobytes())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    elsewhere = subprocess.run([sys.executable, "-c", paint], capture_output=True, check=True, env=environment).stdout
    assert elsewhere == shapes.render("gear", "test", 3, 7).tobytes()


@pytest.mark.parametrize("side", [8, 16, 33, 64])
def test_any_side(side):
    for image in (shapes.render("star", "train", 0, 0, side), *(paint("test", 3, side) for paint in PAINTERS)):
        assert image.shape == (side, side, 3) and image.dtype == np.uint8


def test_a_larger_side_shows_the_same_figure():
    large = shapes.render("star", "train", 0, 5, 64).reshape(32, 2, 32, 2, 3).mean((1, 3))
    small = shapes.render("star", "train", 0, 5, 32).astype(float)
    assert np.abs(large - small).mean() < 6
    assert np.abs(large - shapes.render("star", "train", 0, 6, 32)).mean() > 20


@pytest.mark.parametrize("paint", PAINTERS)
def test_contentless_painters_are_functions_of_their_key(paint):
    first = paint("test", 1)
    assert np.array_equal(first, paint("test", 1))
    for other in (("val", 1), ("test", 1 + len(shapes.GLYPHS))):
        assert not np.array_equal(first, paint(*other))
    assert np.ptp(first.astype(int)) > 40


def test_every_glyph_has_ink():
    masks = {g: shapes._glyph_mask(g, shapes._similarity_affine(0, 0.8), 32) for g in shapes.GLYPHS}
    assert all(0.03 < mask.mean() < 0.6 for mask in masks.values())
    assert len({hashlib.sha256(mask.tobytes()).digest() for mask in masks.values()}) == len(shapes.GLYPHS)


def test_colours_keep_their_contrast():
    for index in range(300):
        figure, ground = shapes._colours(np.random.default_rng(index))
        assert np.linalg.norm(figure - ground) >= shapes.MIN_CONTRAST
        assert min(figure.min(), ground.min()) >= 0 and max(figure.max(), ground.max()) <= 1


def test_figures_keep_their_contrast_once_painted():
    for index in range(40):
        rng = np.random.default_rng(index)
        mask = np.zeros((32, 32), np.float32)
        mask[8:24, 8:24] = 1
        image = shapes._composite(mask, rng) / 255
        inner, outer = image[12:20, 12:20].mean((0, 1)), np.concatenate([image[:8], image[24:]]).mean((0, 1))
        assert np.linalg.norm(inner - outer) > shapes.MIN_CONTRAST - 0.1


def test_figures_stay_in_the_frame():
    for word in shapes.FIGURES:
        for index in range(3):
            mask = shapes._mask(shapes.FIGURES[word], shapes._pose(np.random.default_rng(index)), 32)
            border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            assert border.mean() < 0.2 and mask.sum() > 30, word


def test_different_words_are_apart():
    near = {(a, b): shapes.distance(a, b) for a, b in combinations(shapes.FIGURES, 2)}
    assert min(near.values()) >= 0.05, min(near, key=near.get)
    assert max(near.values()) <= 1


def test_distance_is_a_distance_of_looks():
    for word in ("circle", "gear", "hook"):
        assert shapes.distance(word, word) == 0
    for a, b in (("circle", "ellipse"), ("pill", "cross"), ("arrow", "dart")):
        assert shapes.distance(a, b) == shapes.distance(b, a)
    assert shapes.distance("circle", "ellipse") < shapes.distance("circle", "cross")
    assert shapes.distance("square", "rectangle") < shapes.distance("square", "spiral")


def test_distance_sees_through_rotation():
    turned = shapes._similarity_affine(45, 0.65)
    rhombus = shapes._mask(shapes.FIGURES["square"], turned, shapes._PROBE_PX)
    probes = shapes._probe_masks("square")
    assert (np.minimum(rhombus, probes).sum((1, 2)) / np.maximum(rhombus, probes).sum((1, 2))).max() > 0.99
