"""What may be written as text."""

import pytest

from dogfast.text import is_utf8


@pytest.mark.parametrize("text", ["", "a?b", "Häuschen", "日本", "\U0001f415", "\0", "\ufffd", "\uffff"])
def test_text_that_can_be_encoded(text):
    assert is_utf8(text)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udcff", "\ud83d\udc15"])
def test_half_characters_cannot(text):
    assert not is_utf8(text)
