"""What text a database can keep."""

from __future__ import annotations


def text_problem(text: str) -> str | None:
    """Return what makes a string one that cannot be stored, if anything does."""
    if "\x00" in text:
        return "holds a NUL character"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return None
