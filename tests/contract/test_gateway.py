"""What `AccountGateway` promises holds for Synapse and, where it has to do with them, for accounts of MAS's."""

from __future__ import annotations

from typing import Any

import pytest
from scim2_models import Context

from synapse_scim.accounts import (
    Account,
    AccountChangeRefused,
    ExternalId,
    ExternalIdTaken,
    InvalidUserId,
    Threepid,
    ThreepidTaken,
    UserIdTaken,
)
from synapse_scim.application import Application, account_gateway, build
from synapse_scim.config import Config
from synapse_scim.gateway import AccountGateway
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.module import ScimModule
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    ProfileChange,
    RemoveExternalId,
    RemoveThreepid,
)
from synapse_scim.store.creation import Found
from synapse_scim.store.errors import UnavailableException
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.conftest import Owner
from tests.support.homeserver import LocalHomeserver

pytestmark = pytest.mark.usefixtures("engine", "owner")

ANN, BOB = "@ann:example.org", "@bob:example.org"
EMAIL = Threepid("email", "ann@x.example")
NUMBER = Threepid("msisdn", "4930123456")
SUBJECT = ExternalId("oidc", "7")


def config_of(homeserver: LocalHomeserver) -> Config:
    """Return the module's configuration, which says to whom accounts belong."""
    return ScimModule.parse_config(homeserver.delegation)


def gateway_of(homeserver: LocalHomeserver) -> AccountGateway:
    """Return the gateway to the accounts of a homeserver."""
    return account_gateway(config_of(homeserver), homeserver.hs)


async def applied(homeserver: LocalHomeserver, user_id: str, *changes: DatabaseChange) -> None:
    """Make changes in one transaction."""
    gateway = gateway_of(homeserver)

    def apply(txn: object) -> None:
        for change in changes:
            gateway.apply(txn, user_id, change)  # type: ignore[arg-type]

    with homeserver._context():
        await HomeserverDatabase(homeserver.hs, fold).run("test", apply)


async def opened_by(homeserver: LocalHomeserver, external_id: ExternalId) -> str | None:
    """Return the account that a single sign-on subject opens, as Synapse looks it up."""
    store: Any = homeserver.hs.get_datastores().main
    user_id: str | None = await store.get_user_by_external_id(external_id.auth_provider, external_id.subject)
    return user_id


# -- Registering --------------------------------------------------------------


async def test_a_user_id_is_given_once(homeserver: LocalHomeserver) -> None:
    """Who comes second is told that it is taken, in whatever case it is asked for; other names that cannot be, why."""
    gateway = gateway_of(homeserver)
    await gateway.register(gateway.registration("ann", "Ann", None))

    with pytest.raises(UserIdTaken, match=f"{ANN} is taken"):
        await gateway.register(gateway.registration("ann", "Ann", None))
    for impossible in ("Bob", "123", "_bob", "b" * 300):
        with pytest.raises(InvalidUserId, match="'userName' gives the user ID"):
            await gateway.register(gateway.registration(impossible, "Bob", None))


