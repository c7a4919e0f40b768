"""Users as they were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scim2_models import Resource

from synapse_scim.mapping.rendering import Rendered


class StoredUsers(Sequence[Resource[Any]]):
    """Users as JSON, which are models for whoever looks at one.

    Attributes:
        rendered: The JSON.
    """

    def __init__(self, rendered: list[Rendered], model: type[Resource[Any]]) -> None:
        """Hold Users of a model."""
        self.rendered = rendered
        self._model = model

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.rendered)

    def __eq__(self, other: object) -> bool:
        """Tell whether these are the same Users, in the same order."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Any) -> Any:
        """Return a User, or a list of some, as `UserMapping.to_payload` gives them."""
        if isinstance(index, slice):
            return [self._resource(user) for user in self.rendered[index]]
        return self._resource(self.rendered[index])

    def _resource(self, user: Rendered) -> Resource[Any]:
        return self._model.model_validate(user.unlocated())
