"""What a client sends and is told, without what it says of people.

Names, structure and the words of the protocol stay; of any other text there is left what it looks like, and its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

import attrs
from scim2_models import Path

from synapse_scim.config import Config
from synapse_scim.protocol.dialects import attribute_at
from synapse_scim.protocol.expressions import ATTRIBUTE, masked_expression
from synapse_scim.protocol.payload import MAX_DEPTH
from synapse_scim.protocol.provider import composed_user, provider

MAX_ITEMS = 50
"""How many entries of a list are shown."""

MAX_DETAIL = 2000
"""How long what an error says may be, to be shown."""

MAX_HEADER = 200
"""How many characters of a header are shown."""

SECRET = "<secret>"  # noqa: S105 - what stands in its place # nosec B105
"""What stands in place of a password, whose length is nobody's business either."""

_NUMBERS = frozenset({"totalresults", "startindex", "itemsperpage", "count", "failonerrors", "status"})
_SMALL_NUMBER = re.compile(r"-?[0-9]{1,9}")
_ENDPOINTS = frozenset({"Users", "Me", "Bulk", ".search", "AuditEvents"})
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_KEPT: Mapping[str, re.Pattern[str]] = {
    "schemas": re.compile(r"urn:[\w:.-]{1,200}", re.ASCII),
    "op": re.compile(r"add|remove|replace", re.IGNORECASE),
    "method": re.compile(r"get|post|put|patch|delete", re.IGNORECASE),
    "type": re.compile(
        r"work|home|other|mobile|fax|pager|photo|thumbnail|aim|gtalk|icq|xmpp|msn|skype|qq|yahoo", re.IGNORECASE
    ),
    **dict.fromkeys(("active", "primary"), re.compile(r"true|false", re.IGNORECASE)),
    **dict.fromkeys(_NUMBERS, _SMALL_NUMBER),
    "sortorder": re.compile(r"ascending|descending", re.IGNORECASE),
    "scimtype": re.compile(
        r"invalid(?:Filter|Syntax|Path|Value|Vers|Cursor|Count)|expiredCursor|mutability|noTarget|sensitive|tooMany"
        r"|uniqueness"
    ),
    "resourcetype": re.compile(r"User"),
    **dict.fromkeys(("created", "lastmodified"), _TIME),
    "version": re.compile(r'(?:W/)?"[0-9a-f]{32}"|\*'),
}
"""The attributes whose texts stay, and which of their texts do."""

_CONDITIONS = frozenset({"If-Match", "If-None-Match"})
_USER_IDS = frozenset({"id", "userid"})
_LISTS_OF_NAMES = frozenset({"attributes", "excludedattributes", "sortby"})

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_LONG_NUMBER = re.compile(r"\+?\d[\d ()./-]{4,}\d")
_LOOKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("number", re.compile(r"(?:tel:)?[+-]?\d[\d ()./-]*", re.IGNORECASE)),
    ("user ID", re.compile(r"@[^:\s]+:\S+")),
    ("URL", re.compile(r"(?:https?|mxc)://\S+|data:\S+", re.IGNORECASE)),
    ("e-mail", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
)
_PLACEHOLDER = re.compile(r"<[\w -]+>")
_SHORTEST = 3
"""What is shorter stands in any sentence by chance; where it is quoted, it is hidden too."""

_QUOTED = re.compile(r"""(?<!\w)(['"])(.+?)\1(?!\w)""", re.DOTALL)
_SETTING = re.compile(r"limits\.[a-z_]+|read_only")


def _known_names() -> Iterator[str]:
    model = composed_user(provider(Config(), passwords=True))
    for path in cast("Any", Path)[model].iter_paths():
        yield from re.split(r"[.:]", str(path).lower())
    yield from ("operations", "path", "value", "data", "bulkid", "filter", "cursor", "schemas", "userid")
    yield from (*_KEPT, *_LISTS_OF_NAMES)
    # What errors offer instead.
    yield from ("add", "remove", "replace", "get", "post", "put", "patch", "delete")


_KNOWN = frozenset(_known_names())


def placeholder(text: str) -> str:
    """Return what is shown in place of a text: what it looks like, and its length."""
    if not text:
        return text
    look = next((look for look, pattern in _LOOKS if pattern.fullmatch(text)), "text")
    return f"<{look} of {len(text)}>"


