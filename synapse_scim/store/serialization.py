"""Values of this package as JSON in the database, and back."""

from __future__ import annotations

from typing import Any, TypeVar

from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from synapse_scim.steps import DatabaseChange, FinalChange

T = TypeVar("T")

_CONVERTER = make_converter(omit_if_default=True)
for _union in (DatabaseChange, FinalChange):
    configure_tagged_union(_union, _CONVERTER, tag_name="change")


def to_json(value: Any) -> str:
    """Return a value as JSON; what equals its default is left out, so that later versions may add to it."""
    return _CONVERTER.dumps(value, separators=(",", ":"), ensure_ascii=False)


def from_json(text: str, kind: type[T]) -> T:
    """Return the value that `to_json` wrote."""
    return _CONVERTER.loads(text, kind)
