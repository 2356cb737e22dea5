"""Shapes of engines: which each network is opened at."""

from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.table import ENCODER_ROWS, NETWORKS, PROMPT_ROWS, SHORT_TOKENS, engine_shapes, text_rows


def test_prompts_at_full_length_meet_few_rows_and_short_words_many():
    shapes = engine_shapes(RandomPipeline(), NETWORKS["text_encoder"], 512, 8)
    assert shapes == [((ENCODER_ROWS, SHORT_TOKENS),), ((PROMPT_ROWS, 77),)]


def test_the_rows_of_the_text_encoder_hang_on_the_length_alone():
    assert [text_rows(tokens) for tokens in (1, 16, 17, 77)] == [32, 32, 4, 4]
