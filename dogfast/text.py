"""What may be written as text."""

from __future__ import annotations


def is_utf8(text: str) -> bool:
    """Whether ``text`` can be encoded: half a character (a lone surrogate) fits in no UTF-8 file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
