"""Filters and paths of SCIM without their literals, even of clients that do not write them as they should."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_TOKEN = re.compile(r'(\s+)|("(?:[^"\\]|\\.)*")|([()\[\]])|([^\s()\[\]"]+)', re.DOTALL)
ATTRIBUTE = re.compile(r"(?:urn:[\w:.-]{1,200}|\$?[A-Za-z][\w-]{0,63}(?:\.\$?[A-Za-z][\w-]{0,63})*)", re.ASCII)
"""What can be the name of an attribute."""

_SUB_ATTRIBUTE = re.compile(r"\.\$?[A-Za-z][\w-]{0,63}", re.ASCII)
_OPERATORS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_CONSTANTS = frozenset({"true", "false", "null"})

MAX_LENGTH = 8 * 1024
"""How long an expression may be that is looked at."""

MAX_NESTING = 32
"""How deep brackets may stand in a filter. Identity providers need about two."""

Mask = Callable[[str, str], str]
"""Returns what is shown of a text that is the value of an attribute, which is named first, in lower case."""


def masked_expression(text: str, mask: Mask, *, is_path: bool) -> str:
    """Return a filter or a path with what is shown of its literals; what is not understood of it is one text.

    Args:
        text: The filter or path.
        mask: Masks a literal.
        is_path: An attribute may stand alone.
    """
    if len(text) > MAX_LENGTH:
        return mask("", text)
    reader = _Reader(mask)
    position = 0
    while (match := _TOKEN.match(text, position)) and reader.takes(match):
        position = match.end()
    if position == len(text) and reader.has_ended(is_path=is_path):
        return "".join(reader.shown)
    kept, position = reader.settled
    return "".join(reader.shown[:kept]) + mask("", text[position:])


def is_nested_too_deep(text: str) -> bool:
    """Tell whether brackets stand deeper in a filter than `MAX_NESTING`; those within literals do not count."""
    if text.count("(") + text.count("[") <= MAX_NESTING:
        return False
    depth = deepest = 0
    for _, _, bracket, _ in _TOKEN.findall(text):
        depth += (bracket in {"(", "["}) - (bracket in {")", "]"})
        deepest = max(deepest, depth)
    return deepest > MAX_NESTING


class _Reader:
    """Takes the tokens of an expression one by one.

    What has been taken is settled once it can be nothing but part of an expression: an attribute's name only when an
    operator follows, for itself or within its brackets.
    """

    def __init__(self, mask: Mask) -> None:
        self.shown: list[str] = []
        self.settled = (0, 0)
        self._mask = mask
        self._takes: Callable[[str], bool] = self._attribute
        self._named = ""
        self._depth = 0

    def takes(self, match: re.Match[str]) -> bool:
        """Tell whether a token can stand here, and if so take it."""
        space, literal, bracket, word = match.groups()
        if space:
            self.shown.append(" ")
        elif self._takes == self._literal:
            if bracket:
                return False
            self._literal(literal or word)
        elif literal or not self._takes(bracket or word):
            return False
        if self._takes in (self._literal, self._after) or (self._takes == self._attribute and self._depth == 0):
            self.settled = (len(self.shown), match.end())
        return True

    def has_ended(self, *, is_path: bool) -> bool:
        """Tell whether the expression may end here."""
        return self._takes == self._after or (is_path and self._takes == self._operator and self._depth == 0)

    def _show(self, part: str, then: Callable[[str], bool]) -> bool:
        self.shown.append(part)
        self._takes = then
        return True

    def _attribute(self, part: str) -> bool:
        if part == "(" or part.lower() == "not":
            return self._show(part, self._attribute)
        self._named = part
        return ATTRIBUTE.fullmatch(part) is not None and self._show(part, self._operator)

    def _operator(self, part: str) -> bool:
        if part == "[":
            self._depth += 1
            return self._show(part, self._attribute)
        if part.lower() == "pr":
            return self._show(part, self._after)
        return part.lower() in _OPERATORS and self._show(part, self._literal)

    def _literal(self, part: str) -> bool:
        if part.lower() in _CONSTANTS:
            return self._show(part, self._after)
        attribute = re.split(r"[.:]", self._named)[-1].lower()
        if not part.startswith('"'):
            return self._show(self._mask(attribute, part), self._after)
        return self._show(f'"{self._mask(attribute, _unquoted(part))}"', self._after)

    def _after(self, part: str) -> bool:
        if part.lower() in {"and", "or"}:
            return self._show(part, self._attribute)
        if part == "]":
            self._depth -= 1
        return (part in {")", "]"} or _SUB_ATTRIBUTE.fullmatch(part) is not None) and self._show(part, self._after)


def _unquoted(literal: str) -> str:
    try:
        return str(json.loads(literal, strict=False))
    except ValueError:
        return literal[1:-1]
