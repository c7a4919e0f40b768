"""Where the server has no passwords, where it refuses one, and where nobody may find one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.conftest import Owner
from tests.support.homeserver import LocalHomeserver
from tests.web.clients import (
    MATRIX,
    USER,
    Admin,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    bulk_of,
    new_user,
    patch_of,
    url_of,
    without_meta,
)

ANN = "@ann:example.org"
OLD, NEW, WEAK = "correct-horse-battery", "staple-battery-horse", "weak-horse"
SET = {"op": "replace", "path": "password", "value": NEW}

pytestmark = pytest.mark.usefixtures("owner")

WITHOUT_PASSWORDS = pytest.mark.parametrize(
    ("owner", "password_config"),
    [("synapse", {"enabled": False}), ("synapse", {"localdb_enabled": False}), ("mas", {})],
    ids=["no-passwords", "no-local-passwords", "none-at-mas"],
    indirect=["owner"],
)
POLICY = {"password_config": {"policy": {"enabled": True, "minimum_length": 15}}}


async def restart(admin: Admin, *, passwords: bool, password_config: dict[str, Any]) -> Admin:
    """Have passwords or none from now on, by Synapse's configuration or by MAS's."""
    if admin.homeserver.mas is None:
        return await admin.restart({"password_config": password_config})
    admin.homeserver.mas.api.has_passwords = passwords
    return await admin.restart()


def set_policy(homeserver: LocalHomeserver) -> None:
    """Let MAS, where passwords are its own, refuse the one that Synapse's policy does; it does not look at that."""
    if homeserver.mas is not None:
        homeserver.mas.api.complexity = len({*WEAK}) + 1


async def kept_by_scim(homeserver: LocalHomeserver) -> str:
    """Return all that this module keeps in its tables, as text."""
    pool = homeserver.hs.get_datastores().main.db_pool
    tables = ("synapse_scim_users", "synapse_scim_values", "synapse_scim_writes")
    return repr([await pool.execute("kept", f"SELECT * FROM {table}") for table in tables])  # noqa: S608


def logged(homeserver: LocalHomeserver) -> str:
    """Return all that the homeserver logged, tracebacks included."""
    return "\n".join(logging.Formatter().format(record) for record in homeserver.log_records)


@WITHOUT_PASSWORDS
async def test_a_server_without_passwords(admin: Admin, password_config: dict[str, Any]) -> None:
    """Where Synapse has no local passwords none is announced, and one that is sent is ignored (the documentation).

    What was stored before is left alone: it works again where passwords come back.
    """
    await admin.scim.create("ann", password=OLD)
    without = await restart(admin, passwords=False, password_config=password_config)
    scim = without.scim

    config = assert_scim(await scim.get("/ServiceProviderConfig"), 200)
    assert config["changePassword"] == {"supported": False}
    assert b"password" not in (await scim.get("/Schemas")).body
    ann = await scim.read(ANN)
    assert await scim.replaced(ANN, {**ann, "password": NEW}) == ann
    for operation in (SET, {"op": "add", "value": {"password": NEW}}, {"op": "remove", "path": "password"}):
        assert await scim.patched(ANN, operation) == ann
    titled = await scim.patched(ANN, {"op": "add", "value": {"password": NEW, "title": "Dr"}})
    assert titled["title"] == "Dr"
    await scim.create("bob", password=NEW)
    assert_error(await scim.get("/Users", params={"filter": "password pr"}), 400, "invalidFilter")

    both = {"enabled": True, "localdb_enabled": True}
    again = await restart(without, passwords=True, password_config=both)

    assert (await again.synapse.login("ann", OLD)).status == 200
    for name in ("ann", "bob"):
        assert (await again.synapse.login(name, NEW)).status == 403


