"""What the configuration may look like, and what is said about one that does not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, cast

import jsonschema

from synapse_scim.config.settings import KEY_TYPES, Scope


class ConfigurationError(Exception):
    """A setting is wrong. Neither the message nor the path shows a value, since a value may be a secret.

    Attributes:
        path: The keys that lead to the setting, from the module's `config` on.
    """

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        """Name the setting and what is wrong with it."""
        super().__init__(message)
        self.path = path


def _section(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string", "minLength": 1}
_TEXT_OR_NULL = {"type": ["string", "null"], "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_NUMBER = {"type": "integer", "minimum": 0}
_SIZE = {"type": ["integer", "string"], "minimum": 1}
_DURATION = {"type": ["integer", "string"], "minimum": 0}

_VISIBILITY = {"enum": ["all", "managed", "own"]}
_ADOPT = {"enum": ["verified", "any", "never"]}
_SCOPES = {"type": "array", "items": {"enum": [scope.value for scope in Scope]}, "minItems": 1}
_CLIENT_IDS = {"type": "array", "items": _TEXT, "minItems": 1}
_RATE = _section(per_second={"type": "number", "exclusiveMinimum": 0}, burst_count=_COUNT)

_CLIENT = _section(
    name=_TEXT,
    scopes=_SCOPES,
    token_paths={"type": "array", "items": _TEXT},
    token_sha256={"type": "array", "items": _TEXT},
    # YAML has times, which JSON has not: `config.clients` looks at it.
    expires={},
    networks={"type": "array", "items": _TEXT},
    basic=_BOOLEAN,
    domain=_TEXT,
    visibility=_VISIBILITY,
    adopt=_ADOPT,
    rate=_RATE,
) | {"required": ["name"]}

_MAS = _section(
    client_id=_TEXT,
    client_secret_path=_TEXT,
    endpoint=_TEXT_OR_NULL,
    upstream_providers={"type": "object", "additionalProperties": _TEXT},
    timeout=_DURATION,
) | {"type": ["object", "null"], "required": ["client_id", "client_secret_path"]}

_ISSUER = _section(
    issuer=_TEXT,
    audience=_TEXT,
    algorithms={"type": "array", "items": {"enum": [*KEY_TYPES]}, "minItems": 1},
    discovery=_BOOLEAN,
    jwks_uri=_TEXT,
    jwks_path=_TEXT,
    secret_path=_TEXT,
    client_claim=_TEXT,
    allowed_clients=_CLIENT_IDS,
    scope_claim=_TEXT,
    domain=_TEXT,
    visibility=_VISIBILITY,
    adopt=_ADOPT,
    rate=_RATE,
) | {"required": ["issuer", "audience", "algorithms", "allowed_clients"]}

_INTROSPECTOR = _section(
    issuer=_TEXT,
    endpoint=_TEXT,
    client_id=_TEXT,
    client_secret_path=_TEXT,
    allowed_clients=_CLIENT_IDS,
    audience=_TEXT_OR_NULL,
    scopes=_SCOPES,
    cache_for=_DURATION,
    domain=_TEXT,
    visibility=_VISIBILITY,
    adopt=_ADOPT,
    rate=_RATE,
) | {"required": ["client_id", "client_secret_path"]}

SCHEMA: Mapping[str, Any] = _section(
    stable_prefix=_BOOLEAN,
    unstable_prefix=_BOOLEAN,
    read_only=_BOOLEAN,
    admin_tokens=_BOOLEAN,
    clients={"type": "array", "items": _CLIENT},
    jwt={"type": "array", "items": _ISSUER},
    introspection={"type": "array", "items": _INTROSPECTOR},
    localpart=_TEXT_OR_NULL,
    localpart_taken={"enum": ["number", "refuse"]},
    display_name=_TEXT_OR_NULL,
    threepids=_section(email=_BOOLEAN, msisdn=_BOOLEAN, phone_region=_TEXT_OR_NULL),
    visibility=_VISIBILITY,
    adopt=_ADOPT,
    protected={"type": "array", "items": _TEXT},
    sso=_section(idp_id=_TEXT_OR_NULL, domains={"type": "object", "additionalProperties": _TEXT}),
    password=_section(end_sessions=_BOOLEAN),
    profile_fields={"type": "object", "additionalProperties": _TEXT},
    inactive=_section(deactivate_after=_DURATION, end_sessions=_BOOLEAN),
    deleted=_section(deactivate_after=_DURATION, erase=_BOOLEAN, revive_within=_DURATION, forget_after=_DURATION),
    guard=_section(window=_DURATION, max={"type": ["integer", "string", "null"], "minimum": 0}, at_least=_NUMBER),
    room_succession=_section(enabled=_BOOLEAN, successor=_TEXT_OR_NULL),
    photos=_section(fetch=_BOOLEAN, max_size=_SIZE),
    reconcile=_DURATION,
    allow_synapse_indexes=_BOOLEAN,
    limits=_section(
        page_size=_COUNT,
        bulk_operations=_COUNT,
        body_size=_SIZE,
        bulk_body_size=_SIZE,
        filter_length=_SIZE,
        admin_rate=_RATE,
    ),
    cursor_secret_path=_TEXT_OR_NULL,
    audit=_section(keep=_DURATION),
    trace=_TEXT_OR_NULL,
    mas=_MAS,
)
"""The JSON Schema of the configuration. A key that it lacks stops the start."""


def check(raw: Mapping[str, Any]) -> None:
    """Check that a configuration has the form that the schema asks for.

    Raises:
        ConfigurationError: It has not.
    """
    error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(SCHEMA).iter_errors(raw))
    if error is not None:
        raise _explained(error)


_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
    "object": "a mapping of keys to values",
    "string": "a string",
}


def _explained(error: jsonschema.ValidationError) -> ConfigurationError:
    """Say what a rule of the schema means, in words that quote no value."""
    path = tuple(f"<item {part}>" if isinstance(part, int) else str(part) for part in error.absolute_path)
    rule: Any = error.validator_value
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            unknown = min(str(key) for key in cast("Mapping[str, Any]", error.instance) if key not in known)
            close = difflib.get_close_matches(unknown, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known here are {', '.join(sorted(known))}"
            return ConfigurationError((*path, unknown), f"is not a setting that this version knows{hint}")
        case "required":
            missing = next(key for key in rule if key not in cast("Mapping[str, Any]", error.instance))
            return ConfigurationError((*path, missing), "must be given")
        case "type":
            names = [rule] if isinstance(rule, str) else rule
            problem = f"must be {' or '.join(_TYPES[name] for name in names)}"
        case "enum":
            problem = f"must be one of {', '.join(rule)}"
        case "minimum":
            problem = f"must be at least {rule}"
        case "exclusiveMinimum":
            problem = f"must be more than {rule}"
        case _:
            problem = "must not be empty"
    return ConfigurationError(path, problem)
