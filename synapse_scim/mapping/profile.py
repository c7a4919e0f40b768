"""The Matrix profile that a User has: display name, avatar, and the fields that the configuration publishes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import jinja2
from scim2_models import InvalidValueException

from synapse_scim.accounts import MAX_DISPLAYNAME_LENGTH, Account
from synapse_scim.mapping.identifiers import rendered
from synapse_scim.mapping.schema import USER_SCHEMA
from synapse_scim.steps import SetProfileField

DISPLAYNAME = "displayname"
AVATAR_URL = "avatar_url"
_MXC = re.compile(r"mxc://[^/\s]{1,255}/[A-Za-z0-9_-]{1,255}")
"""A picture in a media repository (Matrix specification, "Matrix Content (`mxc://`) URIs"). Synapse takes any text."""

MAPPED_FIELDS = frozenset({DISPLAYNAME, AVATAR_URL})


@attrs.frozen(kw_only=True)
class ProfilePlan:
    """What becomes of a profile.

    Attributes:
        changes: What is written now.
        displayname: The display name afterwards.
        avatar_url: The avatar afterwards, as far as it is known now.
        photo: The photo that this avatar was made of; `None` if SCIM did not make it.
        fetch: The photo to fetch, from which the avatar will be made.
    """

    changes: tuple[SetProfileField, ...] = ()
    displayname: str | None = None
    avatar_url: str | None = None
    photo: str | None = None
    fetch: str | None = None


@attrs.frozen(kw_only=True)
class ProfileMapping:
    """Computes profiles.

    Attributes:
        display_name: The configured template of the display name.
        fields: The attribute, as a path, that each custom field shows.
        fetches: Whether photos elsewhere become avatars.
    """

    display_name: jinja2.Template | None = None
    fields: Mapping[str, str] = attrs.field(factory=dict)
    fetches: bool = True

    def plan(
        self,
        account: Account | None,
        published: Mapping[str, Any],
        wanted: Mapping[str, Any],
        made_of: str | None = None,
    ) -> ProfilePlan:
        """Return what a wanted User makes of a profile. What it does not change is not written.

        Args:
            account: The account; `None` for one to be, which is registered with its display name.
            published: The User that the account is.
            wanted: The User that it shall be.
            made_of: What its avatar is made of, if its photo does not say that.

        Raises:
            InvalidValueException: A value cannot be used.
        """
        avatar = self._avatar(account, published.get("photos") or (), wanted.get("photos") or ())
        if made_of is not None and avatar.photo is not None:
            avatar = attrs.evolve(avatar, photo=made_of)
        changes = list(avatar.changes)
        displayname = self.displayname(wanted)
        if account is not None and displayname == self.displayname(published):
            displayname = account.displayname or ""
        elif account is not None:
            changes.append(SetProfileField(field=DISPLAYNAME, value=displayname, former=account.displayname))
        for field, path in self.fields.items():
            value, former = text_at(wanted, path), account.profile_fields.get(field) if account else None
            if value != text_at(published, path) and value != former:
                changes.append(SetProfileField(field=field, value=value, former=former))
        return attrs.evolve(avatar, changes=tuple(changes), displayname=displayname or None)

    def displayname(self, user: Mapping[str, Any]) -> str:
        """Return the display name of the profile that a User should have.

        By default the first that says something: `displayName`, `name.formatted`, given and family name, userName.

        Raises:
            InvalidValueException: It is longer than Synapse allows.
        """
        if self.display_name is not None:
            displayname = rendered(self.display_name, user)
        else:
            name = user.get("name") or {}
            parts = " ".join(filter(None, (name.get("givenName"), name.get("familyName"))))
            choices = (user.get("displayName"), name.get("formatted"), parts, user.get("userName"))
            displayname = next((text for choice in choices if (text := (choice or "").strip())), "")
        if len(displayname) > MAX_DISPLAYNAME_LENGTH:
            raise InvalidValueException(
                detail=f"'displayName' is longer than {MAX_DISPLAYNAME_LENGTH} characters, the most that Matrix takes"
            )
        return displayname or str(user["userName"])

    def _avatar(
        self, account: Account | None, published: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]
    ) -> ProfilePlan:
        record = account.record if account else None
        present = account.avatar_url if account else None
        made_of = record.photo if record else None
        if list(wanted) == list(published):
            return ProfilePlan(avatar_url=record.avatar_url if record else present, photo=made_of)
        photo = chosen_photo(wanted)
        if photo is not None and _MXC.fullmatch(photo):
            changes = () if photo == present else (_set_avatar(photo, present),)
            return ProfilePlan(changes=changes, avatar_url=photo, photo=photo)
        if photo is not None and photo == made_of and record is not None and record.avatar_url == present:
            return ProfilePlan(avatar_url=present, photo=photo)
        if photo is not None and self.fetches and photo.startswith("https:"):
            return ProfilePlan(avatar_url=present, photo=made_of, fetch=photo)
        # What cannot become an avatar is kept as an attribute, and the former avatar goes with the former photo.
        return ProfilePlan(changes=(_set_avatar(None, present),) if present else ())


def _set_avatar(avatar_url: str | None, former: str | None) -> SetProfileField:
    return SetProfileField(field=AVATAR_URL, value=avatar_url, former=former)


def chosen_photo(photos: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the photo that becomes the avatar: the primary one, else the first."""
    with_value = [photo for photo in photos if photo.get("value")]
    primary = next((photo for photo in with_value if photo.get("primary")), None)
    chosen = primary or next(iter(with_value), None)
    return str(chosen["value"]) if chosen else None


def text_at(user: Mapping[str, Any], path: str) -> str | None:
    """Return the text of an attribute: of several values the primary one, else the first.

    Args:
        user: A User as JSON.
        path: `timezone`, `name.familyName`, or with a schema's URN before it.
    """
    schema, _, name = path.rpartition(":")
    value: Any = user.get(schema) if schema not in {"", USER_SCHEMA} else user
    for part in name.split("."):
        if isinstance(value, list):
            value = next((entry for entry in value if entry.get("primary")), next(iter(value), None))
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, list):
        value = chosen_photo(value)
    return None if value in (None, "") or isinstance(value, Mapping) else str(value)
