"""E-mail addresses and phone numbers as Matrix's third-party identifiers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import attrs
import phonenumbers
from scim2_models import InvalidValueException

from synapse_scim.accounts import Medium, Threepid
from synapse_scim.config import Threepids

ATTRIBUTES: Mapping[str, Medium] = {"emails": "email", "phoneNumbers": "msisdn"}
"""The multi-valued attributes whose entries can be third-party identifiers."""

ATTRIBUTE_OF_MEDIUM: Mapping[str, str] = {medium: attribute for attribute, medium in ATTRIBUTES.items()}

_NOT_MSISDN = frozenset({"fax", "pager"})

_EMAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+")
"""What is plausibly an address. Synapse's own check asks for one `@`; whether mail arrives is not for us to say."""


@attrs.frozen
class ThreepidMapping:
    """Tells which third-party identifier an entry of an attribute stands for.

    Attributes:
        settings: What to bind, and the country of national phone numbers.
        to_email: The homeserver's canonical form of an e-mail address; it raises `ValueError` for what is none.
    """

    settings: Threepids
    to_email: Callable[[str], str]

    def mapped(self, attribute: str) -> Medium | None:
        """Return the kind of identifier that an attribute holds, if the configuration wants it bound."""
        medium = ATTRIBUTES.get(attribute)
        wanted = {"email": self.settings.email, "msisdn": self.settings.msisdn}
        return medium if medium and wanted[medium] else None

    def threepid(self, attribute: str, entry: Mapping[str, Any]) -> Threepid | None:
        """Return the identifier that an entry stands for, or `None` for one that is kept as an attribute only.

        Raises:
            InvalidValueException: An entry of `emails` holds no e-mail address (RFC 7643 §4.1.2).
        """
        value = entry.get("value")
        medium = self.mapped(attribute)
        if medium is None or not value:
            return None
        if medium == "email":
            try:
                if not _EMAIL.fullmatch(value.strip()):
                    raise ValueError  # noqa: TRY301 - as the homeserver says it
                return Threepid("email", self.to_email(value))
            except ValueError:
                raise InvalidValueException(detail="'emails.value' holds something that is no e-mail address") from None
        if str(entry.get("type", "")).lower() in _NOT_MSISDN:
            return None
        number = self.to_msisdn(value)
        return Threepid("msisdn", number) if number else None

    def to_msisdn(self, number: str) -> str | None:
        """Return the digits of a phone number in international form, or `None` where it has no such form.

        Takes what people write (`+49 (30) 123-456`), and `tel:` URIs without extension (RFC 3966).
        """
        return _to_msisdn(number, self.settings.phone_region)

    def unbound(self, attributes: Mapping[str, Any], bound: Collection[Threepid]) -> int:
        """Return how many phone numbers of a user stay mere attributes, given the identifiers that are bound."""
        if self.mapped("phoneNumbers") is None:
            return 0
        entries = attributes.get("phoneNumbers") or ()
        return sum(self.threepid("phoneNumbers", entry) not in bound for entry in entries)

    def shareable(self, attributes: Mapping[str, Any]) -> set[Threepid]:
        """Return the identifiers of a user that may be somebody else's: then they are kept as mere attributes.

        A phone on a desk is shared by people, and people come with a number that somebody else has bound. An e-mail
        address is not treated so: it opens the account, and a conflict is an error.
        """
        return {threepid for threepid in self.threepids(attributes) if threepid.medium == "msisdn"}

    def threepids(self, attributes: Mapping[str, Any]) -> dict[Threepid, str]:
        """Return the identifiers that the attributes of a user stand for, each with the attribute that names it.

        Raises:
            InvalidValueException: An e-mail address is none.
        """
        return {
            threepid: attribute
            for attribute in ATTRIBUTES
            for entry in attributes.get(attribute) or ()
            if (threepid := self.threepid(attribute, entry)) is not None
        }


@lru_cache(maxsize=64)
def _to_msisdn(number: str, region: str | None) -> str | None:
    """Return what `ThreepidMapping.to_msisdn` does. A write asks for each of its numbers some ten times."""
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if parsed.extension or not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")


def published_value(threepid: Threepid) -> str:
    """Return an identifier that SCIM did not bind as the value of an entry."""
    return f"+{threepid.address}" if threepid.medium == "msisdn" else threepid.address


def unclaimed(threepids: Iterable[Threepid], claimed: Iterable[Threepid]) -> list[Threepid]:
    """Return the identifiers that no entry stands for, in an order that does not change."""
    return sorted(set(threepids) - set(claimed))
