"""Synapse's accounts, as the module uses them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from synapse.api.errors import Codes, SynapseError
from synapse.logging.context import defer_to_thread
from synapse.storage.database import LoggingTransaction
from synapse.types import create_requester
from synapse.util.duration import Duration
from synapse.util.threepids import validate_email

from synapse_scim.accounts import (
    Account,
    AccountChangeRefused,
    Belongings,
    ExternalId,
    ExternalIdTaken,
    InvalidPassword,
    InvalidUserId,
    Threepid,
    ThreepidTaken,
    Unavailable,
    UserIdTaken,
)
from synapse_scim.config import Photos
from synapse_scim.database import Transaction
from synapse_scim.gateway import Registration
from synapse_scim.homeserver import settings
from synapse_scim.homeserver.clock import DatabaseClock
from synapse_scim.homeserver.departures import Departures
from synapse_scim.homeserver.identifiers import Identifiers
from synapse_scim.homeserver.media import MediaRepository, PhotoRefused, PhotoUnavailable
from synapse_scim.homeserver.newborns import Newborns
from synapse_scim.homeserver.outages import Outages
from synapse_scim.homeserver.passwords import digest, nobodys_hash
from synapse_scim.homeserver.profiles import Profiles
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    AnnounceThreepids,
    DatabaseChange,
    Deactivate,
    Elsewhere,
    EndSessions,
    FinalChange,
    ProfileChange,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
    SetProfileField,
)

if TYPE_CHECKING:
    from synapse.server import HomeServer

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@contextmanager
def account_errors(outages: Outages) -> Iterator[None]:
    """Raise an `AccountError` for an error of Synapse's, or of its database, that leaves the block."""
    try:
        with outages.translated():
            yield
    except SynapseError as error:
        if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable("A process of the homeserver does not answer") from error
        raise AccountChangeRefused(f"The homeserver refuses this: {error.msg}") from error


