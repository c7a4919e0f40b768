"""Whom single sign-on lets in: an externalId opens the account that SCIM provisioned, as long as it is the person's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.conftest import Owner
from tests.support.configuration import http_listener, scim_module
from tests.support.databases import Engine
from tests.support.homeserver import StartHomeserver
from tests.support.mas import PROVIDER_IDS
from tests.support.mas_people import UpstreamBrowser
from tests.support.openid import Browser, OpenIdProvider
from tests.support.runner import BlockingRunner
from tests.web.clients import MATRIX, Admin, Scim, Synapse, assert_scim, new_user

# Synapse logs as an error that it lets nobody in whom it does not know.
pytestmark = [
    pytest.mark.usefixtures("owner"),
    pytest.mark.expected_errors("User does not exist and registrations are disabled"),
]

REGISTERS = pytest.mark.parametrize("registers", [True], ids=["registering"])
EITHER_WAY = pytest.mark.parametrize("registers", [False, True], ids=["provisioned-only", "registering"])


@pytest.fixture
def registers() -> bool:
    """Whether single sign-on makes accounts for people who have none; by default only SCIM does."""
    return False


@pytest.fixture
def provider(runner: BlockingRunner) -> Iterator[OpenIdProvider]:
    """An OpenID provider."""
    provider = OpenIdProvider()
    yield provider
    runner.run(provider.stop())


@pytest.fixture
def admin(
    request: pytest.FixtureRequest,
    start_homeserver: StartHomeserver,
    owner: Owner,
    provider: OpenIdProvider,
    registers: bool,  # noqa: FBT001 - a fixture
    runner: BlockingRunner,
) -> Admin:
    """A server admin of a homeserver where people log in through the provider, at MAS where accounts belong to it."""

    async def start() -> Admin:
        engine = request.getfixturevalue("engine") if "engine" in request.fixturenames else "sqlite"
        return await Admin.of(
            await start_homeserver(
                engine=cast("Engine", engine),
                module=scim_module({"sso": {"idp_id": "oidc-test"}}),
                config=provider.configuration(registers=registers) if owner == "synapse" else {},
                listeners=[http_listener("client", x_forwarded=True)],
            )
        )

    return runner.run(start())


@pytest.fixture
def browser(admin: Admin, provider: OpenIdProvider, registers: bool) -> Browser | UpstreamBrowser:  # noqa: FBT001 - a fixture
    """The browser of people who log in."""
    if admin.homeserver.mas is not None:
        return UpstreamBrowser(admin.homeserver, admin.homeserver.mas, PROVIDER_IDS[0], registers=registers)
    return Browser(admin.homeserver, provider)


@EITHER_WAY
async def test_first_login_opens_the_provisioned_account(scim: Scim, synapse: Synapse, browser: Browser) -> None:
    """The person's first login by SSO lands in the account that SCIM made, whatever its name (the documentation)."""
    ann = await scim.create("ann.lee@corp.example", externalId="A1", displayName="Ann Lee")
    before = await synapse.account(ann["id"])

    assert await browser.opens("A1") == "@ann.lee:example.org"

    assert await scim.read(ann["id"]) == ann
    assert (await synapse.account(ann["id"]))["external_ids"] == before["external_ids"]
    assert sorted(await scim.names()) == ["admin", "ann.lee@corp.example"]


async def test_nobody_else_is_let_in(scim: Scim, browser: Browser) -> None:
    """Where SSO registers nobody, whoever was not provisioned, or has no externalId, stays outside; case counts."""
    await scim.create("ann", externalId="aB1")
    await scim.create("bob")

    for stranger in ("Ab1", "ann", "bob", "@ann:example.org"):
        assert await browser.opens(stranger) is None
    assert await browser.opens("aB1") == "@ann:example.org"


@pytest.mark.usefixtures("engine")
async def test_a_changed_external_id_opens_the_account_instead(scim: Scim, browser: Browser) -> None:
    """A new externalId opens the account from the moment of the answer, and the former one nothing any more.

    Both have been looked up before, so that a look-up that the homeserver remembers would show.
    """
    ann = await scim.create("ann", externalId="A1")
    assert [await browser.opens(subject) for subject in ("A1", "A2", "A3")] == ["@ann:example.org", None, None]

    await scim.patched(ann["id"], {"op": "replace", "path": "externalId", "value": "A2"})
    assert [await browser.opens(subject) for subject in ("A1", "A2")] == [None, "@ann:example.org"]

    await scim.replaced(ann["id"], {**ann, "externalId": "A3"})
    assert [await browser.opens(subject) for subject in ("A2", "A3")] == [None, "@ann:example.org"]

    await scim.patched(ann["id"], {"op": "remove", "path": "externalId"})
    assert [await browser.opens(subject) for subject in ("A1", "A2", "A3")] == [None, None, None]

    await scim.patched(ann["id"], {"op": "add", "path": "externalId", "value": "A1"})
    assert await browser.opens("A1") == "@ann:example.org"


