"""E-mail addresses and phone numbers as third-party identifiers."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import InvalidValueException
from synapse.util.threepids import validate_email

from synapse_scim.accounts import Threepid
from synapse_scim.config import Threepids
from synapse_scim.mapping.threepids import ThreepidMapping, published_value, unclaimed

THREEPIDS = ThreepidMapping(Threepids(), validate_email)
GERMAN = ThreepidMapping(Threepids(phone_region="DE"), validate_email)


@pytest.mark.parametrize(
    ("number", "digits"),
    [
        ("+49 (30) 123-456", "4930123456"),
        ("+4930123456", "4930123456"),
        ("  +49 30 123456  ", "4930123456"),
        ("tel:+1-201-555-0123", "12015550123"),
        ("+1.201.555.0123", "12015550123"),
        ("\uff0b\uff11\uff12\uff10\uff11\uff15\uff15\uff15\uff10\uff11\uff12\uff13", "12015550123"),
        ("+39 06 1234 5678", "390612345678"),
        ("030 123456", None),
        ("+1 201 555 0123 ext. 7", None),
        ("tel:+1-201-555-0123;ext=7", None),
        ("+1 2", None),
        ("+999 123456789", None),
        ("+", None),
        ("call me", None),
        ("", None),
        ("+" + "1" * 300, None),
    ],
)
def test_numbers_in_international_form(number: str, digits: str | None) -> None:
    """A valid number has E.164 digits without the plus; an extension is nobody's phone."""
    assert THREEPIDS.to_msisdn(number) == digits


@pytest.mark.parametrize(
    ("number", "digits"), [("030 123456", "4930123456"), ("+43 1 5860000", "4315860000"), ("12", None)]
)
def test_national_numbers_of_the_configured_country(number: str, digits: str | None) -> None:
    """With `phone_region` a number without country is of that country."""
    assert GERMAN.to_msisdn(number) == digits


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
def test_what_is_published_is_the_same_number(region: str) -> None:
    """The number that an entry without SCIM shows stands for the identifier that it was made of."""
    example = phonenumbers.example_number(region)
    assert example is not None
    number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    digits = THREEPIDS.to_msisdn(number)

    assert digits is not None
    shown = published_value(Threepid("msisdn", digits))
    assert THREEPIDS.threepid("phoneNumbers", {"value": shown}) == Threepid("msisdn", digits)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("Ann.Lee@Corp.Example", "ann.lee@corp.example"),
        (" ann@x.example\n", "ann@x.example"),
        ("Stra\u00dfe@x.example", "strasse@x.example"),
        ("ann+tag@x", "ann+tag@x"),
        ("o'brien@x.example", "o'brien@x.example"),
    ],
)
def test_addresses_are_canonical(value: str, address: str) -> None:
    """An entry stands for the address in Synapse's canonical form."""
    assert THREEPIDS.threepid("emails", {"value": value, "type": "work"}) == Threepid("email", address)
    assert THREEPIDS.threepid("emails", {"value": address}) == Threepid("email", address)


@pytest.mark.parametrize(
    "value",
    ["ann", "ann@", "@x.example", "@", "a@b@c", "a b@x.example", "Ann <ann@x.example>", "x" * 500 + "@x.example", " "],
)
def test_what_is_no_address_is_refused(value: str) -> None:
    """It is 400 `invalidValue` and names the attribute, not the value (RFC 7643 §4.1.2)."""
    with pytest.raises(InvalidValueException) as refused:
        THREEPIDS.threepid("emails", {"value": value})

    assert refused.value.detail == "'emails.value' holds something that is no e-mail address"


@pytest.mark.parametrize(
    ("attribute", "entry"),
    [
        ("phoneNumbers", {"value": "+49 30 123456", "type": "fax"}),
        ("phoneNumbers", {"value": "+49 30 123456", "type": "Pager"}),
        ("phoneNumbers", {"value": "call me"}),
        ("phoneNumbers", {"value": ""}),
        ("phoneNumbers", {"type": "work"}),
        ("emails", {"value": None}),
        ("emails", {"value": ""}),
        ("ims", {"value": "ann@x.example"}),
    ],
)
def test_what_is_kept_as_a_mere_attribute(attribute: str, entry: dict[str, str | None]) -> None:
    """A fax, a pager, what is no number, what is empty, and what is neither address nor number, is bound nowhere."""
    assert THREEPIDS.threepid(attribute, entry) is None


def test_binding_can_be_turned_off() -> None:
    """What the configuration does not bind is not looked at, not even to refuse it."""
    off = ThreepidMapping(Threepids(email=False, msisdn=False), validate_email)
    user = {"emails": [{"value": "none"}], "phoneNumbers": [{"value": "+49 30 123456"}]}

    assert (off.mapped("emails"), off.mapped("phoneNumbers"), THREEPIDS.mapped("emails")) == (None, None, "email")
    assert off.threepids(user) == {}
    assert off.unbound(user, ()) == 0


def test_the_identifiers_of_a_user() -> None:
    """Each is named once, whatever it is written like, and those that are not bound are counted."""
    fax = {"value": "+49 30 123457", "type": "fax"}
    user = {
        "emails": [{"value": "Ann@x.example"}, {"value": "ann@X.example"}],
        "phoneNumbers": [{"value": "+49 30 123456"}, {"value": "+43 1 5860000"}, fax],
    }
    bound = Threepid("msisdn", "4930123456")

    assert THREEPIDS.threepids(user) == {
        Threepid("email", "ann@x.example"): "emails",
        bound: "phoneNumbers",
        Threepid("msisdn", "4315860000"): "phoneNumbers",
    }
    assert THREEPIDS.threepids({"emails": None}) == {}
    assert THREEPIDS.unbound(user, {bound}) == 2
    assert THREEPIDS.unbound({}, ()) == 0


def test_identifiers_that_no_entry_stands_for_have_an_order() -> None:
    """Two readings of one account show them alike."""
    a, b, c = (Threepid("email", f"{name}@x.example") for name in "abc")

    assert unclaimed({c, a, b}, [b]) == [a, c]
    assert published_value(a) == "a@x.example"
