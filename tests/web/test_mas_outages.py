"""What SCIM answers, and what becomes of its writes, where Matrix Authentication Service fails."""

from __future__ import annotations

import attrs
import pytest

from synapse_scim.accounts import Unavailable
from synapse_scim.application import build
from synapse_scim.homeserver.mas import MasAccounts
from synapse_scim.module import ScimModule
from synapse_scim.steps import Deactivate
from tests.support.client import Response
from tests.support.homeserver import LocalHomeserver
from tests.support.mas import CLIENT_SECRET, AuthenticationService
from tests.support.mas_troubles import Disturbance
from tests.web.clients import Admin, assert_error, assert_scim, new_user, url_of, without_meta
from tests.web.life import OFF

pytestmark = [pytest.mark.usefixtures("mas"), pytest.mark.homeserver(module_config={"mas": {"timeout": 500}})]

ANN = "@ann:example.org"
EMAILS = [{"value": "ann@corp.example"}]


def assert_unavailable(response: Response) -> None:
    """Check that an answer is 503 and says when to ask again."""
    error = assert_error(response, 503, naming="Matrix Authentication Service")
    assert int(response.headers["retry-after"]) > 0
    assert CLIENT_SECRET not in error["detail"]


def logged(admin: Admin) -> str:
    """Return what the module logged as a warning."""
    return "\n".join(
        record.getMessage() for record in admin.homeserver.log_records if record.name.startswith("synapse_scim")
    )


@pytest.mark.parametrize(
    ("operation", "disturbance"),
    [
        *(("POST users", disturbance) for disturbance in Disturbance if disturbance is not Disturbance.conflict),
        ("POST user-emails", Disturbance.odd),
        ("POST user-emails", Disturbance.failing),
        ("POST user-emails", Disturbance.lost),
        ("POST users/.*/set-password", Disturbance.other),
        ("POST users/.*/set-password", Disturbance.odd),
        ("POST users/.*/set-password", Disturbance.lost),
    ],
)
async def test_a_creation_is_undone_and_can_be_repeated(
    operation: str, disturbance: Disturbance, mas: AuthenticationService, admin: Admin
) -> None:
    """Whatever MAS answers, a creation that fails is 503, leaves nobody, and succeeds when it is repeated."""
    body = new_user("ann", emails=EMAILS, password="correct horse", displayName="Ann")
    users = await admin.scim.users()
    mas.disturb(operation, disturbance)

    failed = await admin.scim.post("/Users", body)

    assert_unavailable(failed)
    assert await admin.scim.users() == users
    assert_error(await admin.scim.get(url_of(ANN)), 404)
    mas.calm()
    ann = assert_scim(await admin.scim.post("/Users", body), 201)
    assert (ann["id"], ann["emails"], ann["displayName"]) == (ANN, EMAILS, "Ann")
    assert (await admin.synapse.login("ann", "correct horse")).status == 200


@pytest.mark.parametrize("disturbance", [d for d in Disturbance if d is not Disturbance.conflict])
async def test_a_change_is_undone_and_can_be_repeated(
    disturbance: Disturbance, mas: AuthenticationService, admin: Admin
) -> None:
    """A change that MAS does not take is 503, and the account is as it was."""
    ann = await admin.scim.create("ann", emails=EMAILS)
    change = {"op": "add", "path": "emails", "value": [{"value": "ann@home.example"}]}
    mas.disturb("POST user-emails", disturbance)

    assert_unavailable(await admin.scim.patch(ANN, change))

    assert without_meta(await admin.scim.read(ANN)) == without_meta(ann)
    mas.calm()
    changed = await admin.scim.patched(ANN, change)
    assert [email["value"] for email in changed["emails"]] == ["ann@corp.example", "ann@home.example"]
    assert sorted(mas.state.emails_of(mas.known(ANN).id)) == ["ann@corp.example", "ann@home.example"]


async def test_a_lock_that_mas_does_not_take_is_none(mas: AuthenticationService, admin: Admin) -> None:
    """Nobody is shown as locked who can still log in."""
    await admin.scim.create("ann", password="correct horse")
    mas.disturb("POST users/.*/lock", Disturbance.failing)

    assert_unavailable(await admin.scim.patch(ANN, OFF))

    assert (await admin.scim.read(ANN))["active"] is True
    assert (await admin.synapse.login("ann", "correct horse")).status == 200


