"""userName, localpart and id."""

from __future__ import annotations

import unicodedata
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import InvalidValueException
from synapse.types import map_username_to_mxid_localpart

from synapse_scim.config import TEMPLATES
from synapse_scim.mapping.identifiers import (
    checked_external_id,
    checked_user_name,
    fold,
    numbered,
    quoted_id,
    rendered,
    unmanaged_user_name,
    wanted_localpart,
)

STORABLE = st.text(st.characters(exclude_categories=["Cs"]))


def localpart_of(user_name: str, template: str | None = None, **attributes: Any) -> str:
    """Return the localpart of a new user."""
    compiled = None if template is None else TEMPLATES.from_string(template)
    return wanted_localpart({"userName": user_name, **attributes}, compiled, map_username_to_mxid_localpart)


@given(STORABLE)
def test_an_id_survives_a_url(resource_id: str) -> None:
    """It is one segment of a path, and comes out of it as it was."""
    url = f"https://matrix.example.org/_scim/Users/{quoted_id(resource_id)}"

    path = urlsplit(url).path
    assert path.isascii()
    assert path.count("/") == 3
    assert unquote(path.removeprefix("/_scim/Users/")) == resource_id


def test_a_user_id_stands_in_a_url_as_it_is() -> None:
    """What a segment may hold is left readable (RFC 3986 §3.3)."""
    assert quoted_id("@ann=2e+x:example.org") == "@ann=2e+x:example.org"
    assert quoted_id("@a/b?c#d%:example.org") == "@a%2Fb%3Fc%23d%25:example.org"


@given(STORABLE)
def test_fold_is_idempotent(text: str) -> None:
    """What was folded is folded."""
    assert fold(fold(text)) == fold(text)


@given(STORABLE)
def test_fold_knows_neither_case_nor_form(text: str) -> None:
    """Either Unicode form folds alike."""
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)


@pytest.mark.parametrize(
    ("one", "other"), [("JDoe", "jdoe"), ("\u00c4NNE", "a\u0308nne"), ("\u0394\u0399\u039f", "\u03b4\u03b9\u03bf")]
)
def test_fold_makes_equal_what_differs_in_case(one: str, other: str) -> None:
    """Beyond ASCII too."""
    assert fold(one) == fold(other)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=255))
def test_a_user_name_is_kept_composed(user_name: str) -> None:
    """It is normalised to NFC and otherwise kept; blanks alone are no name (RFC 7643 §4.1.1)."""
    normalised = unicodedata.normalize("NFC", user_name)
    if user_name.strip() and len(normalised) <= 255:
        assert checked_user_name(user_name) == normalised
    else:
        with pytest.raises(InvalidValueException, match="userName"):
            checked_user_name(user_name)


@pytest.mark.parametrize("user_name", [None, "", " ", "\t\n", "\u3000", 5, ["x"], "x" * 256])
def test_what_is_no_user_name_is_refused(user_name: object) -> None:
    """It is 400 `invalidValue`, and the detail names it."""
    with pytest.raises(InvalidValueException, match="userName"):
        checked_user_name(user_name)


def test_a_user_name_is_measured_in_the_form_that_is_kept() -> None:
    """An accent of its own does not count, where the composed character holds it."""
    assert checked_user_name("e\u0301" * 255) == "\u00e9" * 255


def test_an_empty_external_id_is_none() -> None:
    """Clients send `""` for what they do not have; what is too long for an index is refused by name."""
    assert (checked_external_id(None), checked_external_id(""), checked_external_id("x" * 512)) == (
        None,
        None,
        "x" * 512,
    )
    with pytest.raises(InvalidValueException, match="externalId"):
        checked_external_id("x" * 513)


@pytest.mark.parametrize(
    ("user_name", "localpart"),
    [
        ("jdoe@corp.example", "jdoe"),
        (" JDoe@Corp.Example ", "jdoe"),
        ("jane.doe+x@corp.example", "jane.doe+x"),
        ("x_y#EXT#@z.onmicrosoft.com", "x_y=23ext=23"),
        ("a@b@c", "a=40b=40c"),
        ("@handle", "=40handle"),
        ("tail@", "tail=40"),
        ("@", "=40"),
        ("Anna Maria", "anna=20maria"),
        ("Ren\u00e9", "ren=c3=a9"),
        ("\u5c71\u7530", "=e5=b1=b1=e7=94=b0"),
        ("_hidden", "=5fhidden"),
    ],
)
def test_the_localpart_comes_from_the_user_name(user_name: str, localpart: str) -> None:
    """Of an e-mail address it is the part before the `@`, of anything else the whole."""
    assert localpart_of(user_name) == localpart


@given(STORABLE.filter(str.strip))
def test_every_user_name_gives_a_localpart(user_name: str) -> None:
    """It has what Matrix allows in one, once it is escaped."""
    localpart = localpart_of(user_name)

    assert localpart
    assert set(localpart) <= set("abcdefghijklmnopqrstuvwxyz0123456789.+-_=/")


@pytest.mark.parametrize(
    ("template", "attributes", "localpart"),
    [
        ("{{ user.externalId }}", {"externalId": "E 7"}, "e=207"),
        (
            "{{ user.name.givenName }}.{{ user.name.familyName }}",
            {"name": {"givenName": "A", "familyName": "L"}},
            "a.l",
        ),
        ("{{ user.emails[0].value.split('@')[0] }}", {"emails": [{"value": "al@x.example"}]}, "al"),
        ("  {{ user.userName | lower }}  ", {}, "ann@x"),
    ],
)
def test_a_template_makes_the_localpart(template: str, attributes: dict[str, Any], localpart: str) -> None:
    """The configured template sees the User by its SCIM names, and what it gives is escaped."""
    assert localpart_of("Ann@X", template, **attributes) == localpart.replace("@", "=40")


@pytest.mark.parametrize(
    "template",
    [
        "{{ user.externalId }}",
        "{{ user.nickName }}",
        " ",
        "{{ user.name.givenName }}",
        "{{ user.emails[0].value }}",
        "{{ 1 / user.emails | length }}",
        "{{ user.externalId + 'x' }}",
        "{{ user.title | int + user.userName }}",
        "{{ user.__class__.__name__ }}",
    ],
)
def test_a_template_that_gives_nothing_is_refused(template: str) -> None:
    """A User that lacks what the template needs is 400 and told that it is the template's wish."""
    with pytest.raises(InvalidValueException, match="template"):
        localpart_of("ann", template, externalId=None, emails=[])


def test_nothing_is_rendered_as_nothing() -> None:
    """An unassigned attribute does not become the word None."""
    assert rendered(TEMPLATES.from_string("[{{ user.externalId }}]"), {"externalId": None}) == "[]"


def test_names_are_numbered_from_two() -> None:
    """The second person of a name is `jdoe2`."""
    assert list(islice(numbered("jdoe"), 3)) == ["jdoe2", "jdoe3", "jdoe4"]


def test_who_is_not_managed_gives_way() -> None:
    """An account that SCIM did not make has its localpart for userName, unless a managed one bears it."""
    assert unmanaged_user_name("@ann:example.org", "ann", taken=False) == "ann"
    assert unmanaged_user_name("@ann:example.org", "ann", taken=True) == "@ann:example.org"
