"""scim2-server's service, with what this module does differently: each override says why."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from scim2_models import (
    BulkOperation,
    BulkRequest,
    BulkResponse,
    Context,
    Error,
    ForbiddenException,
    InvalidFilterException,
    InvalidValueException,
    MutabilityException,
    NotFoundException,
    PatchOp,
    PatchOperation,
    PayloadTooLargeException,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    ScimProvider,
    SearchRequest,
)
from scim2_server.bulk import BulkPlan
from scim2_server.conditions import Conditions
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target, match
from scim2_server.service import ModelT, ScimService, scim_exception_of
from scim2_server.storage import SearchPage
from scim2_server.utils import parametrize

from synapse_scim.config import Config, Scope
from synapse_scim.mapping.identifiers import quoted_id
from synapse_scim.mapping.rendering import Rendered
from synapse_scim.mapping.schema import MATRIX_SCHEMA
from synapse_scim.protocol import dialects, payload
from synapse_scim.protocol.expressions import MAX_NESTING, is_nested_too_deep
from synapse_scim.protocol.presentation import Presenter, cut, shown
from synapse_scim.protocol.provider import DEFAULT_PAGE_SIZE
from synapse_scim.store.errors import LaterException
from synapse_scim.store.rendering import StoredUsers
from synapse_scim.subject import Subject
from synapse_scim.text import text_problem

logger = logging.getLogger(__name__)

DISCOVERY = frozenset(
    {
        Operation.service_provider_config,
        Operation.resource_types,
        Operation.resource_type,
        Operation.schemas,
        Operation.schema,
    }
)
"""What anybody may ask, since it says nothing about anybody (RFC 7644 §4)."""

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"

_READ_ONLY = "The server's configuration allows no changes ('read_only')"

_match = lru_cache(maxsize=256)(match)
"""The library's routing, which a request asks several times where it leads."""

_GENERICS: tuple[type[Any], ...] = (BulkRequest, BulkResponse, PatchOp, ResponseParameters, SearchRequest)
"""The messages that the library reads and writes, of which each model has types of its own."""

_READS = frozenset({Operation.query, Operation.search, Operation.search_with_body})