async def test_an_external_id_that_moves_opens_its_new_account(scim: Scim, browser: Browser) -> None:
    """An externalId that one User gave up opens whichever account has it now, and no other."""
    ann = await scim.create("ann", externalId="A1")
    bob = await scim.create("bob", externalId="B1")
    assert [await browser.opens(subject) for subject in ("A1", "B1")] == [ann["id"], bob["id"]]

    await scim.patched(ann["id"], {"op": "remove", "path": "externalId"})
    await scim.patched(bob["id"], {"op": "replace", "path": "externalId", "value": "A1"})

    assert [await browser.opens(subject) for subject in ("A1", "B1")] == [bob["id"], None]


@pytest.mark.usefixtures("engine")
async def test_a_deleted_account_is_not_opened(scim: Scim, browser: Browser) -> None:
    """After DELETE the externalId opens nothing, until the person is created again (the documentation)."""
    ann = await scim.create("ann", externalId="A1")
    assert await browser.opens("A1") == ann["id"]

    assert (await scim.delete(ann["id"])).status == 204

    assert await browser.opens("A1") is None
    await scim.create("ann", externalId="A1")
    assert await browser.opens("A1") == ann["id"]


@REGISTERS
async def test_a_leaver_gets_nothing_of_the_old_account(scim: Scim, synapse: Synapse, browser: Browser) -> None:
    """Where SSO registers whoever has no account, a deleted person gets another one, not the old one's name."""
    ann = await scim.create("a1", externalId="A1", emails=[{"value": "ann@corp.example"}])
    assert await browser.opens("A1") == ann["id"] == "@a1:example.org"

    assert (await scim.delete(ann["id"])).status == 204

    opened = await browser.opens("A1")
    assert opened is not None
    assert opened != ann["id"]
    assert await synapse.threepids(opened) == set()
    assert (await synapse.account(ann["id"]))["deactivated"] is True


async def test_whoever_is_inactive_stays_outside(scim: Scim, browser: Browser) -> None:
    """`active: false` opens nothing to SSO either, and `active: true` opens the same account again."""
    ann = await scim.create("ann", externalId="A1")

    await scim.patched(ann["id"], {"op": "replace", "path": "active", "value": False})
    assert await browser.opens("A1") is None

    await scim.patched(ann["id"], {"op": "replace", "path": "active", "value": True})
    assert await browser.opens("A1") == ann["id"]


@REGISTERS
async def test_an_account_that_single_sign_on_made(owner: Owner, scim: Scim, browser: Browser) -> None:
    """It shows its external ID as externalId, is found by it, and a POST with it adopts the account.

    What adopts it may come with another userName later; the login still opens the account (the documentation). Of
    logins at MAS, Synapse does not hear: there the externalId shows once the account is adopted.
    """
    opened = await browser.opens("A1")
    assert opened == "@a1:example.org"
    shown = await scim.read(opened)
    external_id = "A1" if owner == "synapse" else None
    assert (shown.get("externalId"), shown["userName"], shown[MATRIX]["managed"]) == (external_id, "a1", False)
    for scim_filter in ('externalId eq "A1"', 'externalId sw "A"'):
        assert await scim.users(filter=scim_filter) == ([shown] if owner == "synapse" else [])
    assert await scim.users(filter='externalId eq "a1"') == []

    adopted = assert_scim(await scim.post("/Users", new_user("a1@corp.example", externalId="A1")), 201)

    assert (adopted["id"], adopted["externalId"], adopted[MATRIX]["managed"]) == (opened, "A1", True)
    assert await scim.users(filter='externalId eq "A1"') == [adopted]
    renamed = await scim.patched(opened, {"op": "replace", "path": "userName", "value": "ann@corp.example"})
    assert await browser.opens("A1") == renamed["id"] == opened
    await scim.patched(opened, {"op": "replace", "path": "externalId", "value": "A2"})
    assert await browser.opens("A2") == opened
    assert await browser.opens("A1") != opened


async def test_an_external_id_that_an_administrator_recorded(
    owner: Owner, scim: Scim, synapse: Synapse, browser: Browser
) -> None:
    """An external ID that came by the admin API shows at once as externalId, and one that was taken away is gone.

    Where accounts belong to MAS, what Synapse has recorded opens nothing.
    """
    await synapse.change("@local:example.org", external_ids=[{"auth_provider": "oidc-test", "external_id": "L1"}])
    await synapse.change("@other:example.org", external_ids=[{"auth_provider": "oidc-else", "external_id": "L1"}])
    assert await browser.opens("L1") == ("@local:example.org" if owner == "synapse" else None)
    assert (await scim.read("@local:example.org"))["externalId"] == "L1"
    assert "externalId" not in await scim.read("@other:example.org")
    assert await scim.names('externalId eq "L1"') == ["local"]
    assert await scim.names("externalId pr") == ["local"]

    await synapse.change("@local:example.org", external_ids=[])

    assert "externalId" not in await scim.read("@local:example.org")
    assert await scim.names('externalId eq "L1"') == []
