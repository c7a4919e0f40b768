"""Where accounts belong to Matrix Authentication Service: what is different from accounts of Synapse's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.configuration import scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.mas import PROVIDER_IDS, AuthenticationService
from tests.support.mas_contract import Contract
from tests.support.mas_state import Email, Link, Session
from tests.web.clients import MATRIX, Admin, Scim, assert_error, assert_scim, new_user, without_meta
from tests.web.life import OFF, ON

pytestmark = pytest.mark.usefixtures("mas")

ANN = "@ann:example.org"
PERSON: dict[str, Any] = {
    "externalId": "7",
    "displayName": "Ann Lee",
    "password": "correct horse",
    "emails": [{"value": "Ann@Corp.example", "type": "work"}, {"value": "ann@home.example"}],
    "phoneNumbers": [{"value": "+49 30 123456"}],
}
SSO = pytest.mark.homeserver(module_config={"sso": {"idp_id": "oidc-corp"}})


def put_email(mas: AuthenticationService, user_id: str, address: str) -> None:
    """Give a user an address that Synapse has not heard of."""
    email = Email(user_id=user_id, email=address)
    mas.state.emails[email.id] = email


def test_the_contract_is_that_of_a_named_version() -> None:
    """The description against which everything here is checked is of one release, which the documentation names."""
    page = Path(__file__).parents[2] / "docs" / "mas.md"

    assert Contract().version == "v1.22.0"
    assert "MAS **1.22.0**" in page.read_text()


# -- People -------------------------------------------------------------------


@SSO
@pytest.mark.usefixtures("engine")
async def test_a_person_is_there_and_in_synapse(mas: AuthenticationService, admin: Admin) -> None:
    """MAS gets user, addresses, subject and password; Synapse shows all at once, and what MAS has no place for too."""
    mas.hold_jobs()

    ann = await Scim(admin.homeserver.url, admin.token).create("ann", **PERSON)

    user = mas.known(ANN)
    assert (user.password, user.is_valid, user.admin) == ("correct horse", True, False)
    assert sorted(mas.state.emails_of(user.id)) == ["ann@corp.example", "ann@home.example"]
    assert mas.state.links_of(user.id) == {(PROVIDER_IDS[0], "7")}
    for _ in range(2):
        account = await admin.synapse.account(ANN)
        assert account["displayname"] == "Ann Lee"
        assert account["external_ids"] == [{"auth_provider": "oidc-corp", "external_id": "7"}]
        assert {(t["medium"], t["address"]) for t in account["threepids"]} == {
            ("email", "ann@corp.example"),
            ("email", "ann@home.example"),
            ("msisdn", "4930123456"),
        }
        assert without_meta(await admin.scim.read(ANN)) == without_meta(ann)
        await mas.do_jobs()


async def test_a_lock_holds_at_once_whatever_was_cached(mas: AuthenticationService, admin: Admin) -> None:
    """Synapse remembers for two minutes that a token is good; somebody who is locked is refused all the same."""
    await admin.scim.create("ann", **PERSON)
    token = await admin.synapse.token("ann", "correct horse")
    assert (await admin.synapse.whoami(token)).status == 200
    mas.hold_jobs()

    locked = assert_scim(await Scim(admin.homeserver.url, admin.token).patch(ANN, OFF), 200)

    assert (locked["active"], locked[MATRIX]["locked"]) == (False, True)
    refused = await admin.synapse.whoami(token)
    assert (refused.status, refused.json["errcode"], refused.json["soft_logout"]) == (401, "M_USER_LOCKED", True)
    await mas.do_jobs()
    await admin.scim.patched(ANN, ON)
    assert (await admin.synapse.whoami(token)).status == 200


async def test_who_is_deactivated_is_refused_at_once(mas: AuthenticationService, admin: Admin) -> None:
    """A token without a device, such as that of a personal session, is not good until Synapse forgets it either."""
    ann = await mas.register("ann", admin=True)
    script = Session(kind="personal-session", user_id=ann.id, is_synapse_admin=True)
    mas.state.sessions[script.id] = script
    for use in (admin.synapse.whoami, lambda token: Scim(admin.homeserver.url, token).get("/Users")):
        assert (await use(script.token)).status == 200

    await admin.synapse.change(ANN, deactivated=True)

    for use in (admin.synapse.whoami, lambda token: Scim(admin.homeserver.url, token).get("/Users")):
        assert (await use(script.token)).status == 401


async def test_appservices_go_on(start_homeserver: StartHomeserver, mas: AuthenticationService, tmp_path: Path) -> None:
    """The lock and the end of accounts are no matter of appservices, whose senders need not have one."""
    registration: dict[str, Any] = {
        "id": "bridge",
        "url": None,
        "as_token": "the-bridge",
        "hs_token": "the-server",
        "sender_localpart": "bridge",
        "namespaces": {},
    }
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(registration))
    config = {"app_service_config_files": [str(tmp_path / "bridge.yaml")]}
    admin = await Admin.of(await start_homeserver(config=config, mas=mas))

    answer = await admin.synapse.whoami("the-bridge")

    assert (answer.status, answer.json["user_id"]) == (200, "@bridge:example.org")


async def test_who_moved_is_the_same_as_before(
    start_homeserver: StartHomeserver, mas: AuthenticationService, tmp_path: Path
) -> None:
    """The ids, versions and answers of people, and cursors, are those from before accounts were MAS's."""
    admin = await Admin.of(await start_homeserver())
    scim = admin.scim
    await scim.create("ann", **PERSON)
    await scim.create("bob@corp.example", active=False)
    await scim.create("cat")
    await scim.delete("@cat:example.org")
    await admin.synapse.change("@dan:example.org", displayname="Dan")
    before = {user["id"]: user for user in await scim.users()}

    for localpart in ("admin", "ann", "bob", "cat", "dan"):
        mas.migrate(localpart)
    mas.known(ANN).password = "correct horse"
    put_email(mas, mas.known(ANN).id, "ann@corp.example")
    put_email(mas, mas.known(ANN).id, "ann@home.example")
    mas.known("@bob:example.org").locked_at = "2026-01-01T00:00:00Z"
    homeserver = admin.homeserver
    homeserver.mas = mas
    mas.homeserver_url = lambda: homeserver.url
    await homeserver.restart(
        {**mas.synapse_configuration(), "modules": [mas.with_module(tmp_path, scim_module())]},
    )
    token = (await mas.session(mas.known("@admin:example.org"), is_admin=True)).token
    moved = Admin(homeserver, token)
    await moved._until_scim_answers()

    assert {user["id"]: user for user in await moved.scim.users()} == before
    answer = await moved.scim.put(
        ANN, {**before[ANN], "title": "Dr"}, headers={"If-Match": before[ANN]["meta"]["version"]}
    )
    assert assert_scim(answer, 200)["title"] == "Dr"
    assert (await moved.scim.patched("@bob:example.org", ON))["active"] is True
    assert mas.known("@bob:example.org").is_valid
    assert (await moved.scim.create("cat"))["id"] == "@cat2:example.org"


