"""scim2-server's handler, with the decisions that must precede the library's comparison of what is and should be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from scim2_models import BulkOperation, PatchOp, PatchOperation, Resource, ResourceType, SCIMException
from scim2_server.bulk import BulkPlan, BulkStep
from scim2_server.conditions import Conditions
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation

from synapse_scim.accounts import Account
from synapse_scim.mapping.schema import USER_SCHEMA
from synapse_scim.protocol import dialects
from synapse_scim.protocol.attempt import Attempt, of_bulk
from synapse_scim.protocol.service import Service
from synapse_scim.store.errors import scim_errors
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject


class Handler(AsyncScimHandler):
    """Serves the operations on Users.

    The library reads a resource, applies the request to it, and stores the result only if something changed. Here the
    account is locked from the reading to the storing, so that of two writers none is lost; what SCIM must not write to
    is refused even if nothing would change; and an account that SCIM did not make is adopted even then.
    """

    storage: UserStorage
    service: Service

    def __init__(
        self,
        service: Service,
        storage: UserStorage,
        *,
        admit: Callable[[Subject, int], Awaitable[None]],
        ensure_open: Callable[[], None],
    ) -> None:
        """Serve the requests of the storage's caller.

        Args:
            service: The protocol.
            storage: The Users.
            admit: Counts the operations of a bulk request, or refuses them all.
            ensure_open: Raises an `AccountError` when the process is about to end.
        """
        super().__init__(service, storage)
        self._admit = admit
        self._ensure_open = ensure_open
        self.attempts: list[Attempt] = []
        self._gateway = storage.gateway

    async def create(self, request: ScimRequest) -> ScimResponse:
        """Create a User; the library does not look whether the client wants it whole."""
        with self.service.provider:
            target = self.service.route(request, Operation.create)
            resource_type = self.service.resource_type_at(str(target.endpoint))
            self.service.authorize(request, target, resource_type)
            parameters = self.service.read_response_parameters(resource_type, request.query)
            resource = self.service.read_creation(resource_type, request.body, request.header("Content-Type"))
            user = await self.storage.created(resource)
            return self.service.created_response(request.base_url, user, parameters)

    async def query(self, request: ScimRequest) -> ScimResponse:
        """Read a User. The library makes a model of it, copies and dumps it, which takes longer than all the rest."""
        with self.service.provider:
            target = self.service.route(request, Operation.query)
            resource_type = self.service.resource_type_at(str(target.endpoint))
            self.service.authorize(request, target, resource_type)
            parameters = self.service.read_response_parameters(resource_type, request.query)
            user = await self.storage.rendered(str(target.resource_id))
            conditions = self.service.read_conditions(request)
            response = self.service.user_response(request.base_url, user, parameters, conditions)
            return self.service.me_response(request, target, response)

    async def service_provider_config(self, request: ScimRequest) -> ScimResponse:
        """Announce what the service can do."""
        return _announcement(request, await super().service_provider_config(request))

    async def schemas(self, request: ScimRequest) -> ScimResponse:
        """Announce all schemas."""
        return _announcement(request, await super().schemas(request))

    async def schema(self, request: ScimRequest) -> ScimResponse:
        """Announce a schema."""
        return _announcement(request, await super().schema(request))

    async def replace(self, request: ScimRequest) -> ScimResponse:
        """Replace a User. The library reads it beforehand, and makes models of what is stored as JSON."""
        with self.service.provider:
            target = self.service.route(request, Operation.replace)
            resource_type = self.service.resource_type_at(str(target.endpoint))
            self.service.authorize(request, target, resource_type)
            parameters = self.service.read_response_parameters(resource_type, request.query)
            async with self.storage.writing(str(target.resource_id)) as account:
                replacement = self.service.read_replacement(resource_type, request.body, request.header("Content-Type"))
                await self._replace(resource_type, account, replacement, self.service.read_conditions(request))
                user = self.storage.written()
            response = self.service.changed_response(request.base_url, user, parameters)
            return self.service.me_response(request, target, response)

    async def patch(self, request: ScimRequest) -> ScimResponse:
        """Change a User. The library makes models of what is stored as JSON."""
        with self.service.provider:
            target = self.service.route(request, Operation.patch)
            resource_type = self.service.resource_type_at(str(target.endpoint))
            self.service.authorize(request, target, resource_type)
            parameters = self.service.read_response_parameters(resource_type, request.query)
            patch_op = self.service.read_patch(resource_type, request.body, request.header("Content-Type"))
            async with self.storage.writing(str(target.resource_id)) as account:
                await self._patch(resource_type, account, patch_op, self.service.read_conditions(request))
                user = self.storage.written()
            response = self.service.changed_response(request.base_url, user, parameters)
            return self.service.me_response(request, target, response)

    async def replace_resource(
        self,
        resource_type: ResourceType,
        current: Resource[Any],
        replacement: Resource[Any],
        conditions: Conditions,
    ) -> Resource[Any]:
        """Replace a User."""
        async with self.storage.writing(str(current.id)) as account:
            await self._replace(resource_type, account, replacement, conditions)
            return await self.storage.get(resource_type, account.user_id)

    async def patch_resource(
        self, resource_type: ResourceType, resource_id: str, patch_op: PatchOp[Any], conditions: Conditions
    ) -> Resource[Any]:
        """Change a User."""
        async with self.storage.writing(resource_id) as account:
            await self._patch(resource_type, account, patch_op, conditions)
            return await self.storage.get(resource_type, account.user_id)

    async def _replace(
        self, resource_type: ResourceType, account: Account, replacement: Resource[Any], conditions: Conditions
    ) -> None:
        """Replace the User of an account that is being written.

        What a PUT does not name goes (RFC 7644 §3.5.1), but for `active` and `externalId`, since clients that know
        nothing of them must not change them, and for the identifiers and the avatar that somebody other than SCIM set.
        """
        current = await self.storage.get(resource_type, account.user_id)
        self.storage.remember(
            states_active=getattr(replacement, "active", None) is not None,
            stated=None if account.record else replacement.model_copy(deep=True),
        )
        for field in ("active", "external_id"):
            if getattr(replacement, field) is None and (field == "active" or field not in replacement.model_fields_set):
                setattr(replacement, field, getattr(current, field))
        self.storage.keep_what_others_set(account, replacement)
        await self._store(current, self.service.apply_replacement(current, replacement, conditions))

    async def _patch(
        self, resource_type: ResourceType, account: Account, patch_op: PatchOp[Any], conditions: Conditions
    ) -> None:
        """Change the User of an account that is being written."""
        named = _named(patch_op)
        model = self.service.get_model(resource_type)
        has_passwords = "password" in model.model_fields
        self.storage.remember(
            states_active=any("active" in names for _, names in named),
            removes_password=has_passwords
            and any(op is PatchOperation.Op.remove and "password" in names for op, names in named),
            stated=None if account.record else _stated(model, account.localpart, patch_op),
            operation="patch",
        )
        current = await self.storage.get(resource_type, account.user_id)
        await self._store(current, self.service.apply_patch(current, patch_op, conditions))

    async def _store(self, current: Resource[Any], changed: Resource[Any] | None) -> None:
        """Store a changed User; what is kept of it may have to change even if the User does not."""
        if changed is not None or not self.storage.is_settled(current):
            await self.storage.write(changed or current)

    async def delete_resource(self, resource_type: ResourceType, resource_id: str, conditions: Conditions) -> None:
        """Delete a User."""
        async with self.storage.writing(resource_id):
            await super().delete_resource(resource_type, resource_id, conditions)

    async def bulk(self, request: ScimRequest) -> ScimResponse:
        """Run a bulk request, and let others work meanwhile: the library reads, and writes, a thousand in one go."""

        def read() -> BulkPlan:
            with self.service.provider:
                return self.service.read_bulk(request.body, request.header("Content-Type"))

        def write(plan: BulkPlan) -> ScimResponse:
            with self.service.provider:
                return self.service.bulk_response(plan)

        with self.service.provider:
            self.service.route(request, Operation.bulk)
            plan = await self._gateway.run_in_thread(read)
            await self._admit(cast("Subject", request.subject), len(plan.operations))
            for step in plan:
                result, resource = await self.run_bulk_step(request, plan, step)
                plan.record(step, result, resource)
                await self._gateway.let_others_work()
            return await self._gateway.run_in_thread(write, plan)

    async def run_bulk_step(
        self, request: ScimRequest, plan: BulkPlan, step: BulkStep
    ) -> tuple[dict[str, Any], Resource[Any] | None]:
        """Run an operation of a bulk request, and keep what came of it."""
        result, resource = await super().run_bulk_step(request, plan, step)
        self.attempts.append(of_bulk(plan.operation(step), result))
        return result, resource

    async def apply_bulk_operation(
        self, resource_type: ResourceType, operation: BulkOperation[Resource[Any]]
    ) -> Resource[Any] | None:
        """Begin an operation only if the process is not about to end."""
        with scim_errors():
            self._ensure_open()
        return await super().apply_bulk_operation(resource_type, operation)


def _announcement(request: ScimRequest, response: ScimResponse) -> ScimResponse:
    """Return the answer of a discovery endpoint in words that the client can read."""
    if dialects.is_canaille(request.header("User-Agent")):
        response.body = dialects.canaille_announcement(response.body)
    return response


def _stated(model: type[Resource[Any]], user_name: str, patch_op: PatchOp[Any]) -> Resource[Any]:
    """Return a User of nothing but what a PATCH adds or replaces, as far as that can be told."""
    user = model.model_validate({"userName": user_name})
    additions = [operation for operation in patch_op.operations or () if operation.op is not PatchOperation.Op.remove]
    with suppress(SCIMException):
        patch_op.model_copy(update={"operations": additions}).patch(user)
    return user


def _named(patch_op: PatchOp[Any]) -> list[tuple[PatchOperation.Op | None, set[str]]]:
    """Return what each operation of a PATCH does, and the attributes that it names, in lower case.

    An attribute of the core schema may be named with its URN (RFC 7644 §3.10); another schema's keeps it.
    """
    return [
        (operation.op, {name.lower().removeprefix(f"{USER_SCHEMA.lower()}:") for name in _names(operation)})
        for operation in patch_op.operations or ()
    ]


def _names(operation: PatchOperation[Any]) -> list[str]:
    if operation.path:
        return [str(operation.path)]
    return list(operation.value) if isinstance(operation.value, dict) else []
