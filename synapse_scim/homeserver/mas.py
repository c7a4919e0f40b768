"""Accounts that belong to Matrix Authentication Service.

They are made and changed through its admin API, and it tells Synapse of them, in part later, by jobs of its own. What
it tells Synapse of e-mail addresses and locks, the module writes into Synapse's tables at once, so that whoever reads
sees it; the jobs find it done.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from synapse.api.constants import ProfileFields
from synapse.api.errors import SynapseError
from synapse.spam_checker_api import RegistrationBehaviour
from synapse.util.duration import Duration

from synapse_scim.accounts import (
    Account,
    InvalidUserId,
    Unavailable,
    UserIdTaken,
    UserNameTaken,
)
from synapse_scim.config import Mas, Photos
from synapse_scim.database import Transaction
from synapse_scim.gateway import Registration
from synapse_scim.homeserver.gateway import SynapseAccounts
from synapse_scim.homeserver.mas_api import MasApi, MasRefusal, as_expected
from synapse_scim.homeserver.mas_users import MasUsers
from synapse_scim.steps import (
    DatabaseChange,
    Deactivate,
    EndSessions,
    FinalChange,
    Reactivate,
    SetPassword,
    SetProfileField,
)

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_JOB_S = 20.0
_JOB_POLL_S = 0.1


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
        self._users = MasUsers(api=self._api, upstream_providers=settings.upstream_providers, to_email=self.to_email)
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
        """Return an account as the service has it; refuse those who may administer the service."""
        return await self._users.present(account)

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
        with self._outages.translated():
            await self._register(registration, former)

    async def _register(self, registration: Registration, former: str | None) -> None:
        localpart = registration.localpart
        user_id = f"@{localpart}:{self.server_name}"
        user = {"username": localpart, "displayname": registration.displayname}
        is_here = False
        try:
            await self._check_registration(localpart)
        except UserIdTaken:
            is_here = await self._is_given_up(user_id, former)
            if not is_here:
                raise
        try:
            # One that was given up may be Synapse's already, and not the service's.
            await self._api.post("users", {**user, "skip_homeserver_check": True} if is_here else user)
        except MasRefusal as refusal:
            if refusal.status == HTTPStatus.BAD_REQUEST:
                raise InvalidUserId(f"'userName' gives the user ID {user_id}, which cannot be") from refusal
            if refusal.status != HTTPStatus.CONFLICT:
                raise
            # It may have been registered after all, a moment ago.
            if former is None or not await self._is_given_up(user_id, former):
                raise UserNameTaken(f"Matrix Authentication Service does not give away the name {localpart}") from None
            await self._take_over(user_id, former, registration.birthmark)

    async def give_up(self, user_id: str) -> None:
        """Let nobody open an account, and leave it nothing that somebody else may want."""
        await self._users.bar(user_id)
        with self._outages.translated():
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
        """Make an account that was given up one that is being registered, without what it may have got since."""
        await self._users.bar(user_id)
        name = SetProfileField(field=ProfileFields.DISPLAYNAME, value=birthmark, former=former)
        await self.change_profile(user_id, name)
        await self._users.act(user_id, "unlock")
        await self._store.set_user_locked_status(user_id, locked=False)

    async def _is_given_up(self, user_id: str, birthmark: str | None) -> bool:
        """Tell whether an account is there that bears a birthmark."""
        found = await self._store.db_pool.simple_select_one_onecol(
            "profiles", {"full_user_id": user_id}, "displayname", allow_none=True, desc="synapse_scim_birthmark"
        )
        return found is not None and found == birthmark

    # -- Passwords ------------------------------------------------------------

    async def prepare_password(self, password: str) -> SetPassword:
        """Return a password. Synapse's hash is kept to know it again: clients repeat it with every change."""
        return SetPassword(await self._auth.hash(password), password)

    # -- Changes --------------------------------------------------------------

    def elsewhere(self, changes: Iterable[DatabaseChange]) -> tuple[DatabaseChange, ...]:
        """Return what the service has to be told of."""
        return tuple(filter(self._users.hears_of, changes))

    async def change_elsewhere(self, user_id: str, change: DatabaseChange) -> None:
        """Make a change at the service."""
        await self._users.change(user_id, change)

    async def finish(self, user_id: str, change: FinalChange) -> tuple[str, ...]:
        """Make a change that nothing undoes."""
        match change:
            case EndSessions():
                await self._users.end_sessions(user_id)
                return await super().finish(user_id, change)
            case Deactivate(erase):
                with self._outages.translated():
                    await self._identifiers.forget_all(user_id)
                    await self._deactivate(user_id, erase=erase)
            case Reactivate():
                await self._users.act(user_id, "reactivate")
            case _:
                return await super().finish(user_id, change)
        return ()

    async def _deactivate(self, user_id: str, *, erase: bool) -> None:
        """Deactivate an account, and wait for the job that does the same in Synapse.

        The job takes everything away, and must not do so from somebody who has come back meanwhile.
        """
        user = await self._users.known(user_id)
        if user.is_deactivated:
            await self._until_gone(user_id, erased=False)
        if not user.is_deactivated or (erase and not await self._is_gone(user_id, erased=True)):
            await self._api.post(f"users/{user.mas_id}/deactivate", {"skip_erase": not erase})
            await self._until_gone(user_id, erased=erase)
        # Whoever comes back is not locked: nothing is left but the deactivation.
        await self._users.act(user_id, "unlock")
        await self._store.set_user_locked_status(user_id, locked=False)

    async def _is_gone(self, user_id: str, *, erased: bool) -> bool:
        """Tell whether an account is deactivated in Synapse, and erased if that is asked for as well."""
        select = self._store.db_pool.simple_select_one_onecol
        if erased and await select("erased_users", {"user_id": user_id}, "user_id", allow_none=True) is None:
            return False
        return bool(await select("users", {"name": user_id}, "deactivated"))

    async def _until_gone(self, user_id: str, *, erased: bool) -> None:
        clock = self._hs.get_clock()
        deadline = clock.time() + self._job_s
        while not await self._is_gone(user_id, erased=erased):
            if clock.time() > deadline:
                raise Unavailable(f"Matrix Authentication Service has not deactivated {user_id} yet")
            await clock.sleep(Duration(seconds=_JOB_POLL_S))
