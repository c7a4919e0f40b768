"""A piece of SQL with its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Sql(NamedTuple):
    """A piece of SQL whose `?` stand for its parameters, in this order.

    A search makes some thirty of them: as a tuple, each takes half of the time.
    """

    text: str
    parameters: tuple[Any, ...] = ()

    def format(self, *parts: Sql) -> Sql:
        """Put pieces where the text has `{}`, with their parameters where they belong.

        The text's own parameters stand before, between and after the pieces as its `?` do.
        """
        text, *chunks = self.text.split("{}")
        parameters, left = (), self.parameters
        if left:
            mine = text.count("?")
            parameters, left = left[:mine], left[mine:]
        for part, chunk in zip(parts, chunks, strict=True):
            text += part.text + chunk
            parameters += part.parameters
            if left:
                mine = chunk.count("?")
                parameters, left = parameters + left[:mine], left[mine:]
        return Sql(text, parameters)


EMPTY = Sql("")
TRUE = Sql("1 = 1")
FALSE = Sql("1 = 0")


def joined(separator: str, parts: Iterable[Sql]) -> Sql:
    """Return pieces with a separator between them, each in brackets."""
    pieces = list(parts)
    return Sql(separator.join(f"({piece.text})" for piece in pieces), sum((p.parameters for p in pieces), ()))


def union_all(queries: Sequence[Sql]) -> Sql:
    """Return a query of what several find."""
    return Sql(" UNION ALL ".join("{}" for _ in queries)).format(*queries)


def negated(condition: Sql) -> Sql:
    """Return the opposite of a condition that is never NULL."""
    return Sql("NOT ({})").format(condition)
