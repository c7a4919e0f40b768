"""Accounts that belong to Matrix Authentication Service.

They are made and changed through its admin API, and it tells Synapse of them, in part later, by jobs of its own. What
it tells Synapse of e-mail addresses and locks, the module writes into Synapse's tables at once, so that whoever reads
sees it; the jobs find it done.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs
from synapse.api.constants import ProfileFields
from synapse.api.errors import SynapseError
from synapse.spam_checker_api import RegistrationBehaviour
from synapse.util.duration import Duration

from synapse_scim.accounts import (
    Account,
    AccountChangeRefused,
    AccountProtected,
    ExternalId,
    ExternalIdTaken,
    InvalidPassword,
    InvalidUserId,
    Threepid,
    ThreepidTaken,
    Unavailable,
    UserIdTaken,
    UserNameTaken,
)
from synapse_scim.config import Mas, Photos
from synapse_scim.database import Transaction
from synapse_scim.gateway import Registration
from synapse_scim.homeserver.gateway import SynapseAccounts
from synapse_scim.homeserver.mas_api import MasApi, MasRefusal, as_expected, segment
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    Deactivate,
    Elsewhere,
    EndSessions,
    FinalChange,
    Reactivate,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
    SetProfileField,
)

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_JOB_S = 20.0
_JOB_POLL_S = 0.1

_SESSIONS: tuple[tuple[str, str, str], ...] = (
    ("user-sessions", "filter[user]", "finish"),
    ("oauth2-sessions", "filter[user]", "finish"),
    ("compat-sessions", "filter[user]", "finish"),
    ("personal-sessions", "filter[actor_user]", "revoke"),
)
"""The kinds of sessions: by which filter those of a user are found, and what ends one."""


class MasAccounts(SynapseAccounts):
    """Registers and changes accounts through Matrix Authentication Service. Implements `AccountGateway`.

    It has no phone numbers: they are in Synapse's tables alone. It has no way to remove a user: a registration that is
    given up leaves one that nobody can open, and who comes next with that name gets it.
    """

    def __init__(self, hs: HomeServer, settings: Mas, *, max_photo_size: int = Photos().max_size) -> None:
        """Use a homeserver, and the service to which its accounts belong.

        Raises:
            ConfigurationError: The client's secret cannot be read.
        """
        super().__init__(hs, max_photo_size=max_photo_size)
        self.registers_in_steps = True
        self._api = MasApi(hs, settings)
        self._upstream_providers = settings.upstream_providers
        # Until it says otherwise: a password that somebody sends must not be ignored.
        self._has_passwords = True
        self._job_s = _JOB_S

    @property
    def passwords_enabled(self) -> bool:
        """Whether people log in to the service with passwords, as it said last."""
        return self._has_passwords

    async def prepare(self) -> None:
        """Ask how the service is set up."""
        try:
            site = await self._api.get("site-config")
            with as_expected():
                self._has_passwords, server_name = bool(site["password_login_enabled"]), site["server_name"]
        except Unavailable as error:
            logger.warning("Whether people may have passwords is not known: %s", error)
        else:
            if server_name != self.server_name:
                logger.error("This Matrix Authentication Service is that of another homeserver, %s", server_name)

    async def present(self, account: Account) -> Account:
        """Return an account with what the service has of it; refuse those who may administer the service."""
        user_id = account.user_id
        user = await self._known(user_id)
        mine = {"filter[user]": _id_of(user)}
        emails = await self._api.all("user-emails", mine)
        links = await self._api.all("upstream-oauth-links", mine) if self._upstream_providers else []
        names = {provider_id: name for name, provider_id in self._upstream_providers.items()}
        with as_expected():
            is_admin = user["attributes"]["admin"]
            threepids = {Threepid("email", self._canonical(email["attributes"]["email"])) for email in emails}
            subjects = {
                ExternalId(names[link["attributes"]["provider_id"]], link["attributes"]["subject"])
                for link in links
                if link["attributes"]["provider_id"] in names
            }
            is_locked = user["attributes"]["locked_at"] is not None
            is_deactivated = user["attributes"]["deactivated_at"] is not None
        if is_admin:
            raise AccountProtected(f"The account {user_id} may administer Matrix Authentication Service")
        return attrs.evolve(
            account,
            threepids=frozenset(threepids.union(t for t in account.threepids if t.medium != "email")),
            external_ids=frozenset(
                subjects.union(e for e in account.external_ids if e.auth_provider not in self._upstream_providers)
            ),
            locked=is_locked,
            deactivated=account.deactivated or is_deactivated,
        )

    def _canonical(self, address: str) -> str:
        try:
            return self.to_email(address)
        except ValueError:
            # Synapse would not take it from anybody but the service.
            return address

    # -- Registration ---------------------------------------------------------

    def registration(self, localpart: str, displayname: str, password: SetPassword | None) -> Registration:
        """Return how an account is registered: under a name that is nobody's, which tells that it is ours."""
        birthmark = f"synapse-scim {secrets.token_hex(16)}"
        name = SetProfileField(field=ProfileFields.DISPLAYNAME, value=displayname, former=birthmark)
        return Registration(localpart=localpart, displayname=birthmark, birthmark=birthmark, final=(name,))

    def birthmark(self, txn: Transaction, user_id: str) -> str | None:
        """Return the display name."""
        txn.execute("SELECT displayname FROM profiles WHERE full_user_id = ?", (user_id,))
        row = txn.fetchone()
        return row[0] if row else None

    async def register(self, registration: Registration, former: str | None = None) -> None:
        """Register an account, which Synapse has before the service answers."""
        localpart = registration.localpart
        user_id = f"@{localpart}:{self.server_name}"
        user = {"username": localpart, "displayname": registration.displayname}
        try:
            await self._check_registration(localpart)
        except UserIdTaken:
            if former is None or await self._birthmark_now(user_id) != former:
                raise
        else:
            former = None
        try:
            # One that was given up may be Synapse's already, and not the service's.
            await self._api.post("users", user if former is None else {**user, "skip_homeserver_check": True})
        except MasRefusal as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise InvalidUserId(f"'userName' gives the user ID {user_id}, which cannot be") from refusal
            if former is None:
                raise UserNameTaken(f"Matrix Authentication Service does not give away the name {localpart}") from None
            await self._take_over(user_id, former, registration.birthmark)

    async def give_up(self, user_id: str) -> None:
        """Let nobody open an account, and leave it nothing that somebody else may want."""
        user = await self._user(user_id)
        if user is not None:
            mas_id = _id_of(user)
            await self._api.post(f"users/{mas_id}/lock")
            await self._empty("user-emails", {"filter[user]": mas_id})
            await self._empty("upstream-oauth-links", {"filter[user]": mas_id})
            await self._set_password(mas_id, None)
        await self._store.set_user_locked_status(user_id, locked=True)

    async def _check_registration(self, localpart: str) -> None:
        """Ask here what Synapse has against a name: the service does not pass that on."""
        callbacks = self._hs.get_module_api_callbacks().spam_checker
        with self._registration_errors(localpart):
            opinion = await callbacks.check_registration_for_spam(None, localpart, [], auth_provider_id=None)
            if opinion == RegistrationBehaviour.DENY:
                raise SynapseError(HTTPStatus.TOO_MANY_REQUESTS, "A spam checker refuses it")
            await self._hs.get_registration_handler().check_username(localpart)

    async def _take_over(self, user_id: str, former: str, birthmark: str) -> None:
        """Make an account that was given up one that is being registered."""
        name = SetProfileField(field=ProfileFields.DISPLAYNAME, value=birthmark, former=former)
        await self.change_profile(user_id, name)
        await self._act(user_id, "unlock")
        await self._store.set_user_locked_status(user_id, locked=False)

    async def _birthmark_now(self, user_id: str) -> str | None:
        return await self._store.db_pool.simple_select_one_onecol(
            "profiles", {"full_user_id": user_id}, "displayname", allow_none=True, desc="synapse_scim_birthmark"
        )

    # -- Passwords ------------------------------------------------------------

    async def prepare_password(self, password: str) -> SetPassword:
        """Return a password. Synapse's hash is kept to know it again: clients repeat it with every change."""
        return SetPassword(await self._auth.hash(password), password)

    async def _set_password(self, mas_id: str, password: str | None) -> None:
        """Set a password; to remove one, set one that nobody knows."""
        body: dict[str, Any] = {"password": password}
        if password is None:
            body = {"password": secrets.token_urlsafe(32), "skip_password_check": True}
        try:
            await self._api.post(f"users/{mas_id}/set-password", body)
        except MasRefusal as refusal:
            if refusal.status == HTTPStatus.BAD_REQUEST:
                raise InvalidPassword("'password' is too weak for Matrix Authentication Service") from refusal
            if password is None:
                return
            raise AccountChangeRefused(
                "'password' cannot be set: Matrix Authentication Service keeps no passwords"
            ) from refusal

    # -- Changes --------------------------------------------------------------

    def elsewhere(self, changes: Iterable[DatabaseChange]) -> tuple[DatabaseChange, ...]:
        """Return what the service has to be told of."""
        return tuple(filter(self._is_elsewhere, changes))

    def _is_elsewhere(self, change: DatabaseChange) -> bool:
        match change:
            case AddThreepid(threepid) | RemoveThreepid(threepid):
                return threepid.medium == "email"
            case AddExternalId(external_id) | RemoveExternalId(external_id):
                return external_id.auth_provider in self._upstream_providers
            case _:
                return True

    async def change_elsewhere(self, user_id: str, change: DatabaseChange) -> None:
        """Make a change at the service."""
        mas_id = await self._mas_id(user_id)
        match change:
            case AddThreepid(threepid):
                await self._add_email(mas_id, threepid)
            case RemoveThreepid(threepid):
                await self._empty("user-emails", {"filter[user]": mas_id, "filter[email]": threepid.address})
            case AddExternalId(external_id):
                await self._add_link(mas_id, external_id)
            case RemoveExternalId(external_id):
                await self._empty("upstream-oauth-links", {"filter[user]": mas_id, **self._link_filter(external_id)})
            case SetLocked(locked):
                await self._api.post(f"users/{mas_id}/{'lock' if locked else 'unlock'}")
            case _:
                await self._set_password(mas_id, change.password)

    async def _add_email(self, mas_id: str, threepid: Threepid) -> None:
        try:
            await self._api.post("user-emails", {"user_id": mas_id, "email": threepid.address})
        except MasRefusal as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise AccountChangeRefused(
                    "Matrix Authentication Service refuses one of the e-mail addresses ('emails.value')"
                ) from refusal
            if not await self._api.all("user-emails", {"filter[user]": mas_id, "filter[email]": threepid.address}):
                raise ThreepidTaken("Another account has one of the e-mail addresses ('emails.value')") from None

    async def _add_link(self, mas_id: str, external_id: ExternalId) -> None:
        provider_id = self._upstream_providers[external_id.auth_provider]
        try:
            await self._api.post(
                "upstream-oauth-links",
                {"user_id": mas_id, "provider_id": provider_id, "subject": external_id.subject},
            )
        except MasRefusal as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise AccountChangeRefused(
                    "Matrix Authentication Service does not know the upstream provider ('mas.upstream_providers')"
                ) from refusal
            own = {"filter[user]": mas_id, **self._link_filter(external_id)}
            if not await self._api.all("upstream-oauth-links", own):
                raise ExternalIdTaken(
                    "The single sign-on identity of this 'externalId' opens another account"
                ) from None

    def _link_filter(self, external_id: ExternalId) -> dict[str, str]:
        provider_id = self._upstream_providers[external_id.auth_provider]
        return {"filter[provider]": provider_id, "filter[subject]": external_id.subject}

    async def finish(self, user_id: str, change: FinalChange) -> tuple[str, ...]:
        """Make a change that nothing undoes."""
        match change:
            case Elsewhere(step):
                try:
                    return await super().finish(user_id, change)
                except (ThreepidTaken, ExternalIdTaken) as error:
                    logger.warning("%s cannot have back what it lost: %s: %s", user_id, type(step).__name__, error)
            case EndSessions():
                await self._end_sessions(await self._mas_id(user_id))
                return await super().finish(user_id, change)
            case Deactivate(erase):
                await self._deactivate(user_id, erase=erase)
            case Reactivate():
                await self._act(user_id, "reactivate")
            case _:
                return await super().finish(user_id, change)
        return ()

    async def _end_sessions(self, mas_id: str) -> None:
        for kind, of_user, end in _SESSIONS:
            for session in await self._api.all(kind, {of_user: mas_id, "filter[status]": "active"}):
                try:
                    await self._api.post(f"{kind}/{_id_of(session)}/{end}")
                except MasRefusal as refusal:
                    # Somebody else has ended it.
                    logger.info("A session is not ended: %s", refusal)

    async def _deactivate(self, user_id: str, *, erase: bool) -> None:
        """Deactivate an account, and wait for the job that does the same in Synapse.

        The job takes everything away, and must not do so from somebody who has come back meanwhile.
        """
        user = await self._known(user_id)
        with as_expected():
            is_under_way = user["attributes"]["deactivated_at"] is not None
        if is_under_way:
            await self._until_deactivated(user_id)
        if not is_under_way or (erase and not await self._is_erased(user_id)):
            await self._api.post(f"users/{_id_of(user)}/deactivate", {"skip_erase": not erase})
            await self._until_deactivated(user_id)
        # Whoever comes back is not locked: nothing is left but the deactivation.
        await self._act(user_id, "unlock")
        await self._store.set_user_locked_status(user_id, locked=False)

    async def _is_erased(self, user_id: str) -> bool:
        return bool(await self._store.is_user_erased(user_id))  # type: ignore[call-arg, arg-type, misc]

    async def _until_deactivated(self, user_id: str) -> None:
        clock = self._hs.get_clock()
        deadline = clock.time() + self._job_s
        while not await self._store.db_pool.simple_select_one_onecol("users", {"name": user_id}, "deactivated"):
            if clock.time() > deadline:
                raise Unavailable(f"Matrix Authentication Service has not deactivated {user_id} yet")
            await clock.sleep(Duration(seconds=_JOB_POLL_S))

    # -- Users of the service -------------------------------------------------

    async def _user(self, user_id: str) -> Mapping[str, Any] | None:
        localpart = user_id[1 : -len(self.server_name) - 1]
        try:
            answer = await self._api.get(f"users/by-username/{segment(localpart)}")
        except MasRefusal as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        with as_expected():
            user: Mapping[str, Any] = answer["data"]
            return user

    async def _known(self, user_id: str) -> Mapping[str, Any]:
        user = await self._user(user_id)
        if user is None:
            raise _unknown(user_id)
        return user

    async def _mas_id(self, user_id: str) -> str:
        return _id_of(await self._known(user_id))

    async def _act(self, user_id: str, action: str) -> None:
        await self._api.post(f"users/{await self._mas_id(user_id)}/{action}")

    async def _empty(self, path: str, query: Mapping[str, str]) -> None:
        """Remove everything that a path lists."""
        for resource in await self._api.all(path, query):
            await self._api.delete(f"{path}/{_id_of(resource)}")


def _id_of(resource: Mapping[str, Any]) -> str:
    with as_expected():
        return str(resource["id"])


def _unknown(user_id: str) -> AccountChangeRefused:
    return AccountChangeRefused(f"Matrix Authentication Service, to which accounts belong, does not know {user_id}")