@pytest.mark.homeserver(config=POLICY)
async def test_a_refused_password_changes_nothing(owner: Owner, admin: Admin) -> None:
    """What the policy refuses is 400, and nothing of the request happens; in a Bulk the other operations do."""
    scim, synapse = admin.scim, admin.synapse
    set_policy(admin.homeserver)
    ann = await scim.create("ann", displayName="Ann", password=OLD)
    token = await synapse.token("ann", OLD)
    changes = {"displayName": "Mallory", "emails": [{"value": "ann@corp.example"}], "active": False, "password": WEAK}

    answers = [
        await scim.post("/Users", new_user("bob", **changes)),
        await scim.put(ANN, {**ann, **changes}),
        await scim.patch(ANN, {"op": "replace", "value": changes}),
    ]
    bulk = assert_scim(
        await scim.post(
            "/Bulk",
            bulk_of(
                {"method": "POST", "path": "/Users", "bulkId": "1", "data": new_user("bob", **changes)},
                {"method": "PUT", "path": url_of(ANN), "data": {**ann, **changes}},
                {"method": "PATCH", "path": url_of(ANN), "data": patch_of({"op": "replace", "value": changes})},
                {"method": "POST", "path": "/Users", "bulkId": "2", "data": new_user("cat", password=OLD)},
            ),
        ),
        200,
    )

    for answer in answers:
        assert_error(answer, 400, "invalidValue", "password")
    assert [operation["status"] for operation in bulk["Operations"]] == ["400", "400", "400", "201"]
    assert all(operation["response"]["scimType"] == "invalidValue" for operation in bulk["Operations"][:3])
    now = await scim.read(ANN)
    assert without_meta(now) == without_meta(ann)
    # MAS refuses late: addresses that came and went count as changes, though nothing is different.
    assert now["meta"] == ann["meta"] | ({} if owner == "synapse" else {"lastModified": now["meta"]["lastModified"]})
    assert (await synapse.account(ANN))["displayname"] == "Ann"
    assert await synapse.threepids(ANN) == set()
    assert (await synapse.whoami(token)).status == 200
    assert await scim.names() == ["admin", "ann", "cat"]
    assert (await synapse.login("cat", OLD)).status == 200
    told = [answer.body.decode() for answer in answers] + [repr(bulk), logged(admin.homeserver)]
    assert not any(password in text for password in (WEAK, OLD) for text in told)


async def test_a_password_from_before_the_policy(admin: Admin) -> None:
    """A policy is asked about new passwords; the one that a client repeats with every PUT stays (IdP: Canaille)."""
    ann = await admin.scim.create("ann", password=WEAK)
    set_policy(admin.homeserver)
    strict = await admin.restart(POLICY if admin.homeserver.mas is None else None)
    token = await strict.synapse.token("ann", WEAK)

    titled = await strict.scim.replaced(ANN, {**ann, "title": "Dr", "password": WEAK})

    assert titled["title"] == "Dr"
    assert (await strict.synapse.whoami(token)).status == 200
    assert_error(await strict.scim.patch(ANN, {**SET, "value": WEAK[:-1]}), 400, "invalidValue", "password")
    assert (await strict.synapse.login("ann", WEAK)).status == 200


async def test_longest_password(scim: Scim, synapse: Synapse) -> None:
    """A password has up to 512 characters, as in Synapse's own admin API; a longer one is 400."""
    longest = "é🔑correct horse 1" * 30 + "é🔑"
    await scim.create("ann", password=longest)
    assert (await synapse.login("ann", longest)).status == 200
    token = await synapse.token("ann", longest)

    for answer in (
        await scim.post("/Users", new_user("bob", password=longest + "x")),
        await scim.patch(ANN, {**SET, "value": longest + "x"}),
    ):
        assert_error(answer, 400, "invalidValue", "password")
        assert longest not in answer.body.decode()

    assert (await synapse.whoami(token)).status == 200
    assert await scim.names() == ["admin", "ann"]


async def test_a_password_in_another_unicode_form_is_the_same(owner: Owner, scim: Scim, synapse: Synapse) -> None:
    """Synapse normalises passwords, so one that differs in that alone is the stored one and ends no session.

    MAS may not: people log in there with the form that was sent first.
    """
    composed, decomposed = "p\u00e4ssw\u00f6rd-of-ann", "pa\u0308sswo\u0308rd-of-ann"
    ann = await scim.create("ann", password=composed)
    token = await synapse.token("ann", decomposed if owner == "synapse" else composed)

    assert await scim.replaced(ANN, {**ann, "password": decomposed}) == ann

    assert (await synapse.whoami(token)).status == 200
    assert (await synapse.login("ann", composed)).status == 200


async def test_what_is_no_password(admin: Admin) -> None:
    """A password of another type is 400 and is not repeated to anybody; an empty one in a PUT is none."""
    scim, synapse = admin.scim, admin.synapse
    ann = await scim.create("ann", password=OLD)
    token = await synapse.token("ann", OLD)

    for wrong in (8675309123, True, 8675309.125, ["8675309-one", "8675309-two"], {"value": "8675309-object"}):
        for answer in (
            await scim.post("/Users", new_user("bob", password=wrong)),
            await scim.put(ANN, {**ann, "password": wrong}),
            await scim.patch(ANN, {**SET, "value": wrong}),
        ):
            assert_error(answer, 400, "invalidValue", "password")
            assert b"8675309" not in answer.body
    assert "8675309" not in logged(admin.homeserver)
    for nothing in (None, ""):
        assert await scim.replaced(ANN, {**ann, "password": nothing}) == ann
    assert await scim.replaced(ANN, ann) == ann

    assert (await synapse.whoami(token)).status == 200
    assert (await synapse.login("ann", OLD)).status == 200


