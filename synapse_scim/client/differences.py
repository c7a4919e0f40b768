"""What distinguishes a User from what a file says of the person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

_NOT_COMPARED = frozenset({"schemas", "id", "meta", "password"})
"""Passwords are never shown, so nobody can tell whether they differ."""


@attrs.frozen(kw_only=True)
class Difference:
    """An attribute that should have another value.

    Attributes:
        path: Its path in a PATCH.
        value: Its value; `None` if it should have none.
    """

    path: str
    value: Any

    def as_operation(self) -> dict[str, Any]:
        """Return the operation of a PATCH that brings it about."""
        if self.value is None:
            return {"op": "remove", "path": self.path}
        return {"op": "replace", "path": self.path, "value": self.value}


def differences(wanted: Mapping[str, Any], user: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return what has to change for a User to be as wanted. What the file does not speak of may be anything.

    Args:
        wanted: What `wanted_user` makes of a file.
        user: The User as the server shows it.
    """
    return tuple(_all(wanted, user))


def _all(wanted: Mapping[str, Any], user: Mapping[str, Any]) -> Iterator[Difference]:
    for name, value in wanted.items():
        if name in _NOT_COMPARED:
            continue
        if name.startswith("urn:"):
            for part, item in value.items():
                yield from _attribute(f"{name}:{part}", item, (user.get(name) or {}).get(part))
        else:
            yield from _attribute(name, value, user.get(name))


def _attribute(path: str, wanted: Any, shown: Any) -> Iterator[Difference]:
    if wanted is None:
        if shown not in (None, [], {}):
            yield Difference(path=path, value=None)
    elif isinstance(wanted, dict) and isinstance(shown, dict):
        for part, item in wanted.items():
            yield from _attribute(f"{path}.{part}", item, shown.get(part))
    elif isinstance(wanted, dict):
        if stated := {part: item for part, item in wanted.items() if item is not None}:
            yield Difference(path=path, value=stated)
    elif isinstance(wanted, list):
        if not _same_entries(wanted, shown or ()):
            yield Difference(path=path, value=_completed(wanted, shown or ()))
    elif wanted != shown:
        yield Difference(path=path, value=wanted)


def _same_entries(wanted: Sequence[Any], shown: Sequence[Any]) -> bool:
    """Tell whether there are as many entries, each as wanted as far as the file says how it should be."""
    left = list(shown)
    for entry in wanted:
        same = next((other for other in left if _satisfies(other, entry)), None)
        if same is None:
            return False
        left.remove(same)
    return not left


def _satisfies(shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(shown.get(part) == item or _became(item, shown.get(part)) for part, item in wanted.items())


def _became(wanted: Any, shown: Any) -> bool:
    """Tell whether a photo that was sent as it is may be this one, which the server keeps."""
    return str(wanted)[:5].lower() == "data:" and str(shown).startswith("mxc:")


def _completed(wanted: Sequence[Any], shown: Sequence[Any]) -> list[Any]:
    """Return the wanted entries, with what the file leaves open as it is in the entry of the same value."""
    left_out = {"$ref"} | ({"primary"} if any("primary" in entry for entry in wanted) else set())
    known = {entry["value"]: entry for entry in shown if "value" in entry}
    return [
        {
            **{part: item for part, item in known.get(entry.get("value"), {}).items() if part not in left_out},
            **entry,
        }
        for entry in wanted
    ]