@attrs.define(kw_only=True)
class Masker:
    """Masks one request, and after it the answer.

    Attributes:
        server_name: The homeserver's: user IDs that end with it stay, where an id stands.
        knows_all: The whole request was masked. Otherwise the words of the answer, which may quote it, are hidden.
    """

    server_name: str
    knows_all: bool = True
    _is_answer: bool = False
    _hidden: dict[str, str] = attrs.field(factory=dict)
    _names: set[str] = attrs.field(factory=set)

    def request(self, body: Any) -> Any:
        """Return what is shown of the JSON that a client sent."""
        return self._value(body, "", 0)

    def answer(self, body: Any) -> Any:
        """Return what is shown of the JSON that it was told: the request's texts are hidden in what errors say too."""
        self._is_answer = True
        return self._value(body, "", 0)

    def query(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """Return what is shown of a query string."""
        return {self._name(name): self.text(name.lower(), value) for name, value in parameters.items()}

    def headers(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return what is shown of headers, none of which is a credential."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        return {
            name: self.text("version", value) if name in _CONDITIONS else self._header(value) for name, value in pairs
        }

    def path(self, path: str) -> str:
        """Return what is shown of a path below the prefix, percent-encoded or not."""
        return "/".join(self._segment(unquote(segment)) for segment in path.split("/"))

    def text(self, attribute: str, text: str) -> str:
        """Return what is shown of a text that is the value of an attribute, whose name is in lower case."""
        if attribute == "password":
            return self._hide(text, SECRET)
        if (kept := _KEPT.get(attribute)) and kept.fullmatch(text):
            return text
        if attribute in _USER_IDS and self._is_user_id(text):
            return text
        return self._read(attribute)(text)

    def _read(self, attribute: str) -> Callable[[str], str]:
        """Return what shows the texts of an attribute that are not shown as they are."""
        if attribute == "filter":
            return self._filter
        if attribute == "path":
            return self._path
        if attribute in _LISTS_OF_NAMES:
            return self._list_of_names
        return self._said if attribute == "detail" and self._is_answer else self._hide

    def _filter(self, text: str) -> str:
        return masked_expression(text, self.text, is_path=False)

    def _path(self, text: str) -> str:
        is_url = re.match(r"/|\w+/", text) is not None
        return self.path(text) if is_url else masked_expression(text, self.text, is_path=True)

    def _list_of_names(self, text: str) -> str:
        return ",".join(self._name(name) for name in text.split(","))

    def _value(self, value: Any, attribute: str, depth: int) -> Any:
        if isinstance(value, dict | list) and depth > MAX_DEPTH:
            # The service refuses it, and quotes nothing of it.
            return "<nested deeper>"
        if isinstance(value, dict):
            members = {name.lower(): member for name, member in value.items()}
            path = members.get("path")
            changed = _attribute_at(path) if isinstance(path, str) and "value" in members else "value"
            return {
                self._name(name): self._value(
                    member, changed if name.lower() == "value" else _attribute_at(name), depth + 1
                )
                for name, member in value.items()
            }
        if isinstance(value, list):
            # What a request says beyond may be quoted in the answer; nothing quotes the answer.
            masked = [
                self._value(item, attribute, depth + 1) for item in value[: MAX_ITEMS if self._is_answer else None]
            ]
            return masked if len(value) <= MAX_ITEMS else [*masked[:MAX_ITEMS], f"<{len(value) - MAX_ITEMS} more>"]
        if isinstance(value, str):
            return self.text(attribute, value)
        if value is None or isinstance(value, bool) or (attribute in _NUMBERS and _SMALL_NUMBER.fullmatch(str(value))):
            return value
        return self._hide(str(value), "<number>")

    def _name(self, name: str) -> str:
        """Return what is shown of the name of a member, which in a PATCH without a path may be a path."""
        if ATTRIBUTE.fullmatch(name):
            self._names.add(name.lower())
            return name
        return masked_expression(name, self.text, is_path=True)

    def _header(self, value: str) -> str:
        printable = "".join(c for c in value[:MAX_HEADER] if c.isascii() and c.isprintable())
        return _EMAIL.sub(lambda match: self._hide(match[0]), printable)

    def _segment(self, segment: str) -> str:
        return segment if segment in _ENDPOINTS or self._is_user_id(segment) else self._hide(segment)

    def _is_user_id(self, text: str) -> bool:
        return re.fullmatch(rf"@[a-z0-9._=/+-]+:{re.escape(self.server_name)}", text) is not None

    def _hide(self, text: str, shown: str | None = None) -> str:
        self._hidden[text] = shown or placeholder(text)
        return self._hidden[text]

    def _said(self, detail: str) -> str:
        """Return what is shown of the words of an error: names of attributes, and no value that they may quote."""
        if not self.knows_all:
            return placeholder(detail)
        lowered = detail.lower()
        quoted = {
            text for text in self._hidden if len(text) >= _SHORTEST and (text in detail or text.lower() in lowered)
        }
        for text in sorted(quoted, key=len, reverse=True):
            spelt = f"{re.escape(text)}|{re.escape(text.lower())}"
            detail = re.sub(spelt, self._hidden[text], detail, flags=re.IGNORECASE)
        if len(detail) > MAX_DETAIL:
            return placeholder(detail)
        detail = _QUOTED.sub(lambda match: f"{match[1]}{self._quoted(match[2])}{match[1]}", detail)
        for pattern in (_EMAIL, _LONG_NUMBER):
            detail = pattern.sub(lambda match: placeholder(match[0]), detail)
        return detail

    def _quoted(self, text: str) -> str:
        names = {*re.split(r"[.:]", text.lower())}
        is_name = names <= _KNOWN or text.lower() in self._names or _SETTING.fullmatch(text)
        return text if is_name or self._is_user_id(text) or _PLACEHOLDER.fullmatch(text) else placeholder(text)


def _attribute_at(path: str) -> str:
    return attribute_at(path).strip().lower()


def bounded(value: Any, most: int) -> Any:
    """Return a value, or if its JSON is longer than so many characters, the beginning of its text with a note."""
    text = json.dumps(value, separators=(",", ":"))
    return value if len(text) <= most else f"{text[:most]}... <{len(text) - most} more characters>"
