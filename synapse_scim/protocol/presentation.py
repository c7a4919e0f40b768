"""Users, written from their JSON.

scim2-server makes a model of every listed User, copies it and dumps it: half a millisecond each, which for a page of a
thousand would hold the reactor for half a second. Here a page is put together from what the storage has. Which
attributes an answer holds stays the library's decision: it is asked once, with a User that has them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, cast, get_args, get_origin

import attrs
from scim2_models import BaseModel, Context, Extension, Resource, ResponseParameters

from synapse_scim.mapping.rendering import Rendered

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

_SAMPLES: tuple[tuple[type, Any], ...] = (
    (bool, True),
    (int, 1),
    (datetime, "2026-01-01T00:00:00Z"),
    (bytes, "c2FtcGxl"),
)

Mask = Mapping[str, Any]
"""The names that an object keeps; of each that holds objects, their mask, else `None`."""


@attrs.frozen
class Presenter:
    """Cuts Users down to the attributes that a client asks for (RFC 7644 §3.9).

    Attributes:
        model: The model of a User with its extensions.
    """

    model: type[Resource[Any]]

    def mask(self, parameters: ResponseParameters[Any]) -> Mask | None:
        """Return what a User keeps in an answer; `None` if it keeps everything."""
        if not parameters.attributes and not parameters.excluded_attributes:
            return None
        return self._mask(_paths(parameters.attributes), _paths(parameters.excluded_attributes))

    @lru_cache(maxsize=128)  # noqa: B019 - it lives as long as the homeserver
    def _mask(self, attributes: tuple[str, ...], excluded: tuple[str, ...]) -> Mask:
        parameters = ResponseParameters[self.model](  # type: ignore[name-defined]
            attributes=cast("Any", list(attributes) or None), excluded_attributes=cast("Any", list(excluded) or None)
        )
        sample = self.model.model_validate(_sample(self.model))
        return _mask_of(sample.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=parameters))


class Texts(list[str]):
    """A list whose entries are JSON texts, to be written as they stand."""


def shown(users: Iterable[Rendered], base_url: str, mask: Mask | None) -> list[Any]:
    """Return Users as an answer holds them.

    Args:
        users: The Users.
        base_url: The root of the SCIM endpoints, as the client knows it.
        mask: What a User keeps.
    """
    texts = Texts(user.located(base_url) for user in users)
    return texts if mask is None else [cut(json.loads(text), mask) for text in texts]


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return an answer as JSON in UTF-8."""
    resources = body.get("Resources")
    if not isinstance(resources, Texts):
        return _encode(body).encode()
    # The resources stand last.
    return f"{_encode({**body, 'Resources': []})[:-2]}{','.join(resources)}]}}".encode()


def cut(user: dict[str, Any], mask: Mask | None) -> dict[str, Any]:
    """Return what is left of a User under a mask."""
    if mask is None:
        return user
    kept = _cut(user, mask)
    # The extensions that a User is shown without are not among its schemas.
    kept["schemas"] = [urn for urn in kept["schemas"] if urn not in user or urn in kept]
    return kept


def _cut(value: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if name not in mask:
            continue
        inner = mask[name]
        if inner is None:
            kept[name] = item
        elif isinstance(item, list):
            if entries := [part for entry in item if (part := _cut(entry, inner))]:
                kept[name] = entries
        elif part := _cut(item, inner):
            kept[name] = part
    return kept


def _paths(paths: Any) -> tuple[str, ...]:
    return tuple(sorted(str(path) for path in paths or ()))


def _mask_of(value: Mapping[str, Any]) -> Mask:
    mask: dict[str, Any] = {}
    for name, item in value.items():
        first = item[0] if isinstance(item, list) and item else item
        mask[name] = _mask_of(first) if isinstance(first, Mapping) else None
    return mask


def _sample(model: type[Any]) -> dict[str, Any]:
    """Return the JSON of a model that has a value in every attribute."""
    values: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        if field == "schemas":
            # The library fills them in.
            continue
        annotated = model.get_field_root_type(field)
        kind = get_args(annotated)[0] if get_origin(annotated) is Annotated else annotated
        if issubclass(kind, BaseModel):
            value: Any = _sample(kind)
        else:
            value = next((value for types, value in _SAMPLES if issubclass(kind, types)), "sample")
        name = str(kind.__schema__) if issubclass(kind, Extension) else str(info.serialization_alias)
        values[name] = [value] if model.get_field_multiplicity(field) else value
    return values
