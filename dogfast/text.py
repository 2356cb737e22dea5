"""What may be written as text, and what is worth reading of it."""

from __future__ import annotations


def is_utf8(text: str) -> bool:
    """Whether ``text`` can be encoded: half a character (a lone surrogate) fits in no UTF-8 file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def first_line(error: Exception) -> str:
    """What an error says first, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