class Service(ScimService):
    """The SCIM protocol of this module."""

    def __init__(self, provider: ScimProvider, config: Config, *, model: type[Resource[Any]], secret: bytes) -> None:
        """Serve what the provider describes.

        Args:
            provider: What is announced.
            config: The limits, and whether anything may be written.
            model: The model of a User.
            secret: What cursors are sealed with, the same in all processes.
        """
        super().__init__(provider, secret=secret)
        self._limits = config.limits
        self._presenter = Presenter(model)
        # Pydantic forgets a type that nobody holds; to make one anew takes thirty times as long as to read a request.
        self._held = tuple(parametrize(generic, model) for generic in _GENERICS)
        self._everything = ResponseParameters[model].model_validate({})  # type: ignore[valid-type]
        self._read_only = config.read_only

    # -- Requests -------------------------------------------------------------

    @staticmethod
    def match(request: ScimRequest) -> Target:
        """Take an id apart as URLs do: the path is split, then each segment decoded; a user ID may hold a `/`.

        The request's path is percent-encoded (`resources.request`), so the library's splitting does no harm.
        """
        target = _match(request.method.upper(), request.path)
        if target.resource_id is None:
            return target
        return Target(target.operation, target.endpoint, unquote(target.resource_id), target.me)

    def max_body_size(self, request: ScimRequest) -> int | None:
        """Bound every body, not only those of /Bulk."""
        limit = super().max_body_size(request)
        return self._limits.body_size if limit is None else limit

    def ensure_body_size(self, request: ScimRequest) -> None:
        """Refuse a body beyond the limit, as `ensure_bulk_payload_size` does for /Bulk.

        Raises:
            PayloadTooLargeException: The body is too large.
        """
        if len(request.body) > self._limits.body_size and self.match(request).operation is not Operation.bulk:
            raise PayloadTooLargeException(
                detail=f"The request body exceeds the limit of {self._limits.body_size} bytes ('limits.body_size')"
            )

    def me_target(self, request: ScimRequest) -> tuple[ResourceType, str]:
        """`/Me` is the account whose access token makes the request; SCIM's own credentials are nobody."""
        subject = cast("Subject", request.subject)
        if subject.user_id is None:
            raise NotFoundException(detail="This credential belongs to no user, so there is no /Me")
        return self.get_resource_type("User"), subject.user_id

    def authorize(self, request: ScimRequest, target: Target, resource_type: ResourceType) -> None:
        """Ask for the scope that an operation needs."""
        subject = cast("Subject", request.subject)
        needed = Scope.users_read if target.operation in _READS else Scope.users_write
        if needed not in subject.scopes:
            raise ForbiddenException(detail=f"This credential lacks the scope {needed.value}")
        if needed is Scope.users_write and self._read_only:
            raise ForbiddenException(detail=_READ_ONLY)

    # -- Bodies ---------------------------------------------------------------

    def read_body(self, model: type[ModelT], body: bytes, content_type: str | None, scim_ctx: Context) -> ModelT:
        """Read JSON more strictly than pydantic, and SCIM with the dialects of identity providers."""
        self.ensure_json(content_type)
        value = payload.parse(body)
        unsound = payload.withdraw_unsound_data(value) if scim_ctx is Context.BULK_REQUEST else {}
        # The operations are checked, each on its own, and the limit of bodies bounds how many there are.
        payload.check(value, most=len(body) if scim_ctx is Context.BULK_REQUEST else payload.MAX_MEMBERS)
        if scim_ctx in {Context.RESOURCE_CREATION_REQUEST, Context.RESOURCE_REPLACEMENT_REQUEST}:
            value = dialects.resource(value)
        elif scim_ctx is Context.RESOURCE_PATCH_REQUEST:
            value = dialects.patch(value)
            if is_empty_patch(value):
                # Microsoft's validator sends no operations (scimmy issue 59): a change of nothing.
                return model.model_construct(operations=[])
        else:
            value = dialects.bulk(value)
        try:
            message = model.model_validate(value, scim_ctx=scim_ctx)
        except ValidationError as exception:
            raise scim_exception_of(exception) from exception
        for position, error in unsound.items():
            operation = cast("Any", message).operations[position]
            operation.status, operation.response = error.status, error.to_error()
        return message

    def decode_body(self, body: bytes, content_type: str | None) -> Any:
        """Read the JSON of a search request more strictly than pydantic."""
        self.ensure_json(content_type)
        value = payload.parse(body)
        payload.check(value)
        return value

    def read_search(self, resource_types: list[ResourceType], payload: Any) -> tuple[SearchRequest[Any], Any]:
        """Bound the filter before it is parsed, and read the dialect of old releases of authentik."""
        if isinstance(payload, dict):
            if "count" not in map(str.casefold, payload):
                # Where the library gives it afterwards, pydantic checks everything once more.
                payload = {**payload, "count": min(DEFAULT_PAGE_SIZE, self._limits.page_size)}
            for name, value in payload.items():
                if name.casefold() != "filter" or not isinstance(value, str):
                    continue
                if len(value) > self._limits.filter_length:
                    raise InvalidFilterException(
                        detail=f"The filter is longer than {self._limits.filter_length} characters"
                        " ('limits.filter_length')"
                    )
                if is_nested_too_deep(value):
                    raise InvalidFilterException(detail=f"The filter has brackets more than {MAX_NESTING} levels deep")
                payload = {**payload, name: dialects.authentik_filter(value)}
        return super().read_search(resource_types, payload)

    def read_response_parameters(
        self, resource_type: ResourceType, query: Mapping[str, str]
    ) -> ResponseParameters[Any]:
        """Validate nothing where nothing is said, as in most requests: the library takes its time for that, too."""
        if query.keys().isdisjoint({"attributes", "excludedAttributes"}):
            return self._everything
        return super().read_response_parameters(resource_type, query)

    # -- Locations ------------------------------------------------------------

    def resource_location(self, base_url: str, resource_type: ResourceType, resource_id: str) -> str:
        """Quote the id, so that the URL can be requested as it stands."""
        return super().resource_location(base_url, resource_type, quoted_id(resource_id))

    def reference_location(self, base_url: str, reference: str) -> str:
        """References within users come quoted from the mapping; the library would quote them again."""
        return f"{base_url.rstrip('/')}/{reference}"

    # -- Changes --------------------------------------------------------------

    def apply_patch(
        self, current: Resource[Any], patch_op: PatchOp[Any], conditions: Conditions
    ) -> Resource[Any] | None:
        """Say what is wrong with a value in SCIM's words, and look for what a filter in a path put into the User.

        Raises:
            MutabilityException: The read-only extension is to be removed as a whole (RFC 7644 §3.5.2.2): the library
                looks at the mutability of single attributes.
        """
        for operation in patch_op.operations or ():
            if operation.op is PatchOperation.Op.remove and str(operation.path).lower() == MATRIX_SCHEMA.lower():
                raise MutabilityException(detail=f"'{MATRIX_SCHEMA}' is read-only")
        try:
            patched = super().apply_patch(current, patch_op, conditions)
        except InvalidValueException as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            raise InvalidValueException(detail=_detail(error.__cause__)) from error
        if patched is not None and not all(map(_is_plain, patch_op.operations or ())):
            payload.check(patched.model_dump())
        return patched

    # -- Answers --------------------------------------------------------------

    def search_response(
        self,
        base_url: str,
        resource_types: list[ResourceType],
        page: SearchPage,
        search_request: SearchRequest[Any],
    ) -> ScimResponse:
        """Write the found Users from their JSON: the library's models take ten times as long (`presentation`)."""
        users = cast("StoredUsers", page.resources).rendered
        mask = self._presenter.mask(search_request)
        body: dict[str, Any] = {"schemas": [LIST_RESPONSE]}
        if page.total is not None:
            body["totalResults"] = page.total
        if search_request.cursor is None:
            body["startIndex"] = search_request.start_index
        body["itemsPerPage"] = len(users)
        if search_request.cursor is not None and search_request.count != 0:
            for name, position in (("nextCursor", page.next), ("previousCursor", page.previous)):
                if position is not None:
                    body[name] = self._seal(resource_types, search_request, position)
        body["Resources"] = shown(users, base_url, mask)
        return ScimResponse(HTTPStatus.OK, body)

    def user_response(
        self,
        base_url: str,
        user: Rendered,
        response_parameters: ResponseParameters[Any],
        conditions: Conditions,
    ) -> ScimResponse:
        """Return the response to the read of a User as JSON: what `query_response` does with a model."""
        if not conditions.check(user.version, "GET"):
            return ScimResponse(HTTPStatus.NOT_MODIFIED, None, {"ETag": user.version})
        return self._whole_response(base_url, user, response_parameters, HTTPStatus.OK)

    def created_response(
        self, base_url: str, user: Rendered, response_parameters: ResponseParameters[Any]
    ) -> ScimResponse:
        """Return the response to a creation (RFC 7644 §3.3), with the attributes that were asked for (§3.9)."""
        response = self._whole_response(base_url, user, response_parameters, HTTPStatus.CREATED)
        response.headers["Location"] = response.headers["Content-Location"]
        return response

    def changed_response(
        self, base_url: str, user: Rendered, response_parameters: ResponseParameters[Any]
    ) -> ScimResponse:
        """Return the response to a PUT or PATCH.

        That of a PATCH holds the User too: clients read it, and RFC 7644 §3.5.2 leaves the choice to the server.
        """
        return self._whole_response(base_url, user, response_parameters, HTTPStatus.OK)

    def _whole_response(
        self, base_url: str, user: Rendered, response_parameters: ResponseParameters[Any], status: HTTPStatus
    ) -> ScimResponse:
        located = json.loads(user.located(base_url))
        return ScimResponse(
            status,
            cut(located, self._presenter.mask(response_parameters)),
            {"Content-Location": located["meta"]["location"], "ETag": user.version},
        )

    def error_response(self, exception: Exception) -> ScimResponse:
        """Say when to come back, where the exception knows it (RFC 9110 §10.2.3)."""
        response = super().error_response(exception)
        if isinstance(exception, LaterException):
            response.headers["Retry-After"] = str(exception.retry_after_s)
        return response

    def www_authenticate(self, exception: SCIMException) -> str | None:
        """A 401 carries a challenge even where no scheme is announced (RFC 9110 §11.6.1)."""
        return super().www_authenticate(exception) or 'Bearer realm="SCIM"'

    # -- Bulk -----------------------------------------------------------------

    def read_bulk(self, body: bytes, content_type: str | None) -> BulkPlan:
        """Read the paths of operations as URLs: the library neither splits nor decodes them."""
        if self._read_only:
            # Bulk is not announced then, and the library would say no more than that.
            raise ForbiddenException(detail=_READ_ONLY)
        plan = super().read_bulk(body, content_type)
        for operation in plan.operations:
            if operation.path is not None:
                operation.path = _decoded(operation.path)
        return plan

    def route_bulk_operation(self, operation: BulkOperation[Resource[Any]]) -> ResourceType | None:
        """Route a path whose id may hold a `/`."""
        if operation.path is None:
            return None
        endpoint, slash, resource_id = operation.path.strip("/").partition("/")
        routed = operation.model_copy(
            update={"path": f"/{endpoint}/{quoted_id(resource_id)}" if slash else f"/{endpoint}"}
        )
        return super().route_bulk_operation(routed)

    def bulk_failure(self, outcome: dict[str, Any], exception: Exception) -> dict[str, Any]:
        """Leave a trace of what should not happen: the answer shows a 500 without any."""
        if not isinstance(exception, SCIMException):
            logger.error("A bulk operation failed unexpectedly", exc_info=exception)
        return super().bulk_failure(outcome, exception)


