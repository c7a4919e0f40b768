"""Users as they were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scim2_models import Resource


class StoredUsers(Sequence[Resource[Any]]):
    """Users as JSON, which are models for whoever looks at one.

    Attributes:
        payloads: The JSON, as `UserMapping.to_payload` gives it.
    """

    def __init__(self, payloads: list[dict[str, Any]], model: type[Resource[Any]]) -> None:
        """Hold Users of a model."""
        self.payloads = payloads
        self._model = model

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.payloads)

    def __eq__(self, other: object) -> bool:
        """Tell whether these are the same Users, in the same order."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Any) -> Any:
        """Return a User, or a list of some."""
        if isinstance(index, slice):
            return [self._model.model_validate(payload) for payload in self.payloads[index]]
        return self._model.model_validate(self.payloads[index])
