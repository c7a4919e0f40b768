"""What the module asks of the homeserver that holds the accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar

import attrs

from synapse_scim.accounts import Account, Belongings
from synapse_scim.database import Transaction
from synapse_scim.steps import DatabaseChange, FinalChange, ProfileChange, SetPassword

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Registration:
    """An account to be registered.

    Attributes:
        localpart: The localpart of its user ID.
        displayname: What it is called, if the birthmark is not its name for now.
        birthmark: What `AccountGateway.birthmark` tells of the account from its registration on, until it is shown. No
            other account bears it, so that it tells whose registration made the account.
        password_hash: The hash with which Synapse registers it.
        final: What takes the birthmark away, before the account is shown.
    """

    localpart: str
    displayname: str
    birthmark: str
    password_hash: str | None = attrs.field(default=None, repr=False)
    final: tuple[FinalChange, ...] = ()


class AccountGateway(Protocol):
    """What the module asks of the homeserver. Implemented by `synapse_scim.homeserver`.

    Every coroutine raises an `AccountError` where the homeserver refuses, and nothing of the homeserver's own.

    Attributes:
        server_name: The homeserver's name.
        public_baseurl: Where clients reach it.
        stores_photos: Whether this process has the media repository.
        hidden_user_ids: Accounts of the homeserver itself, such as that of its notices.
        registers_in_steps: Whether steps that may be refused follow a registration. One that is interrupted is then
            given up; otherwise it is completed.
    """

    server_name: str
    public_baseurl: str
    stores_photos: bool
    hidden_user_ids: frozenset[str]
    registers_in_steps: bool

    @property
    def passwords_enabled(self) -> bool:
        """Whether people may have passwords, as far as that is known now."""

    async def prepare(self) -> None:
        """Find out what cannot be known without asking. Called at the start, and every now and then; never fails."""

    async def present(self, account: Account) -> Account:
        """Return an account that is going to be written to as it is where it belongs.

        What Synapse has of it may be late, where that is not Synapse.

        Raises:
            AccountProtected: It must not be.
            AccountChangeRefused: Its owner does not know it.
            Unavailable: Its owner does not answer.
        """

    def now(self) -> datetime:
        """Return the current time, in UTC, to the millisecond."""

    def to_localpart(self, name: str) -> str:
        """Return the localpart that Synapse's single sign-on makes of a name, with `/` escaped as well."""

    def to_email(self, address: str) -> str:
        """Return the canonical form of an e-mail address, or raise `ValueError`."""

    def registration(self, localpart: str, displayname: str, password: SetPassword | None) -> Registration:
        """Return how an account is registered that will have a password, or none."""

    async def register(self, registration: Registration, former: str | None = None) -> None:
        """Register an account; all of Synapse's checks and callbacks run.

        A callback of another module may fail after the account was made: an exception proves nothing.

        Args:
            registration: The account.
            former: The birthmark of an account of that name that was registered and given up; it is taken over.

        Raises:
            UserIdTaken: An account has the localpart.
            InvalidUserId: The localpart is not allowed.
            AccountChangeRefused: A spam checker or another rule refused.
        """

    def birthmark(self, txn: Transaction, user_id: str) -> str | None:
        """Return what tells by whose registration an account was made."""

    async def give_up(self, user_id: str) -> None:
        """Leave nothing to an account whose registration is given up, and let nobody open it. Repeating does no harm.

        Raises:
            Unavailable: That cannot be done now.
        """

    async def prepare_password(self, password: str) -> SetPassword:
        """Return the step that gives an account a password.

        Raises:
            InvalidPassword: The homeserver's password policy refuses it.
        """

    async def has_password(self, user_id: str, password: str) -> bool:
        """Tell whether an account's password, as far as Synapse knows, is this one."""

    def apply(self, txn: Transaction, user_id: str, change: DatabaseChange) -> None:
        """Make one change within a database transaction.

        Raises:
            ThreepidTaken: Another account owns the identifier.
            ExternalIdTaken: Another account has the subject.
        """

    def elsewhere(self, changes: Iterable[DatabaseChange]) -> tuple[DatabaseChange, ...]:
        """Return those of some changes that are to be made outside of the database as well, in the same order."""

    async def change_elsewhere(self, user_id: str, change: DatabaseChange) -> None:
        """Make a change where the account belongs, which is not the database. Repeating it does no harm.

        Raises:
            ThreepidTaken: Another account owns the identifier.
            ExternalIdTaken: Another account has the subject.
            InvalidPassword: The password is refused.
            Unavailable: It cannot be made now; nobody knows whether it was.
        """

    def belongings(self, txn: Transaction, user_id: str) -> Belongings:
        """Return what an account has that off-boarding takes away."""

    async def store_photo(self, user_id: str, source: str) -> str:
        """Return the `mxc:` URI under which the image at a `https:` or `data:` URL is stored now.

        Raises:
            AccountChangeRefused: There is no image that the homeserver takes.
            Unavailable: It may be there later, or this process does not store media.
        """

    async def run_in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that takes its time, while other requests are served. It sees no context variables."""

    async def let_others_work(self) -> None:
        """Return when whatever else waits has had its turn."""

    def run_in_background(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function that nobody waits for."""

    async def change_profile(self, user_id: str, change: ProfileChange) -> None:
        """Change the profile. Repeating it does no harm.

        Raises:
            AccountChangeRefused: The homeserver refuses the value.
            Unavailable: The process that writes profiles does not answer.
        """

    async def check_deactivation(self, user_id: str) -> None:
        """Ask the other modules whether an account may be deactivated.

        Raises:
            AccountChangeRefused: One of them forbids it.
        """

    async def wait_until_parted(self, user_id: str) -> None:
        """Return when the homeserver has taken a deactivated account out of its rooms.

        Raises:
            Unavailable: That takes longer than a client would wait.
        """

    async def finish(self, user_id: str, change: FinalChange) -> tuple[str, ...]:
        """Make a change that nothing undoes. Repeating it does no harm.

        Returns:
            What could not be given back to somebody who returned: `rooms`, `pushers`.

        Raises:
            AccountChangeRefused: A module of the homeserver forbids it.
        """