async def test_a_password_that_synapse_had_is_known_again(mas: AuthenticationService, admin: Admin) -> None:
    """A client that sends the password with each PUT ends no sessions with it, though nobody can ask MAS for it."""
    ann = await admin.scim.create("ann", **PERSON)
    token = await admin.synapse.token("ann", "correct horse")

    assert await admin.scim.replaced(ANN, {**ann, "password": "correct horse"}) == ann

    assert (await admin.synapse.whoami(token)).status == 200
    mas.known(ANN).password = "her own choice"
    await admin.scim.replaced(ANN, {**ann, "password": "battery staple"})
    assert mas.known(ANN).password == "battery staple"


async def test_a_removed_password_is_nobodys(mas: AuthenticationService, scim: Scim) -> None:
    """MAS cannot take a password away: it is replaced by one that nobody knows."""
    await scim.create("ann", **PERSON)

    await scim.patched(ANN, {"op": "remove", "path": "password"})

    password = mas.known(ANN).password
    assert password is not None
    assert password != "correct horse"
    assert len(password) > 40


@pytest.mark.parametrize("kind", ["user-session", "oauth2-session", "compat-session", "personal-session"])
async def test_sessions_of_every_kind_end(kind: Any, mas: AuthenticationService, scim: Scim) -> None:
    """A new password ends all sessions, however many there are; what the person's next login opens is not touched."""
    await scim.create("ann", **PERSON)
    bob = await scim.create("bob")
    mine = [Session(kind=kind, user_id=mas.known(ANN).id) for _ in range(120)]
    others = Session(kind=kind, user_id=mas.known(bob["id"]).id)
    mas.state.sessions.update({session.id: session for session in [*mine, others]})

    await scim.patched(ANN, {"op": "replace", "path": "password", "value": "battery staple"})

    assert all(session.finished_at for session in mine)
    assert others.finished_at is None


@pytest.mark.homeserver(module_config={"deleted": {"erase": True}})
async def test_erasing_is_asked_for(mas: AuthenticationService, admin: Admin) -> None:
    """MAS erases unless it is told not to: it is told so, but for those whom the configuration says to erase."""
    await admin.scim.create("ann", **PERSON)

    assert (await admin.scim.delete(ANN)).status == 204

    account = await admin.synapse.account(ANN)
    assert (account["deactivated"], account["erased"]) == (True, True)
    assert mas.known(ANN).deactivated_at is not None


