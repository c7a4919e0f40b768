"""The module's configuration: names, defaults and rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import attrs
import jinja2
import jsonschema
import phonenumbers
from jinja2.sandbox import ImmutableSandboxedEnvironment

Adopt = Literal["verified", "any", "never"]
Visibility = Literal["all", "managed", "own"]

TEMPLATES = ImmutableSandboxedEnvironment(finalize=lambda value: "" if value is None else value, autoescape=False)


class ConfigurationError(Exception):
    """A setting is wrong. Neither the message nor the path shows a value, since a value may be a secret.

    Attributes:
        path: The keys that lead to the setting, from the module's `config` on.
    """

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        """Name the setting and what is wrong with it."""
        super().__init__(message)
        self.path = path


@attrs.frozen(kw_only=True)
class Threepids:
    """Which attributes become third-party identifiers, and the country of national phone numbers."""

    email: bool = True
    msisdn: bool = True
    phone_region: str | None = None


@attrs.frozen(kw_only=True)
class Sso:
    """Which single sign-on provider knows the people by their externalId, for each provisioning domain."""

    providers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Password:
    """What a new password does to the sessions."""

    end_sessions: bool = True


@attrs.frozen(kw_only=True)
class Limits:
    """How much one request may ask for. Sizes are in bytes."""

    page_size: int = 1000
    bulk_operations: int = 1000
    body_size: int = 1024 * 1024
    bulk_body_size: int = 4 * 1024 * 1024
    filter_length: int = 8 * 1024


@attrs.frozen(kw_only=True)
class Config:
    """The settings, checked and with their defaults; `docs/configuration.md` describes each."""

    stable_prefix: bool = True
    unstable_prefix: bool = True
    read_only: bool = False
    admin_tokens: bool = True
    localpart: jinja2.Template | None = None
    localpart_taken: Literal["number", "refuse"] = "number"
    display_name: jinja2.Template | None = None
    threepids: Threepids = attrs.field(factory=Threepids)
    visibility: Visibility = "all"
    adopt: Adopt = "verified"
    protected: tuple[re.Pattern[str], ...] = ()
    sso: Sso = attrs.field(factory=Sso)
    password: Password = attrs.field(factory=Password)
    limits: Limits = attrs.field(factory=Limits)
    cursor_secret_path: str | None = None


def _section(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string", "minLength": 1}
_TEXT_OR_NULL = {"type": ["string", "null"], "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_SIZE = {"type": ["integer", "string"], "minimum": 1}

SCHEMA: Mapping[str, Any] = _section(
    stable_prefix=_BOOLEAN,
    unstable_prefix=_BOOLEAN,
    read_only=_BOOLEAN,
    admin_tokens=_BOOLEAN,
    localpart=_TEXT_OR_NULL,
    localpart_taken={"enum": ["number", "refuse"]},
    display_name=_TEXT_OR_NULL,
    threepids=_section(email=_BOOLEAN, msisdn=_BOOLEAN, phone_region=_TEXT_OR_NULL),
    visibility={"enum": ["all", "managed", "own"]},
    adopt={"enum": ["verified", "any", "never"]},
    protected={"type": "array", "items": _TEXT},
    sso=_section(idp_id=_TEXT_OR_NULL, domains={"type": "object", "additionalProperties": _TEXT}),
    password=_section(end_sessions=_BOOLEAN),
    limits=_section(
        page_size=_COUNT, bulk_operations=_COUNT, body_size=_SIZE, bulk_body_size=_SIZE, filter_length=_SIZE
    ),
    cursor_secret_path=_TEXT_OR_NULL,
)
"""The JSON Schema of the configuration. A key that it lacks stops the start."""


def parse(raw: Mapping[str, Any], *, parse_size: Callable[[int | str], int]) -> Config:
    """Return the configuration that an administrator wrote.

    Args:
        raw: The value of `config` in homeserver.yaml.
        parse_size: Synapse's own reading of sizes such as `4M`, in bytes.

    Raises:
        ConfigurationError: A key is unknown, or its value is not what it should be.
    """
    error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(SCHEMA).iter_errors(raw))
    if error is not None:
        raise _explained(error)

    sso = raw.get("sso", {})
    providers = dict(sso.get("domains", {}))
    if sso.get("idp_id"):
        providers.setdefault(DEFAULT_DOMAIN, sso["idp_id"])
    plain = {
        key: raw[key]
        for key in (
            "stable_prefix",
            "unstable_prefix",
            "read_only",
            "admin_tokens",
            "localpart_taken",
            "visibility",
            "adopt",
            "cursor_secret_path",
        )
        if key in raw
    }
    return Config(
        **plain,
        localpart=_template(raw, "localpart"),
        display_name=_template(raw, "display_name"),
        threepids=_threepids(raw.get("threepids", {})),
        protected=tuple(_pattern(pattern, index) for index, pattern in enumerate(raw.get("protected", []))),
        sso=Sso(providers=providers),
        password=Password(**raw.get("password", {})),
        limits=_limits(raw.get("limits", {}), parse_size),
    )


DEFAULT_DOMAIN = "default"
"""The provisioning domain of clients that name none."""


def _template(raw: Mapping[str, Any], key: str) -> jinja2.Template | None:
    source = raw.get(key)
    if source is None:
        return None
    try:
        return TEMPLATES.from_string(source)
    except jinja2.TemplateError:
        raise ConfigurationError((key,), "is not a valid Jinja2 template") from None


def _threepids(raw: Mapping[str, Any]) -> Threepids:
    region = raw.get("phone_region")
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigurationError(("threepids", "phone_region"), _NO_COUNTRY)
    return Threepids(**raw)


def _pattern(source: str, index: int) -> re.Pattern[str]:
    try:
        return re.compile(source)
    except (re.error, OverflowError):
        raise ConfigurationError(("protected", f"<item {index}>"), "is not a valid regular expression") from None


def _limits(raw: Mapping[str, Any], parse_size: Callable[[int | str], int]) -> Limits:
    values = dict(raw)
    for key in ("body_size", "bulk_body_size", "filter_length"):
        if key not in raw:
            continue
        try:
            size = parse_size(raw[key])
        except (IndexError, TypeError, ValueError):
            # Synapse looks for the suffix of an empty string.
            size = 0
        if size < 1:
            raise ConfigurationError(("limits", key), "must be a size in bytes, such as 65536 or 4M")
        values[key] = size
    return Limits(**values)


_NO_COUNTRY = "must be the two capital letters of a country, such as DE"

_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
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
        case "type":
            names = [rule] if isinstance(rule, str) else rule
            return ConfigurationError(path, f"must be {' or '.join(_TYPES[name] for name in names)}")
        case "enum":
            return ConfigurationError(path, f"must be one of {', '.join(rule)}")
        case "minimum":
            return ConfigurationError(path, f"must be at least {rule}")
        case _:
            return ConfigurationError(path, "must not be empty")
