"""SCIM Users stored as Matrix accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, cast

import attrs
from scim2_models import PreconditionFailedException, Resource, ResourceType, ResponseParameters, SearchRequest
from scim2_server.storage import AsyncScimStorage, SearchPage

from synapse_scim import metrics
from synapse_scim.accounts import (
    Account,
    AccountNotFound,
    AccountProtected,
    Belongings,
    Threepid,
    Unavailable,
    UserIdTaken,
)
from synapse_scim.audit import Caller
from synapse_scim.database import Transaction
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.rendering import Rendered
from synapse_scim.mapping.user import is_made_of_photo
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.steps import SetPassword
from synapse_scim.store import journal
from synapse_scim.store.audit import of_change
from synapse_scim.store.creation import RACES_LOST, Origin, identifiers_of_others
from synapse_scim.store.errors import scim_errors
from synapse_scim.store.rendering import StoredUsers
from synapse_scim.store.rights import Rights
from synapse_scim.store.shared import Store


class UserStorage(AsyncScimStorage):
    """The Users that one caller sees, stored as Matrix accounts.

    One of these serves one request. Its methods raise the errors of RFC 7644 §3.12, as scim2-server's contract wants.
    """

    supports_cursors = True

    def __init__(self, store: Store, rights: Rights, request_id: str | None = None) -> None:
        """Bind the storage to the caller of a request."""
        subject = rights.subject
        self.caller = Caller(client=subject.name, credential=subject.credential, request_id=request_id)
        self.gateway = store.gateway
        self._store = store
        self._rights = rights
        self._held: Account | None = None
        self._stated: Resource[Any] | None = None
        self._forget()

    @asynccontextmanager
    async def writing(self, resource_id: str) -> AsyncIterator[Account]:
        """Be the only one, in any process, who writes to an account.

        Within, `get` and `update` work on the account as it is now. What a crash left of an earlier write is finished
        or undone first.

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
            async with self._writing(resource_id) as account:
                yield account

    @asynccontextmanager
    async def _writing(self, user_id: str, *, deleted: bool = False, seen: bool = True) -> AsyncIterator[Account]:
        async with self._store.database.lock(user_id):
            found = await self._recovered(user_id, deleted=deleted)
            # Whom a caller may adopt it need not see.
            account = self._rights.visible(found) if seen or found is None else found
            self._rights.ensure_writable(account)
            self._held = account = await self._store.gateway.present(account)
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

    async def rendered(self, resource_id: str) -> Rendered:
        """Return a User as JSON.

        Raises:
            NotFoundException: There is none.
        """

        def read(txn: Transaction) -> Rendered | None:
            return self._store.search.renderer.one(txn, resource_id, self._rights.visible_sql())

        with scim_errors():
            self._check_id(resource_id)
            found = await self._store.database.run("synapse_scim_read", read)
            if found is None:
                raise AccountNotFound("There is no such user")
        return found

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
            cast("list[Resource[Any]]", StoredUsers(page.users, self._store.model)),
            next=page.next,
            previous=page.previous,
        )

    async def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Make an account of a new User, adopt the one that the person has, or bring back the one that they had."""
        (user,) = StoredUsers([await self.created(resource)], self._store.model)
        return user

    async def created(self, resource: Resource[Any]) -> Rendered:
        """Create a User and return it as JSON. The library's way takes longer, since it makes a model of it again."""
        wanted = WantedUser.from_resource(resource)
        with scim_errors():
            for _ in range(RACES_LOST):
                made = await self._store.creation.create(wanted, domain=self._rights.subject.domain, caller=self.caller)
                if made.origin is Origin.new:
                    return made.user or self._store.users.rendered(await self._account(made.user_id))
                # Somebody else may have brought the account back, or adopted it, since it was found.
                with suppress(AccountNotFound):
                    deleted = made.origin is Origin.deleted
                    async with self._writing(made.user_id, deleted=deleted, seen=False) as account:
                        if made.origin is not Origin.existing or account.record is None:
                            return self._store.users.rendered(await self._take(account, resource, wanted))
            raise Unavailable("The account is being changed by others again and again")

    async def _take(self, account: Account, resource: Resource[Any], wanted: WantedUser) -> Account:
        """Make an account that is there already the one of a new User."""
        try:
            self._rights.ensure_adoptable(account, wanted)
        except AccountProtected as error:
            raise UserIdTaken(str(error)) from error
        merged = self.merged(account, resource)
        if account.deleted and wanted.active is None:
            # Whoever creates somebody wants them to be able to log in.
            cast("Any", merged).active = True
        self.remember(states_active=account.deleted or wanted.active is not None)
        return await self._update(account, merged)

    async def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Make an account look like a User; an account that SCIM did not make is adopted by that."""
        async with self.writing(str(resource.id)) as account:
            self._check_version(account, expected_version)
            await self.write(resource)
            return self._to_resource(self._written)

    async def write(self, resource: Resource[Any]) -> None:
        """Make the account that is being written look like a User."""
        with scim_errors():
            await self._update(self._written, resource)

    @property
    def _written(self) -> Account:
        return cast("Account", self._held)

    def written(self) -> Rendered:
        """Return the User of the account that is being written, as JSON."""
        return self._store.users.rendered(self._written)

    async def _update(self, account: Account, resource: Resource[Any]) -> Account:
        wanted = WantedUser.from_resource(
            resource, states_active=self._states_active, removes_password=self._removes_password
        )
        stated = WantedUser.from_resource(self._stated) if self._stated is not None else wanted
        self._rights.ensure_adoptable(account, stated)
        plan = await self._plan(account, wanted)
        if plan is not None:
            events = of_change(self.caller, self._operation, account, plan, self._store.users)
            await self._store.writer.update(account, plan, *events)
            if plan.leaves:
                metrics.OFFBOARDINGS.labels(self.gateway.server_name, "disabled").inc()
            if plan.fetch is not None:
                self._store.photos.fetch_soon()
            account = plan.outcome(account) or plan.seen(self._rights.visible(await self._read(account.user_id)))
            self._held = account
        self._forget()
        return account

    async def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """Delete a User: it is gone for SCIM, its names are free, and the account is deactivated."""
        async with self.writing(resource_id) as account:
            self._check_version(account, expected_version)
            with scim_errors():
                self._rights.ensure_adoptable(account, None)
                await self._store.leavers.delete(account, self._rights.subject.domain, self.caller)

    def remember(
        self,
        *,
        states_active: bool,
        removes_password: bool = False,
        stated: Resource[Any] | None = None,
        operation: str = "replace",
    ) -> None:
        """Remember, until the account that is being written is released, what a request says that a User cannot.

        Args:
            states_active: Whether it speaks of `active`. That counts even where the User stays as it is: who is locked
                by an administrator is inactive already, and whoever wants them inactive wants something that matters
                when the administrator's lock goes.
            removes_password: Whether it takes the password away, which no User shows.
            stated: A User of nothing but what the request itself says of the person: that alone tells who they are, and
                decides about adoption. Without it, the whole User that is written does.
            operation: What the audit calls it.
        """
        self._operation = operation
        self._states_active = states_active
        self._removes_password = removes_password
        self._stated = stated

    def _forget(self) -> None:
        self._operation = "replace"
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
        self.keep_what_others_set(account, merged)
        return merged

    def keep_what_others_set(self, account: Account, wanted: Resource[Any]) -> None:
        """Add to a wanted User the identifiers and the avatar that somebody other than SCIM set, if it lacks them."""
        users = self._store.users
        named = users.threepids.threepids(WantedUser.from_resource(wanted).attributes)
        mine = account.record.threepids if account.record else frozenset()
        current, changed = cast("Any", self._to_resource(account)), cast("Any", wanted)
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
                setattr(changed, field, [*(getattr(changed, field) or ()), *kept])
        if not changed.photos and not is_made_of_photo(account):
            changed.photos = current.photos

    # -- Accounts -------------------------------------------------------------

    async def _plan(self, account: Account, wanted: WantedUser) -> Plan | None:
        """Return the write that a wanted User asks for, or `None` if it asks for nothing."""
        store = self._store
        wanted = await store.photos.stored(account.user_id, wanted, account)
        password = SetPassword(None) if wanted.removes_password else None
        if wanted.password is not None and not await store.gateway.has_password(account.user_id, wanted.password):
            password = await store.gateway.prepare_password(wanted.password)
        claims, belongings, lost = await self._claims(account, wanted)
        plan = store.planner.update(
            account,
            wanted,
            domain=self._rights.subject.domain,
            unavailable=claims,
            password=password,
            now=store.gateway.now(),
            belongings=belongings,
        )
        if plan.returns or account.deleted:
            plan = attrs.evolve(plan, lost=lost)
        if plan.returns and account.deactivated:
            await store.gateway.wait_until_parted(account.user_id)
        if plan.leaves and store.planner.inactive.deactivate_after == timedelta(0):
            await store.gateway.check_deactivation(account.user_id)
            plan = attrs.evolve(
                plan, final_changes=(*await store.leavers.succession.steps(account), *plan.final_changes)
            )
        return plan if plan.changes(account.record) else None

    async def _claims(
        self, account: Account, wanted: WantedUser
    ) -> tuple[frozenset[Threepid], Belongings, tuple[str, ...]]:
        """Return the identifiers that the account has to do without, and what it gets back if the person returns.

        The attributes of which it does not get everything back follow.
        """
        optional = self._store.users.threepids.shareable(wanted.attributes) - account.threepids
        if account.away and account.record is not None:
            # Whoever took an address of somebody who was away keeps it.
            optional |= frozenset(self._store.users.threepids.threepids(account.record.attributes))
        left = account.record is not None and not account.record.active
        if not optional and not left:
            return frozenset(), Belongings(), ()

        def read(txn: Transaction) -> tuple[frozenset[Threepid], Belongings, tuple[str, ...]]:
            others = identifiers_of_others(txn, account.user_id, optional)
            return others, *(self._store.leavers.belongings(txn, account) if left else (Belongings(), ()))

        return await self._store.database.run("synapse_scim_claims", read)

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

    async def _recovered(self, user_id: str, *, deleted: bool = False) -> Account | None:
        """Read an account; if an earlier write was left behind at it, clean up first."""

        def read(txn: Transaction) -> tuple[Account | None, bool]:
            account = self._store.reader.read(txn, [user_id], deleted=deleted).get(user_id)
            return account, journal.read(txn, user_id) is not None

        account, left_behind = await self._store.database.run("synapse_scim_read", read)
        if left_behind:
            await self._store.writer.recover(user_id)
            account, _ = await self._store.database.run("synapse_scim_read", read)
        return account

    def _check_id(self, resource_id: str) -> None:
        """Refuse what can be no user ID of this server, before the database is asked."""
        if not (resource_id.startswith("@") and resource_id.endswith(f":{self._store.gateway.server_name}")):
            raise AccountNotFound("There is no such user")

    def _check_version(self, account: Account, expected_version: str | None) -> None:
        if expected_version is None:
            return
        if self._store.users.rendered(account).version != expected_version:
            raise PreconditionFailedException

    def _to_resource(self, account: Account) -> Resource[Any]:
        return self._store.model.model_validate(self._store.users.to_payload(account))
