"""Users that are written from their JSON look, to the byte, as scim2-server would have written them."""

from __future__ import annotations

from typing import Any

import pytest
from scim2_models import Path, ResponseParameters, SearchRequest
from scim2_server.conditions import Conditions
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage

from synapse_scim.application import Application, build
from synapse_scim.config import Config
from synapse_scim.protocol.presentation import encoded
from synapse_scim.store.rendering import StoredUsers
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.web.clients import ENTERPRISE, Admin

BASE = "https://matrix.example.org/_scim/v2"

PEOPLE: tuple[dict[str, Any], ...] = (
    {"userName": "bare"},
    {"userName": "a/b c", "externalId": "7", "displayName": "Ä \u2028", "active": False},
    {
        "userName": "full@corp.example",
        "name": {"formatted": "Dr F Ull", "familyName": "Ull", "givenName": "F", "middleName": "M"},
        "nickName": "Fu",
        "profileUrl": "no url",
        "title": "Boss",
        "userType": "Contractor",
        "preferredLanguage": "de-AT",
        "locale": "de",
        "timezone": "Europe/Vienna",
        "emails": [
            {"value": "Full@Corp.example", "type": "work", "primary": True},
            {"type": "home", "display": "none"},
        ],
        "phoneNumbers": [{"value": "+49 30 123456"}, {"value": "10-040-1308", "type": "fax"}],
        "ims": [{"value": "full", "type": "xmpp"}],
        "photos": [{"value": "mxc://example.org/face", "primary": True}],
        "addresses": [{"country": "DE", "locality": "Berlin", "primary": True}],
        "entitlements": [{"value": "all"}],
        "roles": [{"value": "admin", "primary": False}],
        "x509Certificates": [{"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAwTjELMAkGA1UEBhMCVVM="}],
        ENTERPRISE: {"employeeNumber": "7", "department": "R&D", "manager": {"value": "@bare:example.org"}},
    },
    {"userName": "boss", ENTERPRISE: {"manager": {"value": "elsewhere"}}},
)


async def prepared(admin: Admin) -> tuple[Application, UserStorage]:
    """Return SCIM on a homeserver with people of all kinds."""
    for person in PEOPLE:
        await admin.scim.create(**{"user_name": person["userName"], **person})
    await admin.synapse.change(
        "@local:example.org",
        displayname="Local",
        avatar_url="mxc://example.org/local",
        threepids=[{"medium": "email", "address": "local@x.example"}, {"medium": "msisdn", "address": "49301234567"}],
    )
    application = build(Config(), admin.homeserver.hs)
    store = application.store
    return application, UserStorage(store, Rights(subject=Subject(name="x"), protected=(), users=store.users))


def parameters_of(application: Application) -> list[dict[str, Any]]:
    """Return what a client may ask of each attribute, alone and beside others."""
    paths = [str(path) for path in Path[application.store.model].iter_paths()]  # type: ignore[name-defined]
    single = [{wish: [path]} for path in paths for wish in ("attributes", "excluded_attributes")]
    return [
        {},
        *single,
        {"attributes": ["userName", "emails.type", "photos", "MANAGER"]},
        {"excluded_attributes": ["emails.value", "name", "meta.location", ENTERPRISE]},
    ]


@pytest.mark.usefixtures("engine")
async def test_lists_are_those_of_the_library(admin: Admin) -> None:
    """For each attribute that is asked for or left out, the bytes of a list are the library's."""
    application, storage = await prepared(admin)
    service, (user_type,) = application.service, application.provider.resource_types
    differing = []
    totals = set()
    with application.provider:
        for wish in parameters_of(application):
            request = SearchRequest[application.store.model](count=100, start_index=1, **wish)  # type: ignore[name-defined]
            page = await storage.search([user_type], request)
            assert isinstance(page.resources, StoredUsers)
            models = SearchPage(page.total, list(page.resources))
            theirs = ScimService.search_response(service, BASE, [user_type], models, request)
            ours = service.search_response(BASE, [user_type], page, request)
            if encoded(ours.body or {}) != encoded(theirs.body or {}):
                differing.append((wish, ours.body, theirs.body))
            totals.add(page.total)
    assert (differing, totals) == ([], {len(PEOPLE) + 2})


async def test_single_users_are_those_of_the_library(admin: Admin) -> None:
    """The same holds for a User that is read, headers included."""
    application, storage = await prepared(admin)
    service, (user_type,) = application.service, application.provider.resource_types
    conditions = Conditions()
    differing = []
    with application.provider:
        page = await storage.search([user_type], SearchRequest[application.store.model](count=100))  # type: ignore[name-defined]
        assert list(page.resources[:2]) == [page.resources[0], page.resources[1]]
        for wish in parameters_of(application)[:9]:
            parameters = ResponseParameters[application.store.model](**wish)  # type: ignore[name-defined]
            for user in list(page.resources):
                theirs = ScimService.query_response(service, BASE, user, parameters, conditions)
                ours = service.user_response(BASE, await storage.rendered(str(user.id)), parameters, conditions)
                if encoded(ours.body or {}) != encoded(theirs.body or {}) or ours.headers != theirs.headers:
                    differing.append((wish, ours, theirs))
    assert differing == []