async def test_an_attribute_that_is_called_password_elsewhere(scim: Scim, synapse: Synapse) -> None:
    """What a PATCH does to an attribute of a schema that nobody declared does nothing to the person's password.

    By the URN of its own schema the password is found (RFC 7644 §3.10).
    """
    await scim.create("ann", password=OLD)

    for schema in ("urn:example:2.0:User", MATRIX):
        response = await scim.patch(ANN, {"op": "remove", "path": f"{schema}:password"})
        assert response.status in {200, 400}
        assert (await synapse.login("ann", OLD)).status == 200

    await scim.patched(ANN, {"op": "replace", "path": f"{USER}:password", "value": NEW})
    assert (await synapse.login("ann", NEW)).status == 200
    await scim.patched(ANN, {"op": "remove", "path": f"{USER.upper()}:Password"})
    assert (await synapse.login("ann", NEW)).status == 403


@pytest.mark.usefixtures("engine")
async def test_a_password_together_with_other_changes(scim: Scim, synapse: Synapse) -> None:
    """One request changes password, profile and identifiers, ends the sessions, and keeps the password of the locked.

    Nobody logs in with the former password from then on, inactive or not.
    """
    ann = await scim.create("ann", displayName="Ann", password=OLD)
    token = await synapse.token("ann", OLD)
    changes = {"displayName": "Ann Lee", "emails": [{"value": "ann@corp.example"}], "active": False}

    changed = await scim.replaced(ANN, {**ann, **changes, "password": NEW})

    assert {name: changed[name] for name in changes} == changes
    assert (await synapse.account(ANN))["displayname"] == "Ann Lee"
    assert (await synapse.whoami(token)).status == 401
    assert (await synapse.login("ann", NEW)).status in {401, 403}
    await scim.patched(ANN, {"op": "replace", "path": "active", "value": True})
    assert (await synapse.whoami(token)).status == 401
    assert (await synapse.login("ann", OLD)).status == 403
    assert (await synapse.login("ann", NEW)).status == 200


async def test_a_password_for_an_account_that_scim_did_not_make(owner: Owner, scim: Scim, synapse: Synapse) -> None:
    """Adoption with the present password ends no session, with another one it does (the documentation).

    Nobody can ask MAS whether it is the present one, so that any ends them there.
    """
    for name in ("ann", "bob"):
        await synapse.change(f"@{name}:example.org", password=OLD)
    tokens = {name: await synapse.token(name, OLD) for name in ("ann", "bob")}

    await scim.create("ann", password=OLD)
    await scim.create("bob", password=NEW)

    assert (await synapse.whoami(tokens["ann"])).status == (200 if owner == "synapse" else 401)
    assert (await synapse.whoami(tokens["bob"])).status == 401
    assert (await synapse.login("bob", OLD)).status == 403
    assert (await synapse.login("bob", NEW)).status == 200


async def test_passwords_are_nowhere(admin: Admin) -> None:
    """A password is in no answer, no log and no table of this module, and neither is its hash (RFC 7644 §7.5)."""
    scim, homeserver = admin.scim, admin.homeserver
    data = new_user("ann", displayName="Ann", password=OLD)
    answers = [await scim.post("/Bulk", bulk_of({"method": "POST", "path": "/Users", "bulkId": "1", "data": data}))]
    hashes = [await stored_hash(homeserver)]
    change = patch_of({"op": "replace", "value": {"password": NEW, "displayName": "Ann Lee"}})
    answers.append(await scim.post("/Bulk", bulk_of({"method": "PATCH", "path": url_of(ANN), "data": change})))
    hashes.append(await stored_hash(homeserver))
    answers.append(await scim.get("/Users", params={"attributes": "password", "filter": "password pr or userName pr"}))
    answers.append(await scim.post("/Users/.search", {"schemas": [], "attributes": ["password"], "count": 10}))

    assert (await admin.synapse.login("ann", NEW)).status == 200
    told = [answer.body.decode() for answer in answers] + [logged(homeserver), await kept_by_scim(homeserver)]
    for secret in (OLD, NEW, *hashes):
        assert not any(secret in text for text in told)
    assert len(set(hashes)) == 2


async def stored_hash(homeserver: LocalHomeserver) -> str:
    """Return the hash of Ann's password."""
    pool = homeserver.hs.get_datastores().main.db_pool
    found: str = await pool.simple_select_one_onecol("users", {"name": ANN}, "password_hash")
    return found
