"""The module's configuration: names, defaults and rules."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
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
class Inactive:
    """What becomes of people whom the client disables.

    Attributes:
        deactivate_after: How long they stay locked until they are deactivated; `None` for ever.
        end_sessions: Whether their devices are deleted at once.
    """

    deactivate_after: timedelta | None = timedelta(days=30)
    end_sessions: bool = False


@attrs.frozen(kw_only=True)
class Deleted:
    """What becomes of people whom the client deletes.

    Attributes:
        deactivate_after: How long they stay locked until they are deactivated.
        erase: Whether the homeserver erases what they said.
        revive_within: How long a new user with the same externalId gets the old account back.
        forget_after: How long what is recorded of somebody who left is kept.
    """

    deactivate_after: timedelta = timedelta(0)
    erase: bool = False
    revive_within: timedelta = timedelta(days=90)
    forget_after: timedelta = timedelta(days=365)


@attrs.frozen(kw_only=True)
class Guard:
    """How many people may be disabled or deleted within a time.

    Attributes:
        window: The time.
        share: The most, as a share of those who were active when it began; `None` if `count` says it.
        count: The most, as a number; with neither there is no guard.
        at_least: As many may go whatever the most is.
    """

    window: timedelta = timedelta(hours=1)
    share: float | None = 0.2
    count: int | None = None
    at_least: int = 20


@attrs.frozen(kw_only=True)
class RoomSuccession:
    """Who takes over the rooms whose last administrator leaves: the manager, else a successor for all."""

    enabled: bool = False
    successor: str | None = None


@attrs.frozen(kw_only=True)
class Photos:
    """Whether photos are fetched for avatars, and how large one may be, in bytes."""

    fetch: bool = True
    max_size: int = 5 * 1024 * 1024


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
    profile_fields: Mapping[str, str] = attrs.field(factory=dict)
    inactive: Inactive = attrs.field(factory=Inactive)
    deleted: Deleted = attrs.field(factory=Deleted)
    guard: Guard = attrs.field(factory=Guard)
    room_succession: RoomSuccession = attrs.field(factory=RoomSuccession)
    photos: Photos = attrs.field(factory=Photos)
    reconcile: timedelta = timedelta(minutes=10)
    allow_synapse_indexes: bool = False
    limits: Limits = attrs.field(factory=Limits)
    cursor_secret_path: str | None = None


def _section(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string", "minLength": 1}
_TEXT_OR_NULL = {"type": ["string", "null"], "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_NUMBER = {"type": "integer", "minimum": 0}
_SIZE = {"type": ["integer", "string"], "minimum": 1}
_DURATION = {"type": ["integer", "string"], "minimum": 0}

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
    profile_fields={"type": "object", "additionalProperties": _TEXT},
    inactive=_section(deactivate_after=_DURATION, end_sessions=_BOOLEAN),
    deleted=_section(deactivate_after=_DURATION, erase=_BOOLEAN, revive_within=_DURATION, forget_after=_DURATION),
    guard=_section(window=_DURATION, max={"type": ["integer", "string", "null"], "minimum": 0}, at_least=_NUMBER),
    room_succession=_section(enabled=_BOOLEAN, successor=_TEXT_OR_NULL),
    photos=_section(fetch=_BOOLEAN, max_size=_SIZE),
    reconcile=_DURATION,
    allow_synapse_indexes=_BOOLEAN,
    limits=_section(
        page_size=_COUNT, bulk_operations=_COUNT, body_size=_SIZE, bulk_body_size=_SIZE, filter_length=_SIZE
    ),
    cursor_secret_path=_TEXT_OR_NULL,
)
"""The JSON Schema of the configuration. A key that it lacks stops the start."""


def parse(
    raw: Mapping[str, Any],
    *,
    parse_size: Callable[[int | str], int],
    parse_duration_ms: Callable[[int | str], int],
) -> Config:
    """Return the configuration that an administrator wrote.

    Args:
        raw: The value of `config` in homeserver.yaml.
        parse_size: Synapse's own reading of sizes such as `4M`, in bytes.
        parse_duration_ms: Synapse's own reading of durations such as `30d`, in milliseconds.

    Raises:
        ConfigurationError: A key is unknown, or its value is not what it should be.
    """
    error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(SCHEMA).iter_errors(raw))
    if error is not None:
        raise _explained(error)

    values: dict[str, Any] = copy.deepcopy(dict(raw))
    if values.get("inactive", {}).get("deactivate_after") == "never":
        values["inactive"]["deactivate_after"] = None
    for size in _SIZES:
        _convert(values, size, lambda value: _at_least(1, parse_size(value)), _NO_SIZE)
    for duration in _DURATIONS:
        _convert(values, duration, lambda value: _duration(parse_duration_ms(value)), _NO_DURATION)
    if values.get("threepids", {}).get("phone_region") not in {None, *phonenumbers.SUPPORTED_REGIONS}:
        raise ConfigurationError(
            ("threepids", "phone_region"), "must be the two capital letters of a country, such as DE"
        )
    sso = values.get("sso", {})
    providers = dict(sso.get("domains", {}))
    if sso.get("idp_id"):
        providers.setdefault(DEFAULT_DOMAIN, sso["idp_id"])
    made: dict[str, Any] = {
        "localpart": _template(values, "localpart"),
        "display_name": _template(values, "display_name"),
        "protected": tuple(_pattern(pattern, index) for index, pattern in enumerate(values.get("protected", []))),
        "sso": Sso(providers=providers),
        "guard": _guard(values.get("guard", {})),
    }
    for key, section in _SECTIONS.items():
        made[key] = section(**values.get(key, {}))
    return Config(**values | made)


_SECTIONS: Mapping[str, Callable[..., Any]] = {
    "threepids": Threepids,
    "password": Password,
    "inactive": Inactive,
    "deleted": Deleted,
    "room_succession": RoomSuccession,
    "photos": Photos,
    "limits": Limits,
}
"""The groups of settings that stand in the configuration as they do here."""

_SIZES = (("photos", "max_size"), ("limits", "body_size"), ("limits", "bulk_body_size"), ("limits", "filter_length"))

_NO_SIZE = "must be a size in bytes, such as 65536 or 4M"
_NO_DURATION = "must be a duration of at most 100 years, such as 30d, 12h or 10m"
_LONGEST_MS = 100 * 365 * 24 * 60 * 60 * 1000

_DURATIONS: tuple[tuple[str, ...], ...] = (
    ("inactive", "deactivate_after"),
    ("deleted", "deactivate_after"),
    ("deleted", "revive_within"),
    ("deleted", "forget_after"),
    ("guard", "window"),
    ("reconcile",),
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


def _pattern(source: str, index: int) -> re.Pattern[str]:
    try:
        return re.compile(source)
    except (re.error, OverflowError):
        raise ConfigurationError(("protected", f"<item {index}>"), "is not a valid regular expression") from None


def _convert(values: dict[str, Any], path: tuple[str, ...], parse: Callable[[Any], Any], problem: str) -> None:
    """Replace what the administrator wrote at a path, if anything, by what it means."""
    *sections, key = path
    for section in sections:
        values = values.get(section, {})
    if values.get(key) is None:
        return
    try:
        values[key] = parse(values[key])
    except (IndexError, TypeError, ValueError, OverflowError):
        # IndexError: Synapse looks for the unit of an empty string.
        raise ConfigurationError(path, problem) from None


def _duration(milliseconds: int) -> timedelta:
    """Return a duration, one that the calendar can hold."""
    if milliseconds > _LONGEST_MS:
        raise ValueError
    return timedelta(milliseconds=_at_least(0, milliseconds))


def _at_least(least: int, number: int) -> int:
    if number < least:
        raise ValueError
    return number


def _guard(values: Mapping[str, Any]) -> Guard:
    most = values.get("max", "20%")
    share: float | None = None
    if isinstance(most, str):
        match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", most)
        if match is None or float(match[1]) > 100:  # noqa: PLR2004 - per cent
            raise ConfigurationError(("guard", "max"), "must be a number of accounts, a share such as 20%, or null")
        most, share = None, float(match[1]) / 100
    others = {key: value for key, value in values.items() if key != "max"}
    return Guard(**others, share=share, count=most)


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
