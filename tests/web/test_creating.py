"""POST makes an account, whole."""

from __future__ import annotations

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from tests.web.clients import ENTERPRISE, Scim, Synapse, assert_error, assert_scim, new_user, url_of, without_meta

pytestmark = pytest.mark.usefixtures("owner")


async def test_account_is_there_as_matrix_sees_it(scim: Scim, synapse: Synapse) -> None:
    """A POST makes an account with profile, identifiers and password at once (the documentation)."""
    user = await scim.create(
        "jdoe@corp.example",
        displayName="Jane Doe",
        password="correct horse",
        emails=[{"value": "JDoe@Corp.Example", "type": "work", "primary": True}],
        phoneNumbers=[{"value": "+49 (30) 123456", "type": "work"}],
    )

    account = await synapse.account("@jdoe:example.org")
    assert (account["displayname"], account["admin"], account["deactivated"]) == ("Jane Doe", False, False)
    assert await synapse.threepids("@jdoe:example.org") == {("email", "jdoe@corp.example"), ("msisdn", "4930123456")}
    assert (await synapse.login("jdoe", "correct horse")).json["user_id"] == user["id"] == "@jdoe:example.org"
    assert user["emails"] == [{"value": "JDoe@Corp.Example", "type": "work", "primary": True}]
    assert user["phoneNumbers"] == [{"value": "+49 (30) 123456", "type": "work"}]


async def test_account_without_password_cannot_log_in_with_one(scim: Scim, synapse: Synapse) -> None:
    """Nobody knows a password for an account that was made without: single sign-on opens it (the documentation)."""
    await scim.create("jdoe")

    for password in ("", "jdoe", "password"):
        assert (await synapse.login("jdoe", password)).status in {400, 403}


async def test_nothing_sent_is_lost(scim: Scim) -> None:
    """What a client sends in an announced attribute comes back as sent (the documentation)."""
    sent = {
        "externalId": "00u1",
        "name": {
            "formatted": "Ms. Barbara J Jensen, III",
            "familyName": "Jensen",
            "givenName": "Barbara",
            "middleName": "Jane",
            "honorificPrefix": "Ms.",
            "honorificSuffix": "III",
        },
        "displayName": "Babs Jensen",
        "nickName": "Babs",
        "profileUrl": "https://login.example.com/bjensen",
        "emails": [
            {"value": "bjensen@example.com", "type": "work", "primary": True, "display": "At work"},
            {"value": "BABS@Jensen.example", "type": "home"},
            {"value": "b@x.example", "type": "summer cottage"},
        ],
        "addresses": [
            {
                "type": "work",
                "streetAddress": "100 Universal City Plaza\nBuilding 2",
                "locality": "Hollywood",
                "region": "CA",
                "postalCode": "91608",
                "country": "US",
                "formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA",
                "primary": True,
            },
            {"type": "home", "country": "AT"},
        ],
        "phoneNumbers": [{"value": "555-555-8377", "type": "work"}, {"value": "tel:+1-201-555-0123", "type": "mobile"}],
        "ims": [{"value": "someaimhandle", "type": "aim"}],
        "userType": "Employee",
        "title": "Tour Guide",
        "preferredLanguage": "en-US",
        "locale": "en-US",
        "timezone": "America/Los_Angeles",
        "active": True,
        "roles": [{"value": "admin", "display": "Admin", "type": "WindowsAzureActiveDirectoryRole", "primary": True}],
        "entitlements": [{"value": "e1"}, {"value": "e2", "type": "x"}],
        "x509Certificates": [{"value": "AQIDBA=="}],
        ENTERPRISE: {
            "employeeNumber": "701984",
            "costCenter": "4130",
            "organization": "Universal Studios",
            "division": "Theme Park",
            "department": "Tour Operations",
            "manager": {"value": "26118915-6090-4610-87e4-49d8ca9f808d"},
        },
    }

    made = await scim.create("bjensen@example.com", **sent)

    assert {name: made.get(name) for name in sent} == sent
    assert await scim.read(made["id"]) == made


