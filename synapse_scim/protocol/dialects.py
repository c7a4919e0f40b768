"""What identity providers send that no RFC allows, where its meaning is plain.

Each function rewrites one dialect into SCIM, before the library reads the request; the rest of the dialects is in
scim2-models (`protocol.provider.POLICY`). The names are those of the clients that send it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scim2_models import User

from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, USER_SCHEMA, PasswordlessUser

_MISPRINT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0user"

_MANAGER = f"{ENTERPRISE_SCHEMA}:manager"

_CORE_ATTRIBUTES: Sequence[Mapping[str, Any]] = User.to_schema().model_dump()["attributes"]

_UNWRITTEN = frozenset({"id", "meta", "schemas", "groups"})


def resource(payload: Any) -> Any:
    """Return the body of a POST or PUT as SCIM."""
    if not isinstance(payload, dict):
        return payload
    user: dict[str, Any] = {}
    for given, value in payload.items():
        name = entra_enterprise_urn(given)
        if is_manager(name):
            user[_MANAGER] = entra_manager(value)
        elif name.lower() == ENTERPRISE_SCHEMA.lower() and isinstance(value, dict):
            user[name] = {
                key: entra_manager(item) if key.lower() == "manager" else scim_sdk_scalar(key, item)
                for key, item in value.items()
            }
        else:
            user[name] = scim_sdk_scalar(name, value)
    return user


def patch(payload: Any) -> Any:
    """Return the body of a PATCH as SCIM."""
    if not isinstance(payload, dict):
        return payload
    return {
        name: [scim for operation in value for scim in map(_operation, entra_paths_as_names(operation))]
        if name.lower() == "operations" and isinstance(value, list)
        else value
        for name, value in payload.items()
    }


def entra_paths_as_names(operation: Any) -> list[Any]:
    """Entra ID writes several paths as members of one value: `{'emails[type eq "work"].value': "…"}`."""
    if not isinstance(operation, dict):
        return [operation]
    members = {name.lower(): name for name in operation}
    value = operation.get(members.get("value", ""))
    if operation.get(members.get("path", "")) or not isinstance(value, dict):
        return [operation]
    paths = {name: item for name, item in value.items() if "[" in name}
    if not paths:
        return [operation]
    others = {name: item for name, item in value.items() if name not in paths}
    split = [{**operation, members["value"]: others}] if others else []
    return split + [{**operation, "path": path, members["value"]: item} for path, item in paths.items()]


def _operation(operation: Any) -> Any:
    if not isinstance(operation, dict):
        return operation
    members = {name.lower(): name for name in operation}
    path = operation.get(members.get("path", ""))
    if isinstance(path, str):
        path = entra_enterprise_urn(path)
        operation = {**operation, members["path"]: path}
    value_name = members.get("value")
    if value_name is None:
        return operation
    value = operation[value_name]
    if not path:
        value = auth0_full_resource(value)
    elif isinstance(path, str) and is_manager(path):
        return entra_manager_operation(operation, members, value)
    elif isinstance(path, str):
        value = scim_sdk_scalar(attribute_at(path), value)
    return {**operation, value_name: value}


def entra_enterprise_urn(name: str) -> str:
    """Microsoft's documentation misprints the enterprise extension as `…:enterprise:2.0User`, and people copy it."""
    if name[: len(_MISPRINT)].lower() != _MISPRINT:
        return name
    return ENTERPRISE_SCHEMA + name[len(_MISPRINT) :]


