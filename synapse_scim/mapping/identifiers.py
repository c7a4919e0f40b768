"""userName, externalId, localpart and SCIM id, and how an id stands in a URL."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any
from urllib.parse import quote

import jinja2
from scim2_models import InvalidValueException

MAX_USER_NAME_LENGTH = 255
MAX_EXTERNAL_ID_LENGTH = 512
"""In characters. Both stand in database indexes, and PostgreSQL's hold 2,704 bytes at most."""

PATH_SAFE = "@:=+!$&'()*,;"
"""What a path segment may hold beside letters, digits and `-._~` (RFC 3986 §3.3)."""


def quoted_id(resource_id: str) -> str:
    """Return an id as a segment of a URL that can be requested as it stands."""
    return quote(resource_id, safe=PATH_SAFE)


def fold(text: str) -> str:
    """Return what stands for a text where case does not count: NFC, lower case, beyond ASCII too.

    It is the form in which scim2-models compares, so that database and library agree.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def checked_user_name(user_name: object) -> str:
    """Return a userName in NFC.

    Raises:
        InvalidValueException: It is missing, blank or too long (RFC 7643 §4.1.1).
    """
    if not isinstance(user_name, str) or not user_name.strip():
        raise InvalidValueException(detail="'userName' is required and must not be empty")
    normalised = unicodedata.normalize("NFC", user_name)
    if len(normalised) > MAX_USER_NAME_LENGTH:
        raise InvalidValueException(detail=f"'userName' is longer than {MAX_USER_NAME_LENGTH} characters")
    return normalised


def checked_external_id(external_id: str | None) -> str | None:
    """Return an externalId, an empty one as none.

    Raises:
        InvalidValueException: It is too long.
    """
    if external_id is not None and len(external_id) > MAX_EXTERNAL_ID_LENGTH:
        raise InvalidValueException(detail=f"'externalId' is longer than {MAX_EXTERNAL_ID_LENGTH} characters")
    return external_id or None


def rendered(template: jinja2.Template, user: Mapping[str, Any]) -> str:
    """Return what a configured template makes of a SCIM user.

    Args:
        template: A template that finds the user's attributes by their SCIM names, below `user`.
        user: The user as JSON.

    Raises:
        InvalidValueException: The template asks for more than the user has.
    """
    try:
        return template.render(user=user).strip()
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
        raise InvalidValueException(
            detail="The server's template cannot be filled from this user: an attribute that it needs is missing"
        ) from None


def wanted_localpart(
    user: Mapping[str, Any], template: jinja2.Template | None, to_localpart: Callable[[str], str]
) -> str:
    """Return the localpart that a new user should have.

    Args:
        user: The user as JSON.
        template: The configured template. Without one, an e-mail address gives its part before the `@`, and anything
            else the whole userName: a user ID lasts for ever, and `@jdoe` reads better than `@jdoe=40corp.example`.
        to_localpart: Escapes what no localpart may hold.

    Raises:
        InvalidValueException: Nothing is left to make a localpart of.
    """
    if template is not None:
        name = rendered(template, user)
    else:
        user_name = str(user["userName"]).strip()
        before, at_sign, domain = user_name.partition("@")
        name = before if at_sign and before and domain and "@" not in domain else user_name
    if not name:
        raise InvalidValueException(detail="The server's template for localparts gives nothing for this 'userName'")
    return to_localpart(name)


def numbered(localpart: str) -> Iterator[str]:
    """Yield what to try for somebody whose localpart is another person's: `jdoe2`, `jdoe3` and so on."""
    return (f"{localpart}{number}" for number in count(2))


def unmanaged_user_name(user_id: str, localpart: str, *, taken: bool) -> str:
    """Return the userName of an account that SCIM did not make.

    Args:
        user_id: Its Matrix user ID.
        localpart: The ID's localpart.
        taken: A managed account bears the localpart as its userName; then the whole user ID tells the two apart.
    """
    return user_id if taken else localpart