class Rivalry(HomeserverDatabase):
    """The database of a homeserver where somebody else is always faster: they take what a creation has found free."""

    def __init__(self, homeserver: LocalHomeserver, *, takes: int) -> None:
        """Let them win so often."""
        super().__init__(homeserver.hs, fold)
        self._homeserver = homeserver
        self._left = takes

    async def run(self, name, function, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        """Run a transaction, and be too late with what it found."""
        result = await super().run(name, function, *args, **kwargs)
        if isinstance(result, Found) and self._left:
            self._left -= 1
            # A program's account is not one to adopt.
            await self._homeserver.hs.get_registration_handler().register_user(
                localpart=result.numbered or "ann", user_type="bot", by_admin=True
            )
        return result


def users(application: Application) -> UserStorage:
    """Return the Users as a client sees them."""
    store = application.store
    return UserStorage(store, Rights(subject=Subject(name="okta"), protected=(), users=store.users))


async def test_a_lost_race_is_run_again(homeserver: LocalHomeserver) -> None:
    """Who finds the localpart taken by somebody faster gets the next one; who always does is told to come back."""
    for takes, user_id in ((1, "@ann2:example.org"), (2, "@ann5:example.org")):
        application = build(config_of(homeserver), homeserver.hs, database=Rivalry(homeserver, takes=takes))
        await application.maintenance.start()
        user = application.store.model.model_validate({"userName": f"ann@{takes}.example"})
        created = await users(application).create(application.provider.resource_types[0], user)
        assert created.id == user_id

    application = build(config_of(homeserver), homeserver.hs, database=Rivalry(homeserver, takes=100))
    await application.maintenance.start()
    user = application.store.model.model_validate({"userName": "ann", "password": "correct horse"})
    with pytest.raises(UnavailableException, match="again and again"):
        await users(application).create(application.provider.resource_types[0], user)
    assert await application.store.writer.unfinished() == []


# -- Changes within a transaction ---------------------------------------------


async def test_identifiers_are_never_moved(homeserver: LocalHomeserver) -> None:
    """What another account has is refused, and it keeps it; what the account has already is no change."""
    store = homeserver.hs.get_datastores().main
    for name in ("ann", "bob"):
        await homeserver.register(name)
    mine = (AddThreepid(EMAIL), AddThreepid(NUMBER), AddExternalId(SUBJECT))
    await applied(homeserver, ANN, *mine)
    await applied(homeserver, ANN, *mine)

    for change, error in (
        (AddThreepid(EMAIL), ThreepidTaken),
        (AddThreepid(NUMBER), ThreepidTaken),
        (AddExternalId(SUBJECT), ExternalIdTaken),
    ):
        with pytest.raises(error):
            await applied(homeserver, BOB, AddThreepid(Threepid("email", "bob@x.example")), change)

    assert {(t.medium, t.address) for t in await store.user_get_threepids(ANN)} == {
        ("email", "ann@x.example"),
        ("msisdn", "4930123456"),
    }
    assert await store.user_get_threepids(BOB) == []
    assert await opened_by(homeserver, SUBJECT) == ANN


async def test_what_is_taken_away_is_free_at_once(homeserver: LocalHomeserver) -> None:
    """Synapse's own look-ups, which remember, know of each change."""
    store = homeserver.hs.get_datastores().main
    for name in ("ann", "bob"):
        await homeserver.register(name)
    assert await opened_by(homeserver, SUBJECT) is None
    await applied(homeserver, ANN, AddExternalId(SUBJECT), AddThreepid(EMAIL))
    assert await opened_by(homeserver, SUBJECT) == ANN

    await applied(homeserver, ANN, RemoveExternalId(SUBJECT), RemoveThreepid(EMAIL))
    assert await opened_by(homeserver, SUBJECT) is None
    await applied(homeserver, BOB, AddExternalId(SUBJECT), AddThreepid(EMAIL))

    assert await opened_by(homeserver, SUBJECT) == BOB
    assert await store.get_user_id_by_threepid("email", "ann@x.example") == BOB


# -- Changes of their own -----------------------------------------------------


def renaming(application: Application) -> ProfileChange:
    """Return the change of a profile that a new displayName asks for."""
    store = application.store
    now = store.gateway.now()
    account = Account(user_id=ANN, localpart="ann", created=now, displayname="Ann")
    user = store.model.model_validate(
        {"userName": "ann", "displayName": "Anna"}, scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST
    )
    plan = store.planner.update(
        account,
        WantedUser.from_resource(user),
        domain="default",
        unavailable=frozenset(),
        password=None,
        now=now,
    )
    (change,) = plan.profile_changes
    return change


async def test_a_profile_change_can_be_repeated_or_refused(homeserver: LocalHomeserver) -> None:
    """Repeating it does no harm, and what the homeserver refuses is an error of the module's own."""
    application = build(config_of(homeserver), homeserver.hs)
    change, gateway = renaming(application), gateway_of(homeserver)
    await homeserver.register("ann", display_name="Ann")

    with homeserver._context():
        for _ in range(2):
            await gateway.change_profile(ANN, change)
        with pytest.raises(AccountChangeRefused, match="The homeserver refuses this"):
            await gateway.change_profile("@ann:elsewhere.example", change)

    profile = await homeserver.hs.get_datastores().main.db_pool.simple_select_one_onecol(
        "profiles", {"full_user_id": ANN}, "displayname"
    )
    assert profile == "Anna"


async def test_has_password_knows_the_password(homeserver: LocalHomeserver, owner: Owner) -> None:
    """An account without one has none, whatever is asked. Of MAS's, only those are known that SCIM has set."""
    gateway = gateway_of(homeserver)
    await homeserver.register("ann")
    await homeserver.register("bob")
    await homeserver.register("cat", password="her own choice")
    await applied(homeserver, ANN, await gateway.prepare_password("correct horse"))

    assert await gateway.has_password(ANN, "correct horse")
    assert not await gateway.has_password(ANN, "battery staple")
    assert not await gateway.has_password(BOB, "")
    assert await gateway.has_password("@cat:example.org", "her own choice") == (owner == "synapse")