async def test_deleting_does_not_erase(mas: AuthenticationService, admin: Admin) -> None:
    """By default nobody is erased, and nothing of the person is left at MAS that another may need."""
    await admin.scim.create("ann", **PERSON)

    assert (await admin.scim.delete(ANN)).status == 204

    account = await admin.synapse.account(ANN)
    assert (account["deactivated"], account["erased"]) == (True, False)
    user = mas.known(ANN)
    assert (mas.state.emails_of(user.id), mas.state.links_of(user.id), user.locked_at) == ([], set(), None)


# -- Passwords ----------------------------------------------------------------


async def test_a_service_without_passwords(mas: AuthenticationService, homeserver: LocalHomeserver) -> None:
    """Passwords are announced where people log in to MAS with them; a change there is seen within a minute."""
    admin = await Admin.of(homeserver)

    async def supported() -> bool:
        config = assert_scim(await admin.scim.get("/ServiceProviderConfig"), 200)
        schema = assert_scim(await admin.scim.get("/Schemas/urn:ietf:params:scim:schemas:core:2.0:User"), 200)
        announced = "password" in [attribute["name"] for attribute in schema["attributes"]]
        assert announced == config["changePassword"]["supported"]
        return announced

    assert await supported()
    # The module asks at the start, and then every minute.
    mas.api.has_passwords = False
    refused = await admin.scim.post("/Users", new_user("ann", password="correct horse"))
    assert_error(refused, 403, naming="password")
    admin = await admin.restart()
    assert not await supported()
    assert (await admin.scim.create("ann"))["id"] == ANN
    mas.api.has_passwords = True
    admin = await admin.restart()
    assert await supported()
    await admin.scim.patched(ANN, {"op": "replace", "path": "password", "value": "correct horse"})
    assert mas.known(ANN).password == "correct horse"


async def test_a_weak_password_leaves_nobody(mas: AuthenticationService, admin: Admin) -> None:
    """A creation that MAS refuses late leaves a user whom nobody sees and nobody can be; the name is not lost."""
    users = await admin.scim.users()

    refused = await admin.scim.post("/Users", new_user("ann", **{**PERSON, "password": "aaaaaaaa"}))

    assert_error(refused, 400, "invalidValue", "too weak")
    assert await admin.scim.users() == users
    assert_error(await admin.scim.patch(ANN, ON), 404)
    user = mas.known(ANN)
    assert (user.is_valid, mas.state.emails_of(user.id), mas.state.links_of(user.id)) == (False, [], set())
    assert user.password != "aaaaaaaa"
    account = await admin.synapse.account(ANN)
    assert (account["locked"], account["threepids"]) == (True, [])

    bob = await admin.scim.create("bob", emails=PERSON["emails"])
    assert bob["emails"] == PERSON["emails"]
    ann = await admin.scim.create("ann", displayName="Ann")
    assert (ann["id"], ann["displayName"], ann["active"]) == (ANN, "Ann", True)
    assert mas.known(ANN).is_valid
    assert (await admin.synapse.account(ANN))["displayname"] == "Ann"


# -- Conflicts ----------------------------------------------------------------


async def test_names_and_addresses_that_only_mas_knows(mas: AuthenticationService, scim: Scim) -> None:
    """What MAS gave away before Synapse heard of it is 409 as if Synapse knew, and nothing is left behind."""
    other = mas.migrate("taken")
    put_email(mas, other.id, "Taken@corp.example")
    users = await scim.users()

    assert_error(await scim.post("/Users", new_user("taken")), 409, "uniqueness")
    emails = [{"value": "mine@corp.example"}, {"value": "taken@corp.example"}]
    assert_error(await scim.post("/Users", new_user("ann", emails=emails)), 409, "uniqueness", "emails")

    assert await scim.users() == users
    assert mas.state.emails_of(other.id) == ["Taken@corp.example"]
    ann = await scim.create("ann", emails=emails[:1])
    patched = await scim.patch(ANN, {"op": "replace", "path": "emails", "value": emails})
    assert_error(patched, 409, "uniqueness", "emails")
    assert await scim.read(ANN) == ann
    assert mas.state.emails_of(mas.known(ANN).id) == ["mine@corp.example"]


