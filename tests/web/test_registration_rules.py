"""What else decides about a new account: the server's own rules, other modules, templates, and the names of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from synapse.module_api import ModuleApi
from synapse.spam_checker_api import RegistrationBehaviour

from tests.conftest import Owner
from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.web.clients import Admin, Scim, Synapse, assert_error, assert_scim, new_user, url_of

PERSON: dict[str, Any] = {
    "externalId": "7",
    "displayName": "Jane Doe",
    "password": "correct horse",
    "emails": [{"value": "jdoe@corp.example"}],
}


class Doorkeeper:
    """A module of Synapse, such as anybody may write, that has its own mind about some localparts."""

    def __init__(self, _: None, api: ModuleApi) -> None:
        """Be asked before a registration, and told after it."""
        api.register_spam_checker_callbacks(check_registration_for_spam=self._check)
        api.register_account_validity_callbacks(on_user_registration=self._registered)

    @staticmethod
    def parse_config(_: Mapping[str, Any]) -> None:
        """Take any configuration."""

    async def _check(self, _: object, localpart: str | None, *_more: object) -> RegistrationBehaviour:
        if localpart == "refused":
            return RegistrationBehaviour.DENY
        if localpart == "broken":
            raise RuntimeError("The doorkeeper is broken")
        return RegistrationBehaviour.ALLOW

    async def _registered(self, user_id: str) -> None:
        if user_id == "@late:example.org":
            raise RuntimeError("The doorkeeper is late")


WITH_DOORKEEPER = pytest.mark.homeserver(
    config={"modules": [scim_module(), {"module": f"{__name__}.Doorkeeper", "config": {}}]}
)


BOTH_OWNERS = pytest.mark.usefixtures("owner")


async def assert_nothing_left(scim: Scim, synapse: Synapse, user_id: str) -> None:
    """Check that an account was not made, and that somebody else can have all that it should have had."""
    assert_error(await scim.get(url_of(user_id)), 404)
    assert (await synapse.request("GET", f"/_synapse/admin/v2/users/{user_id}")).status == 404
    assert await scim.names() == ["admin"]
    other = await scim.create("other", **PERSON)
    assert (other["id"], other["externalId"]) == ("@other:example.org", "7")
    assert await synapse.threepids(other["id"]) == {("email", "jdoe@corp.example")}


@BOTH_OWNERS
async def test_localparts_of_appservices(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """A localpart that an appservice has for itself is 400 and names userName; one that it shares is anybody's.

    A rename gives no user ID, and may have any name (the documentation).
    """
    registration = {
        "id": "bridge",
        "url": None,
        "as_token": "the-bridge",
        "hs_token": "the-server",
        "sender_localpart": "bridge",
        "namespaces": {
            "users": [
                {"regex": "@irc[.].*", "exclusive": True},
                {"regex": "@xmpp[.].*", "exclusive": False},
            ]
        },
    }
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(registration))
    config = {"app_service_config_files": [str(tmp_path / "bridge.yaml")]}
    admin = await Admin.of(await start_homeserver(config=config))
    scim = admin.scim

    for name in ("irc.ann", "IRC.ann@corp.example", "bridge"):
        assert_error(await scim.post("/Users", new_user(name, **PERSON)), 400, "invalidValue", "userName")

    await assert_nothing_left(scim, admin.synapse, "@irc.ann:example.org")
    shared = await scim.create("xmpp.ann")
    assert shared["id"] == "@xmpp.ann:example.org"
    renamed = await scim.patched(shared["id"], {"op": "replace", "path": "userName", "value": "irc.ann"})
    assert (renamed["id"], renamed["userName"]) == (shared["id"], "irc.ann")


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"enable_registration": False}, id="closed"),
        pytest.param({"enable_registration": True, "registration_requires_token": True}, id="by-token"),
        pytest.param({"enable_registration": True, "enable_registration_without_verification": True}, id="open"),
    ],
)
async def test_registration_of_ones_own_is_another_matter(
    start_homeserver: StartHomeserver, config: dict[str, Any]
) -> None:
    """Whether, and how, people may register themselves makes no difference to SCIM (the documentation)."""
    admin = await Admin.of(await start_homeserver(config=config))

    made = await admin.scim.create("jdoe", **PERSON)

    assert (made["id"], made["active"]) == ("@jdoe:example.org", True)
    assert (await admin.synapse.login("jdoe", PERSON["password"])).status == 200


async def test_full_server(owner: Owner, admin: Admin) -> None:
    """A limit of active users stops people from using the server, not SCIM from provisioning them.

    It is Synapse's: MAS lets them log in.
    """
    full = await admin.restart({"limit_usage_by_mau": True, "max_mau_value": 0})

    made = await full.scim.create("jdoe", **PERSON)
    await full.scim.patched(made["id"], {"op": "replace", "path": "displayName", "value": "Jane Lee"})

    assert (await full.synapse.account(made["id"]))["displayname"] == "Jane Lee"
    login = await full.synapse.login("jdoe", PERSON["password"])
    refused = (403, "M_RESOURCE_LIMIT_EXCEEDED")
    assert (login.status, login.json.get("errcode")) == (refused if owner == "synapse" else (200, None))
    assert (await full.scim.delete(made["id"])).status == 204


@BOTH_OWNERS
@WITH_DOORKEEPER
async def test_spam_checker_refuses(scim: Scim, synapse: Synapse) -> None:
    """Whom a spam checker refuses, SCIM does not make: 403 that says who refused, and nothing is left behind."""
    assert_error(await scim.post("/Users", new_user("refused", **PERSON)), 403, naming="spam checker")

    await assert_nothing_left(scim, synapse, "@refused:example.org")


@BOTH_OWNERS
@WITH_DOORKEEPER
@pytest.mark.expected_errors("The doorkeeper is broken")
async def test_broken_module_stops_the_registration(scim: Scim, synapse: Synapse) -> None:
    """A module that fails before the account is made leaves nothing behind, and its words stay in the log."""
    error = assert_error(await scim.post("/Users", new_user("broken", **PERSON)), 500)

    assert "doorkeeper" not in error["detail"]
    await assert_nothing_left(scim, synapse, "@broken:example.org")


@WITH_DOORKEEPER
@pytest.mark.expected_errors("MasProvisionUserResource")
async def test_module_that_fails_after_the_registration(owner: Owner, scim: Scim, synapse: Synapse) -> None:
    """A module that fails once the account is made cannot unmake it: the account is complete, and the answer 201.

    It keeps MAS from making the user, who is not there then: 503.
    """
    if owner == "mas":
        assert_error(await scim.post("/Users", new_user("late", **PERSON)), 503)
        assert await scim.names() == ["admin"]
        return
    made = await scim.create("late", **PERSON)

    sent = {name: value for name, value in PERSON.items() if name != "password"}
    assert {name: made[name] for name in sent} == sent
    assert await scim.read(made["id"]) == made
    assert await synapse.threepids(made["id"]) == {("email", "jdoe@corp.example")}
    assert (await synapse.login("late", PERSON["password"])).json["user_id"] == made["id"]
    assert_error(await scim.post("/Users", new_user("late")), 409, "uniqueness", "userName")


@BOTH_OWNERS
@pytest.mark.homeserver(module_config={"localpart": "{{ user.nickName }}"})
async def test_what_a_template_may_give(scim: Scim) -> None:
    """What a template gives is escaped like a userName, and numbered where somebody has it (the documentation).

    What is nothing, or no localpart, is 400, and nobody is made.
    """
    localparts = [
        ("jdoe", "jdoe"),
        ("JDoe", "jdoe2"),
        (" jdoe ", "jdoe3"),
        ("J. Döe", "j.=20d=c3=b6e"),
        ("_hidden", "=5fhidden"),
        ("a/b@c", "a=2fb=40c"),
    ]
    for number, (nick_name, localpart) in enumerate(localparts):
        made = await scim.create(f"u{number}", nickName=nick_name)
        assert (made["id"], made["userName"]) == (f"@{localpart}:example.org", f"u{number}")
    before = await scim.users()

    for unfit in (None, "", " \t", "4711", "x" * 250):
        assert_error(await scim.post("/Users", new_user("nobody", nickName=unfit)), 400, "invalidValue")

    assert await scim.users() == before


@pytest.mark.homeserver(module_config={"localpart": "{{ user.nickName }}", "localpart_taken": "refuse"})
async def test_names_of_others_can_be_refused_to_a_template(scim: Scim) -> None:
    """With `localpart_taken: refuse` a template cannot give one person's localpart to another: 409."""
    await scim.create("ann", nickName="jdoe")
    before = await scim.users()

    for nick_name in ("jdoe", "JDOE"):
        response = await scim.post("/Users", new_user("bob", nickName=nick_name, externalId="7"))
        assert_error(response, 409, "uniqueness", "@jdoe:example.org")

    assert await scim.users() == before
    assert (await scim.create("bob", nickName="bob", externalId="7"))["id"] == "@bob:example.org"