async def test_what_nobody_declared_is_ignored(scim: Scim) -> None:
    """Unknown attributes and schemas do no harm, and leave no trace (the documentation; IdP: all of them)."""
    unknown = "urn:scim:schemas:extension:custom:1.0:user"
    body = new_user(
        "ann",
        shoeSize=42,
        groups=[{"value": "1"}],
        id="@mallory:example.org",
        meta={"resourceType": "Group", "location": "https://evil.example", "version": "1"},
        name={"givenName": "Ann", "mood": "good"},
        emails=[{"value": "ann@corp.example", "verified": True}],
        **{unknown: {"hat": "red"}, "urn:example:flat:attribute": "x"},
    )
    body["schemas"] += [unknown, "urn:ietf:params:scim:schemas:extension:enterprise:2.0User"]

    made = assert_scim(await scim.post("/Users", body), 201)

    assert made["id"] == "@ann:example.org"
    assert made["name"] == {"givenName": "Ann"}
    assert made["emails"] == [{"value": "ann@corp.example"}]
    assert not made.keys() & {"shoeSize", "groups", unknown, "urn:example:flat:attribute"}
    assert unknown not in made["schemas"]
    assert set(made["schemas"]) - {"urn:matrix:params:scim:schemas:extension:1.0:User"} == {body["schemas"][0]}
    assert made["meta"]["resourceType"] == "User"


async def test_nothing_is_no_value(scim: Scim) -> None:
    """Nulls, empty strings, empty lists and objects of nothing do no harm (IdP; RFC 7643 §2.5)."""
    user = await scim.create(
        "ann",
        externalId="",
        displayName="",
        nickName=None,
        title="",
        profileUrl="",
        locale="",
        preferredLanguage="",
        timezone=None,
        active=None,
        name={"givenName": "", "familyName": None, "middleName": ""},
        emails=[],
        phoneNumbers=[{"value": "", "type": "work"}],
        addresses=[{}],
        roles=None,
        groups=[],
        ims=[{"value": None}],
        meta=None,
        id=None,
        **{ENTERPRISE: {"department": "", "manager": None}},
    )

    assert user["active"] is True
    assert "externalId" not in user
    assert not user.get("emails")
    assert None not in user.values()
    assert await scim.names('externalId eq ""') == []
    assert (await scim.create("bob", externalId="", emails=[{"value": "", "type": "work"}]))["id"] == "@bob:example.org"
    assert (await scim.create("cat", emails=None, **{ENTERPRISE: {}}))["id"] == "@cat:example.org"


async def test_an_empty_password_is_none(scim: Scim, synapse: Synapse) -> None:
    """An empty password does no harm: the account has none (IdP)."""
    await scim.create("ann", password="")

    assert (await synapse.login("ann", "")).status in {400, 403}


async def test_names_of_attributes_have_no_case(scim: Scim) -> None:
    """Attribute names and schema URNs come in any case (RFC 7643 §2.1)."""
    response = await scim.post(
        "/Users",
        {
            "SCHEMAS": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "USERNAME": "ann",
            "Name": {"GIVENNAME": "Ann"},
            "Emails": [{"Value": "ann@corp.example", "Primary": True}],
            ENTERPRISE.upper(): {"Department": "Sales", "Manager": {"Value": "7"}},
        },
    )

    user = assert_scim(response, 201)
    assert user["name"] == {"givenName": "Ann"}
    assert user["emails"] == [{"value": "ann@corp.example", "primary": True}]
    assert user[ENTERPRISE] == {"department": "Sales", "manager": {"value": "7"}}


async def test_schemas_may_be_missing(scim: Scim) -> None:
    """Releases of authentik of 2023 send none (IdP)."""
    assert_scim(await scim.post("/Users", {"userName": "ann"}), 201)


