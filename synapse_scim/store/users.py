"""SCIM Users stored as Matrix accounts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from scim2_models import PreconditionFailedException, Resource, ResourceType, ResponseParameters, SearchRequest
from scim2_server.storage import AsyncScimStorage, SearchPage

from synapse_scim.accounts import (
    Account,
    AccountGateway,
    AccountNotFound,
    AccountProtected,
    SetPasswordHash,
    Threepid,
    UserIdTaken,
)
from synapse_scim.database import Database, Transaction
from synapse_scim.mapping.changes import Plan, Planner, WantedUser
from synapse_scim.mapping.user import UserMapping
from synapse_scim.store import journal
from synapse_scim.store.accounts import AccountReader
from synapse_scim.store.creation import Creation, phone_numbers_of_others
from synapse_scim.store.errors import scim_errors
from synapse_scim.store.rights import Rights
from synapse_scim.store.search import Search
from synapse_scim.store.writes import Writer

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Store:
    """What the storages of all requests share."""

    database: Database
    gateway: AccountGateway
    model: type[Resource[Any]]
    users: UserMapping
    reader: AccountReader
    planner: Planner
    writer: Writer
    creation: Creation
    search: Search


class UserStorage(AsyncScimStorage):
    """The Users that one caller sees, stored as Matrix accounts.

    One of these serves one request. Its methods raise the errors of RFC 7644 §3.12, as scim2-server's contract wants.
    """

    supports_cursors = True

    def __init__(self, store: Store, rights: Rights) -> None:
        """Bind the storage to the caller of a request."""
        self._store = store
        self._rights = rights
        self._held: Account | None = None
        self._states_active = self._removes_password = False
        self._stated: Resource[Any] | None = None

    @asynccontextmanager
    async def writing(self, resource_id: str, *, seen: bool = True) -> AsyncIterator[Account]:
        """Be the only one, in any process, who writes to an account.

        Within, `get` and `update` work on the account as it is now. What a crash left of an earlier write is finished
        or undone first.

        Args:
            resource_id: The account's.
            seen: Whether it must be one that the caller sees; whom a caller may adopt it need not see.

        Yields:
            The account, which SCIM and this caller may write to.

        Raises:
            NotFoundException: There is no such User.
            ForbiddenException: SCIM must not write to it, not even what would change nothing.
        """
        if self._held is not None and self._held.user_id == resource_id:
            yield self._held
            return
        with scim_errors():
            self._check_id(resource_id)
            async with self._store.database.lock(resource_id):
                found = await self._recovered(resource_id)
                account = self._rights.visible(found) if seen or found is None else found
                self._rights.ensure_writable(account)
                self._held = account
                try:
                    yield account
                finally:
                    self._held = None
                    self._forget()

    async def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        """Return a User."""
        return self._to_resource(await self._account(resource_id))

    async def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        """Return a page of the Users that match."""
        with scim_errors():
            page = await self._store.search.run(search_request, self._rights, position)
        return SearchPage(
            page.total,
            [self._to_resource(account) for account in page.accounts],
            next=page.next,
            previous=page.previous,
        )

    async def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Make an account of a new User, or adopt the one that the person has."""
        wanted = WantedUser.from_resource(resource)
        with scim_errors():
            user_id, exists = await self._store.creation.create(wanted, domain=self._rights.subject.domain)
            if not exists:
                return self._to_resource(await self._account(user_id))
            async with self.writing(user_id, seen=False) as account:
                try:
                    self._rights.ensure_adoptable(account, wanted)
                except AccountProtected as error:
                    raise UserIdTaken(str(error)) from error
                self.remember(states_active=getattr(resource, "active", None) is not None)
                return await self.update(resource_type, self.merged(account, resource))

    async def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Make an account look like a User; an account that SCIM did not make is adopted by that."""
        async with self.writing(str(resource.id)) as account:
            wanted = WantedUser.from_resource(
                resource, states_active=self._states_active, removes_password=self._removes_password
            )
            self._check_version(account, expected_version)
            with scim_errors():
                stated = WantedUser.from_resource(self._stated) if self._stated is not None else wanted
                self._rights.ensure_adoptable(account, stated)
                plan = await self._plan(account, wanted)
                if plan is not None:
                    await self._store.writer.update(account, plan)
                    self._held = self._rights.visible(await self._read(account.user_id))
                self._forget()
            return self._to_resource(self._held or account)

    async def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """Delete a User: it is gone for SCIM, its names are free, and the account is deactivated."""
        async with self.writing(resource_id) as account:
            self._check_version(account, expected_version)
            with scim_errors():
                self._rights.ensure_adoptable(account, None)
                await self._store.writer.delete(account, erase=False)

    def remember(
        self, *, states_active: bool, removes_password: bool = False, stated: Resource[Any] | None = None
    ) -> None:
        """Remember, until the account that is being written is released, what a request says that a User cannot.

        Args:
            states_active: Whether it speaks of `active`. That counts even where the User stays as it is: who is locked
                by an administrator is inactive already, and whoever wants them inactive wants something that matters
                when the administrator's lock goes.
            removes_password: Whether it takes the password away, which no User shows.
            stated: A User of nothing but what the request itself says of the person: that alone tells who they are, and
                decides about adoption. Without it, the whole User that is written does.
        """
        self._states_active = states_active
        self._removes_password = removes_password
        self._stated = stated

    def _forget(self) -> None:
        self._states_active = self._removes_password = False
        self._stated = None

    def is_settled(self, resource: Resource[Any]) -> bool:
        """Tell whether what is kept of the account that is being written says what the request does.

        It does not while SCIM has not adopted the account, or knows of another wish for `active`, or of a password
        to remove.
        """
        if self._held is None or self._held.user_id != resource.id or self._removes_password:
            return False
        record = self._held.record
        wish: bool | None = getattr(resource, "active", None)
        return record is not None and (not self._states_active or wish in {None, record.active})

    def merged(self, account: Account, request: Resource[Any]) -> Resource[Any]:
        """Return the User of an account with what a request says of it; what the request leaves out stays.

        Args:
            account: An account that SCIM has not managed so far.
            request: A User as a client sent it.
        """
        merged = self._to_resource(account)
        for field in request.model_fields_set - {"schemas", "id", "meta"}:
            value = getattr(request, field)
            if value is not None:
                setattr(merged, field, value)
        self.keep_foreign_threepids(account, merged)
        return merged

    def keep_foreign_threepids(self, account: Account, wanted: Resource[Any]) -> None:
        """Add to a wanted User the identifiers that somebody other than SCIM bound to the account, if it lacks them."""
        users = self._store.users
        named = users.threepids.threepids(WantedUser.from_resource(wanted).attributes)
        mine = account.record.threepids if account.record else frozenset()
        current = self._to_resource(account)
        for field, attribute in (("emails", "emails"), ("phone_numbers", "phoneNumbers")):
            kept = [
                entry
                for entry in getattr(current, field) or ()
                if (threepid := users.threepids.threepid(attribute, entry.model_dump())) is not None
                and threepid in account.threepids
                and threepid not in mine
                and threepid not in named
            ]
            if kept:
                setattr(wanted, field, [*(getattr(wanted, field) or ()), *kept])

    # -- Accounts -------------------------------------------------------------

    async def _plan(self, account: Account, wanted: WantedUser) -> Plan | None:
        """Return the write that a wanted User asks for, or `None` if it asks for nothing."""
        store = self._store
        password = SetPasswordHash(None) if wanted.removes_password else None
        if wanted.password is not None and not await store.gateway.has_password(account.user_id, wanted.password):
            password = SetPasswordHash(await store.gateway.hash_password(wanted.password))
        named = store.users.threepids.threepids(wanted.attributes)
        unavailable: frozenset[Threepid] = frozenset()
        if any(threepid.medium == "msisdn" for threepid in named):
            unavailable = await store.database.run(
                "synapse_scim_phones", phone_numbers_of_others, account.user_id, named
            )
        plan = store.planner.update(
            account,
            wanted,
            domain=self._rights.subject.domain,
            unavailable=unavailable,
            password=password,
            now=store.gateway.now(),
        )
        return plan if plan.changes(account.record) else None

    async def _account(self, resource_id: str) -> Account:
        if self._held is not None and self._held.user_id == resource_id:
            return self._held
        with scim_errors():
            self._check_id(resource_id)
            return self._rights.visible(await self._read(resource_id))

    async def _read(self, user_id: str) -> Account | None:
        def read(txn: Transaction) -> Account | None:
            return self._store.reader.read(txn, [user_id]).get(user_id)

        return await self._store.database.run("synapse_scim_read", read)

    async def _recovered(self, user_id: str) -> Account | None:
        """Read an account; if an earlier write was left behind at it, clean up first."""

        def read(txn: Transaction) -> tuple[Account | None, bool]:
            return self._store.reader.read(txn, [user_id]).get(user_id), journal.read(txn, user_id) is not None

        account, left_behind = await self._store.database.run("synapse_scim_read", read)
        if not left_behind:
            return account
        await self._store.writer.recover(user_id)
        return await self._read(user_id)

    def _check_id(self, resource_id: str) -> None:
        """Refuse what can be no user ID of this server, before the database is asked."""
        if not (resource_id.startswith("@") and resource_id.endswith(f":{self._store.gateway.server_name}")):
            raise AccountNotFound("There is no such user")

    def _check_version(self, account: Account, expected_version: str | None) -> None:
        if expected_version is None:
            return
        if self._store.users.to_payload(account)["meta"]["version"] != expected_version:
            raise PreconditionFailedException

    def _to_resource(self, account: Account) -> Resource[Any]:
        return self._store.model.model_validate(self._store.users.to_payload(account))
