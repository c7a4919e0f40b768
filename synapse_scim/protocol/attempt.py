"""What a client asked for, and what it was told."""

from __future__ import annotations

from typing import Any

import attrs
from scim2_models import BulkOperation, Error, Resource
from scim2_server.routing import Operation
from scim2_server.service import BULK_OPERATIONS

from synapse_scim.audit import Caller, Event

WRITES = frozenset({Operation.create, Operation.replace, Operation.patch, Operation.delete, Operation.bulk})


@attrs.frozen(kw_only=True)
class Attempt:
    """A request, or an operation of a bulk request.

    Attributes:
        operation: What was asked for.
        user_id: The account that was named, if one was; nothing says that there is such an account.
        status: The answer's status.
        scim_type: The answer's `scimType`.
    """

    operation: Operation
    user_id: str | None
    status: int
    scim_type: str | None = None

    def refusals(self, caller: Caller) -> tuple[Event, ...]:
        """Return what the audit keeps of it: nothing of a write that succeeds, which is recorded with the write."""
        if self.status < 400 or self.operation not in WRITES:  # noqa: PLR2004 - errors begin there
            return ()
        event = caller.event(self.operation.value, self.user_id)
        return (attrs.evolve(event, outcome="refused", status=self.status, scim_type=self.scim_type),)


def of_bulk(operation: BulkOperation[Resource[Any]], result: dict[str, Any]) -> Attempt:
    """Return an operation of a bulk request, with its result."""
    error = result.get("response")
    method = operation.method
    return Attempt(
        operation=Operation.bulk if method is None else BULK_OPERATIONS[method],
        user_id=operation.resource_id,
        status=int(result["status"]),
        scim_type=error.scim_type if isinstance(error, Error) else None,
    )