@BOTH_OWNERS
@pytest.mark.usefixtures("engine")
async def test_longest_user_name(scim: Scim) -> None:
    """A userName has up to 255 characters, whatever they are, as long as its localpart is short enough."""
    longest = "é@" + "ü" * 253
    made = await scim.create(longest)
    assert (made["id"], made["userName"]) == ("@=c3=a9:example.org", longest)
    assert await scim.names(f'userName eq "{longest.upper()}"') == [longest]

    # The longest user ID that Matrix has is 255 characters: @, localpart, :example.org.
    assert (await scim.create("x" * 242))["id"] == f"@{'x' * 242}:example.org"
    assert_error(await scim.post("/Users", new_user("y" * 243)), 400, "invalidValue", "userName")

    renamed = await scim.patched(made["id"], {"op": "replace", "path": "userName", "value": "z" * 255})
    assert (renamed["id"], renamed["userName"]) == (made["id"], "z" * 255)
    too_long = {"op": "replace", "path": "userName", "value": "z" * 256}
    assert_error(await scim.patch(made["id"], too_long), 400, "invalidValue", "userName")
    assert await scim.read(made["id"]) == renamed


@pytest.mark.usefixtures("engine")
async def test_two_people_cannot_swap_names_at_once(scim: Scim) -> None:
    """A userName is free when its bearer has given it up, not before: 409; by way of a third name it works."""
    ann, bob = await scim.create("ann"), await scim.create("bob")
    before = await scim.users()

    for user, name in ((ann, "bob"), (bob, "Ann")):
        rename = {"op": "replace", "path": "userName", "value": name}
        assert_error(await scim.patch(user["id"], rename), 409, "uniqueness", "userName")
        assert_error(await scim.put(user["id"], {**user, "userName": name}), 409, "uniqueness", "userName")
    assert await scim.users() == before

    for user, name in ((ann, "third"), (bob, "ann"), (ann, "bob")):
        assert_scim(await scim.patch(user["id"], {"op": "replace", "path": "userName", "value": name}), 200)
    assert {user["id"]: user["userName"] for user in await scim.users()} == {
        "@admin:example.org": "admin",
        ann["id"]: "bob",
        bob["id"]: "ann",
    }


@BOTH_OWNERS
async def test_freed_name_gives_no_account(scim: Scim) -> None:
    """Who takes a name that a rename freed gets an account of their own, whatever becomes of the first one."""
    first = await scim.create("jdoe@corp.example")
    await scim.patched(first["id"], {"op": "replace", "path": "userName", "value": "lee@corp.example"})

    second = await scim.create("jdoe@corp.example")
    assert second["id"] == "@jdoe2:example.org"

    assert (await scim.delete(first["id"])).status == 204
    assert (await scim.delete(second["id"])).status == 204
    assert (await scim.create("JDoe@corp.example"))["id"] == "@jdoe3:example.org"