async def test_what_cannot_be_undone_now_is_undone_later(mas: AuthenticationService, admin: Admin) -> None:
    """If MAS fails while a change is taken back too, Synapse shows the old state, and MAS has it when it is back."""
    ann = await admin.scim.create("ann", emails=EMAILS)
    change = {"op": "add", "path": "emails", "value": [{"value": "b@x.example"}, {"value": "c@x.example"}]}
    mas.disturb("POST user-emails", Disturbance.failing, after=1)
    # They are looked at before the change as well.
    mas.disturb("GET user-emails", Disturbance.failing, after=1)

    assert_unavailable(await admin.scim.patch(ANN, change))

    assert (await admin.scim.read(ANN))["emails"] == ann["emails"]
    assert_error(await admin.scim.patch(ANN, OFF), 503, naming="not finished yet")
    mas.calm()
    await finished(admin.homeserver)
    await mas.do_jobs()
    assert mas.state.emails_of(mas.known(ANN).id) == ["ann@corp.example"]


@pytest.mark.parametrize("disturbance", [Disturbance.failing, Disturbance.unreachable, Disturbance.lost])
async def test_a_deletion_is_finished_later(disturbance: Disturbance, mas: AuthenticationService, admin: Admin) -> None:
    """Who is deleted is gone for SCIM whatever happens at MAS then; what is left to do is done when MAS is back."""
    await admin.scim.create("ann", emails=EMAILS)
    mas.disturb("POST users/.*/deactivate", disturbance)

    assert (await admin.scim.delete(ANN)).status == 204
    assert_error(await admin.scim.get(url_of(ANN)), 404)
    assert "certain but not finished yet" in logged(admin)

    mas.calm()
    admin = await admin.restart()
    await finished(admin.homeserver)
    account = await admin.synapse.account(ANN)
    assert (account["deactivated"], account["locked"], account["threepids"]) == (True, False, [])
    assert mas.known(ANN).deactivated_at is not None


async def test_whoever_is_deleted_is_locked_first(mas: AuthenticationService, admin: Admin) -> None:
    """However long MAS fails with the rest of a deletion, the person is not let in meanwhile, nor by its jobs."""
    await admin.scim.create("ann", emails=[*EMAILS, {"value": "ann@home.example"}], password="correct horse")
    token = await admin.synapse.token("ann", "correct horse")
    mas.disturb("DELETE user-emails/.*", Disturbance.failing, after=1)

    assert (await admin.scim.delete(ANN)).status == 204

    assert not mas.known(ANN).is_valid
    assert (await admin.synapse.login("ann", "correct horse")).status == 401
    assert (await admin.synapse.whoami(token)).status == 401
    mas.calm()
    await finished(admin.homeserver)
    assert (await admin.synapse.account(ANN))["deactivated"] is True


@pytest.mark.parametrize("disturbance", [Disturbance.failing, Disturbance.silent, Disturbance.proxy, Disturbance.odd])
async def test_nothing_begins_while_mas_is_away(
    disturbance: Disturbance, mas: AuthenticationService, admin: Admin
) -> None:
    """Whose account it is cannot be told then: every change is 503, and reading goes on."""
    ann = await admin.scim.create("ann")
    mas.disturb("GET users/by-username/.*", disturbance)

    for response in (
        await admin.scim.patch(ANN, {"op": "add", "path": "title", "value": "Dr"}),
        await admin.scim.put(ANN, new_user("ann", title="Dr")),
        await admin.scim.delete(ANN),
    ):
        assert_unavailable(response)

    assert await admin.scim.read(ANN) == ann
    assert "GET users/by-username/ann" in logged(admin)


# -- Tokens -------------------------------------------------------------------


async def test_a_token_that_ended_is_replaced_once(mas: AuthenticationService, admin: Admin) -> None:
    """A 401 is answered with a new token, once; what was asked happens once."""
    await admin.scim.create("ann")
    issued = mas.tokens_issued
    mas.expire_tokens()

    await admin.scim.patched(ANN, {"op": "add", "path": "emails", "value": EMAILS})
    assert mas.tokens_issued == issued + 1
    mas.disturb("POST user-emails", Disturbance.unauthorized)
    change = {"op": "add", "path": "emails", "value": [{"value": "ann@home.example"}]}
    assert_unavailable(await admin.scim.patch(ANN, change))

    assert mas.tokens_issued == issued + 2
    assert mas.requested.count("POST user-emails") == 3


