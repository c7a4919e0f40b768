"""What the storages of all requests share."""

from __future__ import annotations

from typing import Any

import attrs
from scim2_models import Resource

from synapse_scim.database import Database
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changes import Planner
from synapse_scim.mapping.user import UserMapping
from synapse_scim.store.accounts import AccountReader
from synapse_scim.store.creation import Creation
from synapse_scim.store.leavers import Leavers
from synapse_scim.store.photos import Photos
from synapse_scim.store.search import Search
from synapse_scim.store.writes import Writer


@attrs.frozen(kw_only=True)
class Store:
    """What there is one of on a homeserver, whoever asks."""

    database: Database
    gateway: AccountGateway
    model: type[Resource[Any]]
    users: UserMapping
    reader: AccountReader
    planner: Planner
    writer: Writer
    creation: Creation
    leavers: Leavers
    photos: Photos
    search: Search