def entra_manager(value: Any) -> Any:
    """Entra ID sends a manager as a string, an object or a list of one, and an empty one to remove it."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else value or None
    if isinstance(value, str):
        value = {"value": value}
    if isinstance(value, dict):
        manager = next((item for name, item in value.items() if name.lower() == "value"), None)
        return {"value": manager} if manager else None
    return value


def is_manager(path: str) -> bool:
    """Tell whether the path of a PATCH operation is that of the manager, or of its value."""
    return path.lower().removesuffix(".value") == _MANAGER.lower()


def entra_manager_operation(operation: Mapping[str, Any], members: Mapping[str, str], value: Any) -> dict[str, Any]:
    """Entra ID replaces a manager by an empty one where it means to remove it, and removes one by naming it."""
    removes = str(operation.get(members.get("op", ""))).lower() == "remove"
    manager = None if removes else entra_manager(value)
    changed = dict(operation)
    changed[members["path"]] = _MANAGER
    if manager is None:
        changed[members.get("op", "op")] = "remove"
        del changed[members["value"]]
    else:
        changed[members["value"]] = manager
    return changed


def auth0_full_resource(value: Any) -> Any:
    """Auth0 patches without path with the whole resource, read-only attributes included; these stay as they are."""
    if not isinstance(value, dict):
        return value
    return resource({name: item for name, item in value.items() if name.lower() not in _UNWRITTEN})


_MULTI_VALUED = frozenset(
    str(info.serialization_alias).lower()
    for field, info in PasswordlessUser.model_fields.items()
    if PasswordlessUser.get_field_multiplicity(field)
)


def scim_sdk_scalar(name: str, value: Any) -> Any:
    """Builds of SCIM-SDK (Keycloak, CAS) of mid-2026 send single values as lists of one (SCIM-SDK issue 968)."""
    if isinstance(value, dict):
        return {key: scim_sdk_scalar(key, item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if name.lower() in _MULTI_VALUED:
        return [scim_sdk_scalar("", item) if isinstance(item, dict) else item for item in value]
    return value[0] if len(value) == 1 and not isinstance(value[0], dict | list) else value


def attribute_at(path: str) -> str:
    """Return the name of the attribute, or sub-attribute, that a path ends with."""
    begin, end = path.find("["), path.rfind("]")
    return re.split(r"[.:]", path[:begin] + path[end + 1 :] if -1 < begin < end else path)[-1]


_UNQUOTED = re.compile(r"^\s*([A-Za-z][\w.:$-]*)\s+(eq)\s+([^\s\"'()\[\]]+)\s*$", re.IGNORECASE)
_LITERALS = frozenset({"true", "false", "null"})


def authentik_filter(scim_filter: str) -> str:
    """Releases of authentik up to 2025.8 do not quote the value they look for: `userName eq jdoe`."""
    match = _UNQUOTED.match(scim_filter)
    if match is None or match[3].lower() in _LITERALS:
        return scim_filter
    return f'{match[1]} {match[2]} "{match[3]}"'


def is_canaille(user_agent: str | None) -> bool:
    """Tell whether a client may be Canaille: scim2-client on httpx, which no release since 0.9 uses."""
    return (user_agent or "").startswith("python-httpx/")


def canaille_announcement(announced: Any) -> Any:
    """Return the answer of a discovery endpoint as Canaille can read it, at least up to 0.3.6.

    It knows nothing that came after RFC 7643, such as RFC 9865's `pagination`, and refuses what it does not know. From
    `/Schemas` it builds the class of its Users, and fails where that lacks an attribute of the core schema, even one
    that it has no value for: it is told of `groups` and `password` too, which are ignored like anything unknown.
    """
    if "Resources" in announced:
        return {**announced, "Resources": [canaille_announcement(schema) for schema in announced["Resources"]]}
    if announced.get("id") == USER_SCHEMA and "attributes" in announced:
        names = {attribute["name"] for attribute in announced["attributes"]}
        more = [attribute for attribute in _CORE_ATTRIBUTES if attribute["name"] not in names]
        return {**announced, "attributes": [*announced["attributes"], *more]}
    return {name: value for name, value in announced.items() if name != "pagination"}


def bulk(payload: Any) -> Any:
    """Return the body of a bulk request as SCIM: each operation's data in its own dialect."""
    if not isinstance(payload, dict):
        return payload

    def operation(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        members = {name.lower(): name for name in value}
        method = value.get(members.get("method", ""))
        data_name = members.get("data")
        if data_name is None or not isinstance(method, str):
            return value
        read = patch if method.upper() == "PATCH" else resource
        return {**value, data_name: read(value[data_name])}

    return {
        name: [operation(item) for item in value] if name.lower() == "operations" and isinstance(value, list) else value
        for name, value in payload.items()
    }