def _is_plain(operation: PatchOperation[Any]) -> bool:
    """Tell whether an operation puts no more into a User than one value that was checked in the body.

    There, a photo may stand at any path, which is longer than other values may be.
    """
    is_one = isinstance(operation.value, str | bool | int | float | None)
    return "[" not in str(operation.path or "[") and is_one and len(str(operation.value)) <= payload.MAX_STRING_LENGTH


def _detail(exception: ValidationError) -> str:
    """Say what is wrong with a value in a PATCH, by SCIM's name of the attribute."""
    error = exception.errors()[0]
    names = tuple(to_camel(part) if isinstance(part, str) else part for part in error["loc"])
    return str(Error.from_validation_error({**error, "loc": names}).detail)


def is_empty_patch(value: Any) -> bool:
    """Tell whether the body of a PATCH has a list of operations that is empty."""
    return isinstance(value, dict) and any(
        name.lower() == "operations" and operations == [] for name, operations in value.items()
    )


def _decoded(path: str) -> str:
    """Return the path of a bulk operation with its segments decoded, as far as they can be.

    The id is the rest of the path behind the endpoint; a segment that is no UTF-8 stays as it is, and finds nothing.
    """
    endpoint, slash, resource_id = path.strip("/").partition("/")
    try:
        decoded = unquote(resource_id, errors="strict")
    except UnicodeDecodeError:
        decoded = resource_id
    return f"/{endpoint}{slash}{decoded}" if text_problem(decoded) is None else f"/{endpoint}{slash}{resource_id}"
