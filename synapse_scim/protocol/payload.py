"""Reads JSON that anybody may have sent: bounded, without ambiguity, and with nothing that a database cannot hold."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from scim2_models import InvalidSyntaxException, InvalidValueException, SCIMException

from synapse_scim.text import text_problem

MAX_DEPTH = 32
"""How deep objects and lists may be nested. SCIM needs about six."""

MAX_STRING_LENGTH = 16 * 1024
"""The longest string, in characters, but for filters, which have a limit of their own."""

MAX_VALUES = 100
"""How many values a list may have, but for operations, which have a limit of their own. Each may cost a look-up."""

MAX_MEMBERS = 10_000
"""How many values a request may hold in all; in a bulk request, each operation."""

_FILTER = "filter"
_PHOTO = re.compile(r"(?:photos|operations)(?:\.value)+$|operations\.value\.photos(?:\.value)?$")
_OPERATIONS = "operations"


def parse(body: bytes) -> Any:
    """Return the value of a JSON document.

    Raises:
        InvalidSyntaxException: It is no JSON of RFC 8259 in UTF-8, nested too deep, or names a member twice.
    """
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise InvalidSyntaxException(detail="The request body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidSyntaxException(
            detail=f"The request body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise InvalidSyntaxException(detail="The request body holds a number that is too large") from None


def check(value: Any, *, most: int = MAX_MEMBERS) -> None:
    """Check everything within a value.

    Args:
        value: What `parse` returns.
        most: How many values it may hold in all.

    Raises:
        InvalidSyntaxException: It is nested too deep.
        InvalidValueException: A string cannot be stored, or there are too many values; the message names where.
    """
    _Check(most).visit(value, "", 0)


class _Check:
    """One walk through a value."""

    def __init__(self, most: int) -> None:
        self._left = self._most = most

    def visit(self, value: Any, path: str, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise InvalidValueException(detail=f"The request body holds more than {self._most} values")
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, list):
            self._enter(depth)
            if len(value) > MAX_VALUES and path.lower() != _OPERATIONS:
                raise InvalidValueException(detail=f"'{path}' has more than {MAX_VALUES} values")
            for item in value:
                self.visit(item, path, depth + 1)
        elif isinstance(value, dict):
            self._enter(depth)
            for name, member in value.items():
                if problem := text_problem(name):
                    raise InvalidValueException(detail=f"The name of a member {problem}")
                self.visit(member, f"{path}.{name}" if path else name, depth + 1)

    @staticmethod
    def _enter(depth: int) -> None:
        if depth == MAX_DEPTH:
            raise _too_deep()


def _check_text(text: str, path: str) -> None:
    problem = text_problem(text)
    if len(text) > MAX_STRING_LENGTH and path.lower() != _FILTER and not _may_be_photo(text, path):
        problem = f"is longer than {MAX_STRING_LENGTH} characters"
    if problem:
        raise InvalidValueException(detail=f"'{path}' {problem}" if path else f"The text {problem}")


def _may_be_photo(text: str, path: str) -> bool:
    """Tell whether a text is an image that stands in a photo, or that a PATCH may put there; then it is checked again.

    The limits of bodies bound it.
    """
    return text[:5].lower() == "data:" and _PHOTO.search(path.lower()) is not None


def withdraw_unsound_data(value: Any) -> dict[int, SCIMException]:
    """Take the data that does not pass `check` out of a bulk request, so that the other operations can be run.

    Returns:
        What is wrong with the operations that lost their data, by their position.
    """
    unsound: dict[int, SCIMException] = {}
    for name, operations in value.items() if isinstance(value, dict) else ():
        if name.lower() != _OPERATIONS or not isinstance(operations, list):
            continue
        for position, operation in enumerate(operations):
            for member in [key for key in operation if key.lower() == "data"] if isinstance(operation, dict) else ():
                try:
                    check(operation[member])
                except SCIMException as error:
                    unsound[position] = error
                    del operation[member]
    return unsound


def _too_deep() -> InvalidSyntaxException:
    return InvalidSyntaxException(detail=f"The request body is nested more than {MAX_DEPTH} levels deep")


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing one that names a member twice: readers would differ in which they take."""
    members = dict(pairs)
    if len({name.lower() for name in members}) < len(pairs):
        raise InvalidSyntaxException(detail="The request body names a member of an object twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidSyntaxException(detail=f"The request body holds {name}, which is no JSON")
