"""What text a database can keep, and what time a text says."""

from __future__ import annotations

from datetime import datetime


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


def zoned_time(text: str) -> datetime:
    """Return a time that is written as ISO 8601 has it, with its zone, or raise `ValueError`."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("it has no zone")
    return time
