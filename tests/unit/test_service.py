"""The protocol, without a homeserver."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

from synapse_scim.config import Config
from synapse_scim.protocol.provider import composed_user, provider
from synapse_scim.protocol.service import Service
from tests.web.clients import bulk_of, patch_of


def test_types_of_messages_are_made_once() -> None:
    """Pydantic lets go of types that nobody holds, and each request would wait until they are made anew."""
    description = provider(Config(), passwords=True)
    service = Service(description, Config(), model=composed_user(description), secret=b"secret")
    (user_type,) = description.resource_types

    def read() -> list[Any]:
        """Return a message of each kind."""
        patch = json.dumps(patch_of({"op": "add", "path": "title", "value": "Dr"})).encode()
        bulk = json.dumps(bulk_of({"method": "DELETE", "path": "/Users/@ann:example.org"})).encode()
        with description:
            return [
                service.read_search([user_type], {"filter": 'userName eq "ann"'})[0],
                service.read_patch(user_type, patch, None),
                service.read_bulk(bulk, None).operations[0],
                service.read_response_parameters(user_type, {"attributes": "title"}),
            ]

    kinds = [weakref.ref(type(message)) for message in read()]
    gc.collect()

    assert [kind() for kind in kinds] == [type(message) for message in read()]
