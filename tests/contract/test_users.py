"""scim2-server's contract for storages holds for Users that are Matrix accounts, on both engines and of both owners.

The suite speaks of Groups too, which this module does not serve: those tests are replaced by what holds instead.
"""

from __future__ import annotations

from typing import Any

import pytest
from scim2_models import NotFoundException, Resource, ResourceType, ScimProvider
from scim2_server.storage import AsyncScimStorage
from scim2_server.testing import AsyncScimStorageContract, BlockingStorage

from synapse_scim.application import Application, build
from synapse_scim.module import ScimModule
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.conftest import Owner
from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner

pytestmark = [pytest.mark.blocking, pytest.mark.usefixtures("engine", "owner"), pytest.mark.mas_on_sqlite]


class TestUsers(AsyncScimStorageContract):
    """The contract, for Users."""

    @pytest.fixture
    def application(self, homeserver: LocalHomeserver) -> Application:
        """SCIM on a homeserver where nobody has an account."""
        return build(ScimModule.parse_config(homeserver.delegation), homeserver.hs)

    @pytest.fixture
    def provider(self, application: Application) -> ScimProvider:
        """What this module announces."""
        return application.provider

    @pytest.fixture
    def async_storage(self, application: Application, runner: BlockingRunner) -> AsyncScimStorage:
        """The Users, as a server admin sees them."""
        runner.run(application.maintenance.start())
        subject = Subject(name="@admin:example.org", adopt="any")
        return UserStorage(application.store, Rights(subject=subject, protected=(), users=application.store.users))

    @pytest.fixture
    def storage(self, async_storage: AsyncScimStorage, runner: BlockingRunner) -> BlockingStorage:
        """The storage as the suite calls it: the reactor runs until a call returns."""
        return BlockingStorage(async_storage, runner)  # type: ignore[arg-type]

    def test_create_fills_the_identifier_and_the_meta(  # type: ignore[override]
        self, storage: BlockingStorage, user_type: ResourceType, user_model: type[Resource[Any]], owner: Owner
    ) -> None:
        """It has its dates at once; a user of MAS gets the display name when everything else is done."""
        if owner == "synapse":
            super().test_create_fills_the_identifier_and_the_meta(storage, user_type, user_model)
            return
        (user,) = self.create_users(storage, user_type, user_model, "bjensen")
        assert user.id
        assert user.meta.resource_type == user_type.name
        assert user.meta.created is not None
        assert user.meta.last_modified >= user.meta.created
        assert user.meta.version
        assert user.meta.location is None

    # There are no Groups.

    def test_get_a_resource_of_another_type(  # type: ignore[override]
        self, storage: BlockingStorage, user_type: ResourceType, provider: ScimProvider
    ) -> None:
        """A Group is not found, since there is no such type."""
        assert [resource_type.name for resource_type in provider.resource_types] == ["User"]
        with pytest.raises(NotFoundException):
            storage.get(user_type, "a-group")

    def test_get_keeps_what_the_response_returns(
        self, storage: BlockingStorage, user_type: ResourceType, user_model: type[Resource[Any]]
    ) -> None:
        """A User read for a response that leaves attributes out is whole: the library leaves them out."""
        (user,) = self.create_users(storage, user_type, user_model, "bjensen")
        whole = storage.get(user_type, user.id)
        projected = storage.get(
            user_type, user.id, response_parameters=self.search_request([user_model], attributes="userName")
        )
        assert projected == whole

    def test_search_a_resource_type(  # type: ignore[override]
        self, storage: BlockingStorage, user_type: ResourceType, user_model: type[Resource[Any]]
    ) -> None:
        """A search returns the Users, and counts them."""
        self.create_users(storage, user_type, user_model, "alice", "bob")
        page = self.search(storage, [user_type], self.search_request([user_model]))
        assert page.total == 2
        assert sorted(user.user_name for user in page.resources) == ["alice", "bob"]

    def test_search_at_the_root(  # type: ignore[override]
        self, storage: BlockingStorage, user_type: ResourceType, user_model: type[Resource[Any]]
    ) -> None:
        """A search at the root finds Users, the one type there is."""
        self.create_users(storage, user_type, user_model, "alice")
        page = self.search(storage, [user_type], self.search_request([user_model]))
        assert [resource.meta.resource_type for resource in page.resources] == ["User"]

    def test_search_at_the_root_on_an_attribute_some_types_lack(  # type: ignore[override]
        self, user_model: type[Resource[Any]]
    ) -> None:
        """No type lacks an attribute that another has; what none declares is refused (RFC 7644 §3.4.2.2)."""
        with pytest.raises(ValueError, match="members"):
            self.search_request([user_model], filter="members pr")

    def test_cursor_at_the_root(  # type: ignore[override]
        self, storage: BlockingStorage, user_type: ResourceType, user_model: type[Resource[Any]]
    ) -> None:
        """A cursor at the root pages the Users."""
        users = self.create_users(storage, user_type, user_model, "alice", "bob")
        pages = self.walk(storage, [user_type], self.search_request([user_model], cursor="", count=1))
        assert sorted(self.ids(pages)) == sorted(user.id for user in users)
