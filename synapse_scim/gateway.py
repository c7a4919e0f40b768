"""What the module asks of the homeserver that holds the accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar

from synapse_scim.accounts import Belongings
from synapse_scim.database import Transaction
from synapse_scim.steps import DatabaseChange, FinalChange, ProfileChange

P = ParamSpec("P")
T = TypeVar("T")


class AccountGateway(Protocol):
    """What the module asks of the homeserver. Implemented by `synapse_scim.homeserver`.

    Every coroutine raises an `AccountError` where the homeserver refuses, and nothing of the homeserver's own.
    """

    server_name: str
    public_baseurl: str
    passwords_enabled: bool
    stores_photos: bool
    hidden_user_ids: frozenset[str]

    def now(self) -> datetime:
        """Return the current time, in UTC, to the millisecond."""

    def to_localpart(self, name: str) -> str:
        """Return the localpart that Synapse's single sign-on makes of a name, with `/` escaped as well."""

    def to_email(self, address: str) -> str:
        """Return the canonical form of an e-mail address, or raise `ValueError`."""

    async def register(self, localpart: str, displayname: str, password_hash: str) -> None:
        """Register an account; all of Synapse's checks and callbacks run.

        A callback of another module may fail after the account was made: an exception proves nothing.

        Raises:
            UserIdTaken: An account has the localpart.
            InvalidUserId: The localpart is not allowed.
            AccountChangeRefused: A spam checker or another rule refused.
        """

    async def hash_password(self, password: str) -> str:
        """Return the hash that Synapse keeps of a password.

        Raises:
            InvalidPassword: The homeserver's password policy refuses it.
        """

    async def has_password(self, user_id: str, password: str) -> bool:
        """Tell whether an account's password is this one."""

    def apply(self, txn: Transaction, user_id: str, change: DatabaseChange) -> None:
        """Make one change within a database transaction.

        Raises:
            ThreepidTaken: Another account owns the identifier.
            ExternalIdTaken: Another account has the subject.
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
