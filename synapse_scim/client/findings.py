"""What a check found."""

from __future__ import annotations

from typing import Literal

import attrs

Outcome = Literal["good", "bad", "open"]


@attrs.frozen(kw_only=True)
class Finding:
    """What is to be said of one thing that was looked at.

    Attributes:
        about: The thing.
        outcome: Whether it is as it should be; `open` if nobody can tell from here.
        said: What was found.
        advice: What to do about it.
    """

    about: str
    outcome: Outcome
    said: str
    advice: str = ""


def good(about: str, said: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(about=about, outcome="good", said=said)


def bad(about: str, said: str, advice: str) -> Finding:
    """Return that something is not as it should be."""
    return Finding(about=about, outcome="bad", said=said, advice=advice)


def unclear(about: str, said: str, advice: str = "") -> Finding:
    """Return that nobody can tell from here."""
    return Finding(about=about, outcome="open", said=said, advice=advice)