async def test_a_token_is_not_used_to_its_end(mas: AuthenticationService, admin: Admin) -> None:
    """A new token is fetched before the present one ends; one that ends at once serves one request."""
    mas.token_lifetime_s = 0
    mas.expire_tokens()
    await admin.scim.create("ann")
    issued, requested = mas.tokens_issued, len(mas.requested)

    await admin.scim.patched(ANN, {"op": "add", "path": "title", "value": "Dr"})

    assert mas.tokens_issued - issued == len(mas.requested) - requested > 1


@pytest.mark.parametrize("disturbance", [Disturbance.page, Disturbance.other, Disturbance.failing])
async def test_no_token(disturbance: Disturbance, mas: AuthenticationService, admin: Admin) -> None:
    """Whatever answers where tokens are to be had, without one nothing is asked of MAS."""
    mas.expire_tokens()
    mas.disturb("POST /oauth2/token", disturbance)

    assert_unavailable(await admin.scim.post("/Users", new_user("ann")))

    assert mas.state.named("ann") is None


async def test_a_client_that_is_no_administrator(mas: AuthenticationService, admin: Admin) -> None:
    """Where MAS's policy gives the client no token, the log says what may be wrong."""
    mas.expire_tokens()
    mas.admits_client = False

    assert_unavailable(await admin.scim.post("/Users", new_user("ann")))

    assert "policy.data.admin_clients" in logged(admin)


# -- Jobs ---------------------------------------------------------------------


def accounts_of(homeserver: LocalHomeserver) -> MasAccounts:
    """Return the gateway, one that does not wait long for MAS's jobs."""
    config = ScimModule.parse_config(homeserver.delegation)
    assert config.mas is not None
    accounts = MasAccounts(homeserver.hs, config.mas)
    accounts._job_s = 0.2
    return accounts


async def finished(homeserver: LocalHomeserver) -> None:
    """Finish whatever is left to be done, as happens every minute."""
    config = ScimModule.parse_config(homeserver.delegation)
    with homeserver._context():
        maintenance = build(config, homeserver.hs).maintenance
        await maintenance.start()


async def test_a_deactivation_is_over_when_its_job_is(mas: AuthenticationService, admin: Admin) -> None:
    """The job takes away what an account has. Until it is done the deactivation is not, and nobody comes back."""
    await admin.scim.create("ann", emails=EMAILS)
    accounts = accounts_of(admin.homeserver)
    mas.hold_jobs()

    for _ in range(2):
        with admin.homeserver._context(), pytest.raises(Unavailable, match="has not deactivated"):
            await accounts.finish(ANN, Deactivate(erase=False))
    await mas.do_jobs()
    with admin.homeserver._context():
        await accounts.finish(ANN, Deactivate(erase=False))
    mas.hold_jobs()
    with admin.homeserver._context(), pytest.raises(Unavailable, match="has not deactivated"):
        await accounts.finish(ANN, Deactivate(erase=True))
    await mas.do_jobs()
    with admin.homeserver._context():
        await accounts.finish(ANN, Deactivate(erase=True))

    assert mas.requested.count(f"POST users/{mas.known(ANN).id}/deactivate") == 2
    account = await admin.synapse.account(ANN)
    assert (account["deactivated"], account["erased"]) == (True, True)


async def test_another_homeservers_service_is_told_of(mas: AuthenticationService, homeserver: LocalHomeserver) -> None:
    """A service of another homeserver is an error in the log, at the start and every minute."""
    mas.api.server_name = "elsewhere.example"
    with homeserver._context():
        await accounts_of(homeserver).prepare()

    records = [r for r in homeserver.log_records if r.levelname == "ERROR"]
    homeserver.log_records[:] = [r for r in homeserver.log_records if r not in records]
    assert "another homeserver, elsewhere.example" in records[0].getMessage()


async def test_who_does_not_know_whether_there_are_passwords_takes_them(
    mas: AuthenticationService, homeserver: LocalHomeserver
) -> None:
    """Passwords that somebody sends are not ignored while MAS has not said that there are none."""
    accounts = accounts_of(homeserver)
    mas.disturb("GET site-config", Disturbance.failing)

    with homeserver._context():
        await accounts.prepare()

    assert accounts.passwords_enabled
    assert attrs.asdict(await accounts.prepare_password("correct horse"))["password"] == "correct horse"
