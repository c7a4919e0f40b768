"""The database finds exactly those whom the library's own evaluation of a filter finds, in whatever corner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scim2_models import (
    InvalidCursorException,
    InvalidFilterException,
    InvalidPathException,
    ScimFilter,
    SearchRequest,
)

from synapse_scim.application import Application, build
from synapse_scim.config import Config, Sso
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.support.homeserver import LocalHomeserver

pytestmark = pytest.mark.usefixtures("engine")

PEOPLE: list[dict[str, Any]] = [
    {"userName": "bare"},
    {
        "userName": "Ann@x.example",
        "externalId": "E1",
        "displayName": "\u00c4nn",
        "title": "x",
        "name": {"familyName": "x", "givenName": ""},
        "emails": [{"value": "x@x.example", "type": "work", "primary": True}, {"value": "y@x.example"}],
        "phoneNumbers": [{"value": "+49 30 123456"}, {"type": "fax"}],
        "addresses": [{"country": "x", "type": "work"}, {"locality": "x"}],
        "roles": [{"value": "x"}, {"display": "x"}],
        "x509Certificates": [{"value": "AQID"}],
        ENTERPRISE_SCHEMA: {"department": "x", "manager": {"value": "x"}},
    },
    {
        "userName": "bob",
        "active": False,
        "emails": [{"value": "x@y.example", "type": "home", "display": "x"}],
        "addresses": [{"formatted": "x"}],
        ENTERPRISE_SCHEMA: {"manager": {"value": "@bare:example.org"}},
    },
]

TEXTS = (
    "userName",
    "externalId",
    "displayName",
    "title",
    "name.familyName",
    "name.givenName",
    "profileUrl",
    "emails",
    "emails.value",
    "emails.type",
    "emails.display",
    "phoneNumbers.value",
    "phoneNumbers.type",
    "addresses.country",
    "addresses.type",
    "roles",
    "roles.value",
    "roles.display",
    "schemas",
    f"{ENTERPRISE_SCHEMA}:department",
    f"{ENTERPRISE_SCHEMA}:manager.value",
    f"{MATRIX_SCHEMA}:userId",
    f"{MATRIX_SCHEMA}:userType",
    "meta.resourceType",
    "id",
)
BRACKETS = {
    "emails": ("value", "type", "display", "primary"),
    "phoneNumbers": ("value", "type"),
    "addresses": ("country", "type", "formatted"),
    "roles": ("value", "display"),
    "schemas": ("value",),
}


def filters() -> Iterator[str]:
    """Yield filters for every kind of attribute, and every kind of condition."""
    for path in TEXTS:
        yield from (f"{path} pr", f"not ({path} pr)", f"{path} eq null", f"{path} ne null", f"not ({path} eq null)")
        yield from (f'{path} {operator} "x"' for operator in ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"))
        yield from (f'{path} {operator} ""' for operator in ("eq", "ne", "co", "sw", "ew", "ge"))
    for path in ("active", "emails.primary", f"{MATRIX_SCHEMA}:managed"):
        yield from (
            f"{path} {condition}" for condition in ("pr", "eq true", "ne true", "eq false", "eq null", "ne null")
        )
    for path in ("name", "addresses", "meta", f"{ENTERPRISE_SCHEMA}:manager", "x509Certificates", "emails"):
        yield from (f"{path} pr", f"not ({path} pr)", f"{path} eq null", f"{path} ne null", f'{path} eq "x"')
    for path, names in BRACKETS.items():
        for name in names:
            literal = "true" if name == "primary" else '"x"'
            conditions = (
                f"{name} pr",
                f"{name} eq null",
                f"{name} ne null",
                f"{name} eq {literal}",
                f"{name} ne {literal}",
            )
            yield from (f"{path}[{condition}]" for condition in conditions)
            yield from (f"not ({path}[not ({condition})])" for condition in conditions)
        yield f'{path}[{names[0]} eq "x" and not ({names[-1]} pr)]'
        yield f'{path}[{names[0]} eq "x" or {names[-1]} pr]'
    for path in ("meta.created", "meta.lastModified"):
        yield from (f"{path} {condition}" for condition in ("pr", "eq null", 'gt "2020-01-01T00:00:00Z"'))
        yield from (f'{path} {operator} "2020-01-01T00:00:00"' for operator in ("eq", "ne", "gt"))
    yield from ('x509Certificates.value eq "AQID"', 'x509Certificates.value ne "AQID"', "x509Certificates.value pr")
    yield from ('password eq "x"', "password pr", "password ne null")


@pytest.fixture
def application(homeserver: LocalHomeserver) -> Application:
    """SCIM with single sign-on."""
    return build(Config(sso=Sso(providers={"default": "oidc"})), homeserver.hs)


async def populated(application: Application, homeserver: LocalHomeserver) -> UserStorage:
    """Make the people, one of them past SCIM, and return the Users."""
    await application.maintenance.start()
    store = application.store
    users = UserStorage(store, Rights(subject=Subject(name="okta", adopt="any"), protected=(), users=store.users))
    for person in PEOPLE:
        await users.create(application.provider.resource_types[0], store.model.model_validate(person))
    await homeserver.register("local", display_name="x")
    main = homeserver.hs.get_datastores().main
    await main.record_user_external_id("oidc", "x", "@local:example.org")
    await main.user_add_threepid("@local:example.org", "email", "l@x.example", 1, 1)
    return users


async def found(application: Application, users: UserStorage, **search: Any) -> list[Any]:
    """Return the Users that a search finds."""
    with application.provider:
        request = SearchRequest[application.store.model].model_validate(search)  # type: ignore[name-defined]
    return (await users.search([*application.provider.resource_types], request)).resources


async def test_the_database_and_the_library_agree(application: Application, homeserver: LocalHomeserver) -> None:
    """Each filter that the library can bind finds the same people in the database as in the published Users."""
    users = await populated(application, homeserver)
    everybody = await found(application, users)
    assert len(everybody) == 4
    wrong: dict[str, Any] = {}
    tried = 0
    for text in filters():
        try:
            bound = ScimFilter[application.store.model](text)  # type: ignore[name-defined]
        except (ValueError, InvalidFilterException):
            # The library refuses the condition for this kind of attribute, and so never asks the database.
            continue
        tried += 1
        expected = {user.user_name for user in everybody if bound.match(user)}
        names: Any
        try:
            names = {user.user_name for user in await found(application, users, filter=text)}
        except InvalidFilterException as error:
            names = error.detail
        if names != expected:
            wrong[text] = (names, expected)
    assert wrong == {}
    assert tried > 400


async def test_orders_are_those_of_code_points(application: Application, homeserver: LocalHomeserver) -> None:
    """Text is ordered without case as the library orders it, whatever a database's languages say of accents."""
    users = await populated(application, homeserver)

    in_order = [user.display_name for user in await found(application, users, sortBy="displayName")]

    assert in_order == ["x", "\u00c4nn", None, None]


async def test_what_only_an_answer_knows_is_not_searched(application: Application, homeserver: LocalHomeserver) -> None:
    """Locations and versions are computed from the whole User: no filter and no order is on them."""
    users = await populated(application, homeserver)
    for path in ("meta.location", "meta.version", f"{ENTERPRISE_SCHEMA}:manager.$ref"):
        with pytest.raises(InvalidFilterException, match="cannot be used in a filter"):
            await found(application, users, filter=f"{path} pr")
        with pytest.raises(InvalidPathException):
            await found(application, users, sortBy=path)
    with pytest.raises(InvalidFilterException, match="'schemas' has no 'type'"):
        await found(application, users, filter='schemas[type eq "x"]')
    with application.provider:
        request = SearchRequest[application.store.model](cursor="x")  # type: ignore[name-defined]
    for position in ("x", {}, {"d": "sideways", "k": 1, "i": "x"}, {"d": "next", "k": [], "i": "x"}):
        with pytest.raises(InvalidCursorException):
            await users.search([*application.provider.resource_types], request, position=position)