async def test_manager_is_found(scim: Scim) -> None:
    """A manager named by the id of a local account gets a `$ref`; anybody else is kept as named (the documentation)."""
    boss = await scim.create("boss/ü")

    ann = await scim.create("ann", **{ENTERPRISE: {"manager": {"value": boss["id"], "$ref": "https://evil.example"}}})
    bob = await scim.create("bob", **{ENTERPRISE: {"manager": {"value": "4711", "displayName": "The Boss"}}})

    assert ann[ENTERPRISE]["manager"] == {"value": boss["id"], "$ref": boss["meta"]["location"]}
    assert bob[ENTERPRISE]["manager"] == {"value": "4711"}
    assert await scim.names(f'{ENTERPRISE}:manager.value eq "{boss["id"]}"') == ["ann"]


@pytest.mark.usefixtures("engine")
async def test_one_of_many_creates_wins(scim: Scim) -> None:
    """Of creates of the same person at the same time one is 201 and the others 409 (IdP)."""
    body = new_user("ann", externalId="7", emails=[{"value": "ann@corp.example"}])
    responses = await gatherResults([ensureDeferred(scim.post("/Users", body)) for _ in range(5)])

    assert sorted(response.status for response in responses) == [201, 409, 409, 409, 409]
    for response in responses:
        if response.status == 409:
            assert_error(response, 409, "uniqueness")
    assert await scim.names('externalId eq "7"') == ["ann"]


@pytest.mark.usefixtures("engine")
async def test_people_of_one_name_at_the_same_time(scim: Scim) -> None:
    """Different people whose names give one localpart each get an account of their own, at the same time too.

    Whoever brings an address that another one has just bound is refused (the documentation).
    """
    bodies = [new_user(f"jdoe@{number}.example", externalId=str(number)) for number in range(4)]
    responses = await gatherResults([ensureDeferred(scim.post("/Users", body)) for body in bodies])
    assert [response.status for response in responses] == [201] * 4
    ids = {f"@jdoe{number}:example.org" for number in ("", 2, 3, 4)}
    assert {response.json["id"] for response in responses} == ids

    bodies = [new_user(name, emails=[{"value": "desk@corp.example"}]) for name in ("ann", "bob", "cat")]
    responses = await gatherResults([ensureDeferred(scim.post("/Users", body)) for body in bodies])
    assert sorted(response.status for response in responses) == [201, 409, 409]
    assert len(await scim.names('emails eq "desk@corp.example"')) == 1
    assert len(await scim.names()) == 6


@pytest.mark.usefixtures("engine")
async def test_writes_to_one_account_follow_each_other(scim: Scim) -> None:
    """Of changes to one account at the same time none is lost (the documentation)."""
    await scim.create("ann")
    names = ["title", "nickName", "userType", "locale", "timezone"]
    changes = [{"op": "add", "path": name, "value": f"a-{name}"} for name in names]
    await gatherResults([ensureDeferred(scim.patched("@ann:example.org", change)) for change in changes])

    user = await scim.read("@ann:example.org")

    assert {name: user[name] for name in names} == {name: f"a-{name}" for name in names}


@pytest.mark.homeserver(config={"password_config": {"policy": {"enabled": True, "minimum_length": 12}}})
async def test_a_refused_create_leaves_nothing(scim: Scim, synapse: Synapse) -> None:
    """A POST that is refused leaves no account, name or identifier behind (the documentation)."""
    await synapse.change("@other:example.org", threepids=[{"medium": "email", "address": "taken@corp.example"}])
    before = await scim.users()
    good = {"externalId": "7", "phoneNumbers": [{"value": "+49 30 123456"}]}
    mine = {"value": "ann@corp.example"}

    weak = await scim.post("/Users", new_user("ann", password="short", emails=[mine], **good))
    assert_error(weak, 400, "invalidValue", "password")
    assert b"short" not in weak.body
    taken = await scim.post("/Users", new_user("ann", emails=[mine, {"value": "Taken@corp.example"}], **good))
    assert_error(taken, 409, "uniqueness", "emails")
    long = await scim.post("/Users", new_user("ann", displayName="x" * 257, emails=[mine], **good))
    assert_error(long, 400, "invalidValue", "displayName")

    assert await scim.users() == before
    assert (await scim.get(url_of("@ann:example.org"))).status == 404
    made = await scim.create("ann", emails=[mine], **good)
    assert (made["id"], without_meta(made)["externalId"]) == ("@ann:example.org", "7")