class SynapseAccounts:
    """Registers and changes accounts through Synapse's own handlers. Implements `AccountGateway`."""

    def __init__(self, hs: HomeServer, *, max_photo_size: int = Photos().max_size, shared: bool | None = None) -> None:
        """Use a homeserver.

        Args:
            hs: The homeserver.
            max_photo_size: How many bytes a photo may have.
            shared: Whether other processes look accounts up; by default, whether this homeserver has others at all.
        """
        self._hs = hs
        self._store = hs.get_datastores().main
        self._auth = hs.get_auth_handler()
        self._clock = DatabaseClock.of(hs)
        self._outages = Outages(hs)
        self._departures = Departures(hs)
        self._identifiers = Identifiers(hs)
        self._newborns = Newborns(hs)
        self._shared = settings.has_other_processes(hs) if shared is None else shared
        self._profiles = Profiles(hs, shared=self._shared)
        self._media = MediaRepository(hs, max_size=max_photo_size)
        self.stores_photos = self._media.is_here
        self.server_name = hs.hostname
        self.public_baseurl: str = hs.config.server.public_baseurl
        self.registers_in_steps = False
        notices = hs.config.servernotices.server_notices_mxid
        self.hidden_user_ids = frozenset({notices} if notices else ())

    @property
    def passwords_enabled(self) -> bool:
        """Whether Synapse's configuration has local passwords."""
        return self._auth.can_change_password()

    def now(self) -> datetime:
        """Return the current time, the same in all processes."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self._clock.now_ms())

    def to_localpart(self, name: str) -> str:
        """Escape a name as single sign-on does, and `/` as well: clients put user IDs into URLs as they are."""
        return settings.to_localpart(name)

    def to_email(self, address: str) -> str:
        """Return the canonical form of an e-mail address."""
        return validate_email(address)

    async def prepare(self) -> None:
        """Do nothing: all is known from the configuration."""

    async def present(self, account: Account) -> Account:
        """Return an account as Synapse has it, to which it belongs."""
        return account

    def registration(self, localpart: str, displayname: str, password: SetPassword | None) -> Registration:
        """Return how an account is registered: the hash of its password, or one that is nobody's, tells it is ours."""
        password_hash = (password and password.password_hash) or nobodys_hash()
        return Registration(
            localpart=localpart,
            displayname=displayname,
            birthmark=digest(password_hash),
            password_hash=password_hash,
        )

    def birthmark(self, txn: Transaction, user_id: str) -> str | None:
        """Return the digest of the password hash."""
        txn.execute("SELECT password_hash FROM users WHERE name = ?", (user_id,))
        row = txn.fetchone()
        return digest(row[0]) if row and row[0] is not None else None

    async def give_up(self, user_id: str) -> None:
        """Do nothing: registrations are completed."""

    async def register(self, registration: Registration, former: str | None = None) -> None:
        """Register an account."""
        user_id = f"@{registration.localpart}:{self.server_name}"
        with self._registration_errors(registration.localpart), self._newborns.expected(user_id):
            await self._hs.get_registration_handler().register_user(
                localpart=registration.localpart,
                password_hash=registration.password_hash,
                default_display_name=registration.displayname,
                by_admin=True,
                approved=True,
            )

    @contextmanager
    def _registration_errors(self, localpart: str) -> Iterator[None]:
        try:
            with self._outages.translated():
                yield
        except SynapseError as error:
            if error.code == HTTPStatus.TOO_MANY_REQUESTS:
                # Synapse disguises it so; no limit of requests applies here.
                raise AccountChangeRefused(
                    f"A spam checker of the homeserver refuses the user ID @{localpart}:{self.server_name}"
                ) from error
            match error.errcode:
                case Codes.USER_IN_USE:
                    raise UserIdTaken(f"The user ID @{localpart}:{self.server_name} is taken") from error
                case Codes.INVALID_USERNAME | Codes.EXCLUSIVE:
                    raise InvalidUserId(
                        f"'userName' gives the user ID @{localpart}:{self.server_name}, which cannot be: {error.msg}"
                    ) from error
            with account_errors(self._outages):
                raise

    async def prepare_password(self, password: str) -> SetPassword:
        """Hash a password, in a thread."""
        try:
            self._hs.get_password_policy_handler().validate_password(password)
        except SynapseError as error:
            raise InvalidPassword(f"'password' is refused by the server's policy: {error.msg}") from error
        return SetPassword(await self._auth.hash(password))

    async def has_password(self, user_id: str, password: str) -> bool:
        """Compare a password with the stored one, in a thread."""
        with self._outages.translated():
            stored = await self._store.db_pool.simple_select_one_onecol(
                "users", {"name": user_id}, "password_hash", allow_none=True, desc="synapse_scim_password"
            )
        return stored is not None and await self._auth.validate_hash(password, stored)

    # -- Changes within a transaction -----------------------------------------

    def apply(self, txn: Transaction, user_id: str, change: DatabaseChange) -> None:
        """Make a change as Synapse's storage does, caches of all processes included."""
        match change:
            case AddThreepid(threepid):
                self._add_threepid(txn, user_id, threepid)
            case RemoveThreepid(threepid):
                txn.execute(
                    "DELETE FROM user_threepids WHERE user_id = ? AND medium = ? AND address = ?",
                    (user_id, threepid.medium, threepid.address),
                )
            case AddExternalId(external_id):
                self._add_external_id(txn, user_id, external_id)
            case RemoveExternalId(external_id):
                txn.execute(
                    "DELETE FROM user_external_ids WHERE user_id = ? AND auth_provider = ? AND external_id = ?",
                    (user_id, external_id.auth_provider, external_id.subject),
                )
                self._forget_external_id(txn, external_id)
            case SetLocked(locked):
                self._store.set_user_locked_status_txn(cast("LoggingTransaction", txn), user_id, locked)
            case _:
                # No cache of Synapse's holds it.
                txn.execute("UPDATE users SET password_hash = ? WHERE name = ?", (change.password_hash, user_id))

    def _add_threepid(self, txn: Transaction, user_id: str, threepid: Threepid) -> None:
        # Synapse's own method takes an identifier away from whoever has it.
        now_ms = self._clock.now_ms()
        txn.execute(
            "INSERT INTO user_threepids (user_id, medium, address, validated_at, added_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (medium, address) DO NOTHING",
            (user_id, threepid.medium, threepid.address, now_ms, now_ms),
        )
        if txn.rowcount:
            return
        txn.execute(
            "SELECT user_id FROM user_threepids WHERE medium = ? AND address = ?", (threepid.medium, threepid.address)
        )
        if txn.fetchone() != (user_id,):
            raise ThreepidTaken(
                "Another account has one of the e-mail addresses ('emails.value')"
                if threepid.medium == "email"
                else "Another account has one of the phone numbers ('phoneNumbers.value')"
            )

    def _add_external_id(self, txn: Transaction, user_id: str, external_id: ExternalId) -> None:
        # Synapse's own method refuses a second subject of one provider.
        txn.execute(
            "INSERT INTO user_external_ids (auth_provider, external_id, user_id) VALUES (?, ?, ?)"
            " ON CONFLICT (auth_provider, external_id) DO NOTHING",
            (external_id.auth_provider, external_id.subject, user_id),
        )
        if txn.rowcount:
            self._forget_external_id(txn, external_id)
            return
        txn.execute(
            "SELECT user_id FROM user_external_ids WHERE auth_provider = ? AND external_id = ?",
            (external_id.auth_provider, external_id.subject),
        )
        if txn.fetchone() != (user_id,):
            raise ExternalIdTaken("The single sign-on identity of this 'externalId' opens another account")

    def _forget_external_id(self, txn: Transaction, external_id: ExternalId) -> None:
        """Make every process look the subject up anew: a stale answer would let it open the wrong account."""
        stale, key = self._store.get_user_by_external_id, (external_id.auth_provider, external_id.subject)
        if self._shared:
            self._store._invalidate_cache_and_stream(cast("LoggingTransaction", txn), stale, key)
        else:
            # On PostgreSQL, Synapse would write down for nobody what is forgotten, and look for more of it six times.
            cast("LoggingTransaction", txn).call_after(stale.invalidate, key)

    # -- Changes of their own -------------------------------------------------

    def elsewhere(self, _changes: Iterable[DatabaseChange]) -> tuple[DatabaseChange, ...]:
        """Return nothing: the database is where the accounts are."""
        return ()

    async def change_elsewhere(self, user_id: str, change: DatabaseChange) -> None:
        """Do nothing."""

    def belongings(self, txn: Transaction, user_id: str) -> Belongings:
        """Return what an account has that off-boarding takes away."""
        return self._departures.belongings(txn, user_id)

    async def wait_until_parted(self, user_id: str) -> None:
        """Wait for Synapse to finish with the rooms of a deactivated account."""
        with self._outages.translated():
            await self._departures.wait_until_parted(user_id)

    async def store_photo(self, user_id: str, source: str) -> str:
        """Store an image in the media repository."""
        try:
            with self._outages.translated():
                return await self._media.store(user_id, source)
        except PhotoRefused as error:
            raise AccountChangeRefused(str(error)) from error
        except PhotoUnavailable as error:
            raise Unavailable(str(error)) from error

    async def run_in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a thread."""
        return await defer_to_thread(self._hs.get_reactor(), function, *args, **kwargs)

    async def let_others_work(self) -> None:
        """Return when the reactor has gone round."""
        await self._hs.get_clock().sleep(Duration(seconds=0))

    def run_in_background(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function that nobody waits for."""
        _ = self._hs.run_as_background_process(name, function)

    async def change_profile(self, user_id: str, change: ProfileChange) -> None:
        """Change the profile."""
        with account_errors(self._outages):
            await self._profiles.change(user_id, change)

    async def check_deactivation(self, user_id: str) -> None:
        """Ask the other modules."""
        rules = self._hs.get_module_api_callbacks().third_party_event_rules
        if not await rules.check_can_deactivate_user(user_id, True):  # noqa: FBT003 - Synapse's signature
            raise AccountChangeRefused(f"A module of the homeserver forbids the deactivation of {user_id}")

    async def finish(self, user_id: str, change: FinalChange) -> tuple[str, ...]:
        """Make a change that nothing undoes."""
        with account_errors(self._outages):
            match change:
                case SetProfileField():
                    await self._change_profile_if_allowed(user_id, change)
                case EndSessions():
                    await self._hs.get_device_handler().delete_all_devices_for_user(user_id)
                    await self._auth.delete_access_tokens_for_user(user_id)
                case Deactivate(erase):
                    await self._identifiers.forget_all(user_id)
                    await self._hs.get_deactivate_account_handler().deactivate_account(
                        user_id,
                        erase_data=erase,
                        requester=create_requester(user_id, authenticated_entity=self.server_name),
                        by_admin=True,
                    )
                    await self._store.set_user_locked_status(user_id, locked=False)
                case AnnounceThreepids():
                    await self._identifiers.announce(user_id, change)
                case Elsewhere(step):
                    await self.change_elsewhere(user_id, step)
                case _:
                    return await self._departures.finish(user_id, change)
        return ()

    async def _change_profile_if_allowed(self, user_id: str, change: SetProfileField) -> None:
        """Change the profile of an account that is being made; a refusal is no reason not to make it."""
        try:
            await self.change_profile(user_id, change)
        except AccountChangeRefused as error:
            logger.warning("The profile field %s of %s is not set: %s", change.field, user_id, error)
