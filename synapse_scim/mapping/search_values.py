"""The kept attributes of a User as rows that a database can search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from scim2_models import AttributeBinding, Extension, Path, Resource

from synapse_scim.accounts import Threepid
from synapse_scim.mapping.identifiers import fold


@attrs.frozen
class SearchValue:
    """One value of a User.

    Attributes:
        attribute: The attribute's key, as `attribute_key` gives it. An entry of a multi-valued attribute has a row of
            its own under the attribute's key, holding the value of its `value`, besides one for each sub-attribute.
        entry: The position of the entry in a multi-valued attribute, else 0.
        value: The value in the form in which comparisons use it; `None` for an entry without `value`.
        threepid: The identifier that the account must still have for the entry to be shown.
    """

    attribute: str
    entry: int
    value: str | None
    threepid: str | None = None


def attribute_key(binding: AttributeBinding) -> str:
    """Return the name of an attribute among the search values: `emails.type`, `EnterpriseUser:department`."""
    model = binding.model
    prefix = f"{model.__name__}:" if issubclass(model, Extension) else ""
    key = f"{prefix}{_scim_name(model, binding.field_name)}"
    if binding.sub_field_name is None or not isinstance(binding.field_type, type):
        return key
    return f"{key}.{_scim_name(binding.field_type, binding.sub_field_name)}"


def comparable_text(value: Any, *, case_exact: bool) -> str:
    """Return a string or boolean in the form in which the database compares it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if case_exact else fold(str(value))


class SearchValues:
    """Turns kept attributes into search values, for one model of a User."""

    def __init__(self, model: type[Resource[Any]]) -> None:
        """Read from the model which attributes count case."""
        self._case_exact: dict[str, bool] = {}
        for path in Path[model].iter_paths():  # type: ignore[valid-type]
            binding = path.resolve()
            if binding is not None:
                self._case_exact[attribute_key(binding)] = binding.case_exact
        self._extensions = {urn: extension.__name__ for urn, extension in model.get_extension_models().items()}

    def of(
        self,
        attributes: Mapping[str, Any],
        threepid_of: Callable[[str, Mapping[str, Any]], Threepid | None],
    ) -> list[SearchValue]:
        """Return the search values of what a record keeps.

        Args:
            attributes: The kept attributes, by SCIM names.
            threepid_of: Returns the identifier that SCIM bound for an entry of an attribute, if any.
        """
        values: list[SearchValue] = []
        for name, value in attributes.items():
            if name in self._extensions:
                for sub_name, sub_value in value.items():
                    values += self._of_attribute(f"{self._extensions[name]}:{sub_name}", sub_value, threepid_of)
            else:
                values += self._of_attribute(name, value, threepid_of)
        return values

    def _of_attribute(
        self, key: str, value: Any, threepid_of: Callable[[str, Mapping[str, Any]], Threepid | None]
    ) -> Iterator[SearchValue]:
        if isinstance(value, list):
            for position, entry in enumerate(value):
                threepid = threepid_of(key, entry)
                text = self._text(f"{key}.value", entry.get("value"))
                yield SearchValue(key, position, text, threepid.address if threepid else None)
                yield from self._of_sub_attributes(key, position, entry)
        elif isinstance(value, Mapping):
            yield from self._of_sub_attributes(key, 0, value)
        else:
            yield SearchValue(key, 0, self._text(key, value))

    def _of_sub_attributes(self, key: str, position: int, entry: Mapping[str, Any]) -> Iterator[SearchValue]:
        for name, value in entry.items():
            # The row of a multi-valued attribute's entry already holds its value.
            if value is not None and not (name == "value" and f"{key}.primary" in self._case_exact):
                yield SearchValue(f"{key}.{name}", position, self._text(f"{key}.{name}", value))

    def _text(self, key: str, value: Any) -> str | None:
        return None if value is None else comparable_text(value, case_exact=self._case_exact.get(key, False))


def _scim_name(model: type[Any], field_name: str) -> str:
    return str(model.model_fields[field_name].serialization_alias)
