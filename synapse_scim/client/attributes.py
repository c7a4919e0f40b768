"""The attributes of a User as files name them, and people in files as the server would read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from pydantic import ValidationError
from scim2_models import Attribute, Context, Mutability, SCIMException
from scim2_server.service import scim_exception_of

from synapse_scim.client.trouble import Trouble
from synapse_scim.config import Config
from synapse_scim.mapping.identifiers import checked_external_id, checked_user_name
from synapse_scim.mapping.schema import USER_SCHEMA
from synapse_scim.protocol import dialects, payload
from synapse_scim.protocol.provider import composed_user, is_attribute, provider

_PROVIDER = provider(Config(), passwords=True)
_MODEL = composed_user(_PROVIDER)

_COMMON = ("id", "externalId", "schemas", "meta")
"""What every resource has; schemas do not list it (RFC 7643 §3.1)."""

_NEVER_EMPTIED = frozenset({"id", "schemas", "meta", "userName", "active", "password"})


class InvalidPerson(Exception):
    """What a file says of a person is nothing that the server takes; the message says why."""


@attrs.frozen(kw_only=True)
class Column:
    """An attribute, or a sub-attribute, as the column of a table.

    Attributes:
        path: Its name: `userName`, `name.givenName`, `emails.value`, or behind the URN of an extension.
        extension: The URN of the extension that it belongs to.
        attribute: Its name within the schema.
        sub_attribute: The name behind the dot.
        multi_valued: Whether the attribute has several values.
        boolean: Whether it is true or false.
    """

    path: str
    extension: str | None
    attribute: str
    sub_attribute: str | None
    multi_valued: bool
    boolean: bool


@attrs.frozen(kw_only=True)
class _Known:
    """An attribute of a schema: its name, and those of its parts, by their names in lower case."""

    name: str
    parts: Mapping[str, str]


def _columns() -> Iterator[Column]:
    yield from (
        Column(path=name, extension=None, attribute=name, sub_attribute=None, multi_valued=False, boolean=False)
        for name in ("id", "externalId")
    )
    for schema in _PROVIDER.schemas:
        extension = None if schema.id == USER_SCHEMA else str(schema.id)
        for attribute in schema.attributes or ():
            for part in attribute.sub_attributes or (None,):
                described = part or attribute
                path = str(attribute.name) + (f".{part.name}" if part else "")
                yield Column(
                    path=path if extension is None else f"{extension}:{path}",
                    extension=extension,
                    attribute=str(attribute.name),
                    sub_attribute=None if part is None else str(part.name),
                    multi_valued=bool(attribute.multi_valued),
                    boolean=described.type is Attribute.Type.boolean,
                )


def _known(attributes: list[Attribute] | None) -> dict[str, _Known]:
    return {
        str(attribute.name).lower(): _Known(
            name=str(attribute.name),
            parts={str(part.name).lower(): str(part.name) for part in attribute.sub_attributes or ()},
        )
        for attribute in attributes or ()
    }


COLUMNS: Mapping[str, Column] = {column.path.lower(): column for column in _columns()}
"""What the columns of a table may be, by their names in lower case."""

_CORE = {
    **{name.lower(): _Known(name=name, parts={}) for name in _COMMON},
    **next(_known(schema.attributes) for schema in _PROVIDER.schemas if schema.id == USER_SCHEMA),
}
_EXTENSIONS = {
    str(schema.id).lower(): (str(schema.id), _known(schema.attributes))
    for schema in _PROVIDER.schemas
    if schema.id != USER_SCHEMA
}
_READ_ONLY = frozenset(
    str(schema.id)
    for schema in _PROVIDER.schemas
    if all(attribute.mutability is Mutability.read_only for attribute in schema.attributes or ())
)


def wanted_user(raw: Any) -> dict[str, Any]:
    """Return what a file says of a person as the server reads it, without what no client writes.

    Attributes that the file says to be empty are `None`; those of which it says nothing are not there.

    Raises:
        InvalidPerson: The server would not take it.
    """
    if not isinstance(raw, dict):
        raise InvalidPerson("it is no JSON object")
    try:
        payload.check(raw)
        stated = {name: value for name, value in raw.items() if name.lower() != "schemas"}
        with _PROVIDER:
            user = _MODEL.model_validate(
                {"schemas": [USER_SCHEMA], **dialects.resource(stated)}, scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST
            )
            wanted = user.model_dump(scim_ctx=Context.RESOURCE_CREATION_REQUEST)
        wanted["userName"] = checked_user_name(wanted["userName"])
        checked_external_id(wanted.get("externalId"))
    except ValidationError as error:
        raise InvalidPerson(str(scim_exception_of(error).detail)) from None
    except SCIMException as error:
        raise InvalidPerson(str(error.detail)) from None
    return _merged(wanted, dict(_emptied(raw)))


def ensure_attributes(names: Iterable[str]) -> None:
    """Check names of attributes, of which a server leaves out those that it does not know (RFC 7644 §3.9).

    Raises:
        Trouble: One names no attribute of a User.
    """
    for name in names:
        if not (is_attribute(_MODEL, name) or name.lower() in _EXTENSIONS):
            raise Trouble(
                f"{name!r} is no attribute of a User. They are named as in SCIM: userName, name, emails.value and so on"
            )


def unknown_names(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the attributes that the server does not know, and would ignore."""
    for name, value in raw.items():
        if name.lower() in _EXTENSIONS:
            urn, known = _EXTENSIONS[name.lower()]
            yield from (f"{urn}:{part}" for part in value if part.lower() not in known)
        elif name.lower() not in _CORE:
            yield name


def _emptied(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a person is said not to have: null, an empty text, an empty list (RFC 7643 §2.5)."""
    for name, value in raw.items():
        if name.lower() in _EXTENSIONS and isinstance(value, dict):
            urn, known = _EXTENSIONS[name.lower()]
            if urn not in _READ_ONLY:
                yield urn, dict(_emptied_attributes(value, known))
        else:
            yield from _emptied_attributes({name: value}, _CORE)


def _emptied_attributes(values: Mapping[str, Any], known: Mapping[str, _Known]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        attribute = known.get(name.lower())
        if attribute is None or attribute.name in _NEVER_EMPTIED:
            continue
        if value in (None, "", []):
            yield attribute.name, None
        elif isinstance(value, dict):
            parts = attribute.parts
            yield (
                attribute.name,
                {
                    parts[part.lower()]: None
                    for part, item in value.items()
                    if item in (None, "") and part.lower() in parts
                },
            )


def _merged(wanted: Mapping[str, Any], emptied: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(wanted)
    for name, value in emptied.items():
        if isinstance(value, dict):
            merged[name] = _merged(merged.get(name) or {}, value)
        else:
            merged[name] = value
    return {name: value for name, value in merged.items() if value != {}}