@SSO
async def test_subjects_that_only_mas_knows(mas: AuthenticationService, scim: Scim) -> None:
    """A subject that opens another account is 409; one that the person has linked already, or nobody has, is fine."""
    ann, bob = await scim.create("ann"), await scim.create("bob")
    for subject, owner in (("bobs", mas.known(bob["id"]).id), ("anns", mas.known(ANN).id), ("free", None)):
        link = Link(provider_id=PROVIDER_IDS[0], subject=subject, user_id=owner)
        mas.state.links[link.id] = link

    taken = await scim.patch(ANN, {"op": "replace", "path": "externalId", "value": "bobs"})
    assert_error(taken, 409, "uniqueness", "externalId")
    assert await scim.read(ANN) == ann
    for subject in ("anns", "free"):
        await scim.patched(ANN, {"op": "replace", "path": "externalId", "value": subject})
    assert mas.state.links_of(mas.known(ANN).id) == {(PROVIDER_IDS[0], "free")}


@SSO
async def test_a_provider_that_mas_does_not_know(mas: AuthenticationService, scim: Scim) -> None:
    """It is refused, with the name of the setting that is wrong."""
    mas.state.providers.clear()

    assert_error(await scim.post("/Users", new_user("ann", externalId="7")), 403, naming="mas.upstream_providers")


async def test_an_address_that_mas_refuses(mas: AuthenticationService, scim: Scim) -> None:
    """What Synapse takes for an address MAS may not; nothing is left behind then."""
    await scim.create("ann")
    mas.api.refused_emails.add("a@-.example")

    patched = await scim.patch(ANN, {"op": "add", "path": "emails", "value": [{"value": "a@-.example"}]})

    assert_error(patched, 403, naming="emails.value")
    assert (await scim.read(ANN)).get("emails") is None
    assert mas.state.emails == {}


async def test_mas_has_the_last_word_on_what_an_account_has(mas: AuthenticationService, admin: Admin) -> None:
    """A change starts from what MAS has, since what Synapse has may be late: nothing is lost between the two."""
    await admin.scim.create("ann", emails=[{"value": "ann@corp.example"}])
    user = mas.known(ANN)
    # As a job of MAS's does that was late: Synapse has the address, MAS has not.
    mas.state.emails.clear()
    put_email(mas, user.id, "odd")

    await admin.scim.patched(ANN, {"op": "replace", "path": "emails", "value": [{"value": "ann@corp.example"}]})

    assert mas.state.emails_of(user.id) == ["ann@corp.example"]
    assert await admin.synapse.threepids(ANN) == {("email", "ann@corp.example")}


async def test_an_address_that_people_write_otherwise(mas: AuthenticationService, admin: Admin) -> None:
    """MAS keeps an address as its owner wrote it, Synapse its canonical form: both are one, and removed together."""
    await admin.scim.create("ann")
    put_email(mas, mas.known(ANN).id, "Straße@corp.example")
    mas.api.provision(mas.known(ANN))
    await mas.do_jobs()
    assert (await admin.scim.read(ANN))["emails"] == [{"value": "strasse@corp.example"}]

    await admin.scim.patched(ANN, {"op": "remove", "path": "emails"})

    assert (mas.state.emails, await admin.synapse.threepids(ANN)) == ({}, set())


# -- Who may be written to ----------------------------------------------------


async def test_administrators_of_mas_are_protected(mas: AuthenticationService, scim: Scim) -> None:
    """Whoever may administer MAS is as a server admin: SCIM reads, and does not write."""
    ann = await scim.create("ann")
    mas.known(ANN).admin = True

    assert_error(await scim.patch(ANN, OFF), 403, naming="may administer")
    assert_error(await scim.delete(ANN), 403, naming="may administer")
    assert await scim.read(ANN) == ann


async def test_names_that_differ_in_case(mas: AuthenticationService, admin: Admin) -> None:
    """MAS finds users whatever the case of a name: what is done to an old account of another case is not for them."""
    await admin.scim.create("ann", **PERSON)
    with admin.homeserver._context():
        await admin.homeserver.hs.get_datastores().main.register_user(user_id="@Ann:example.org")

    for answer in (
        await admin.scim.patch("@Ann:example.org", OFF),
        await admin.scim.patch("@Ann:example.org", {"op": "replace", "path": "password", "value": "battery staple"}),
        await admin.scim.delete("@Ann:example.org"),
    ):
        assert_error(answer, 403, naming="does not know @Ann:example.org")

    assert (await admin.scim.read(ANN))["active"] is True
    assert (mas.known(ANN).is_valid, mas.known(ANN).password) == (True, "correct horse")


async def test_accounts_that_mas_does_not_know(admin: Admin) -> None:
    """An account that was never moved can be read, and not be written to."""
    with admin.homeserver._context():
        await admin.homeserver.hs.get_registration_handler().register_user(localpart="old", by_admin=True)

    assert (await admin.scim.read("@old:example.org"))["active"] is True
    assert_error(await admin.scim.patch("@old:example.org", OFF), 403, naming="does not know @old:example.org")
