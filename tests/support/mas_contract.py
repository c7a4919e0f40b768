"""What MAS's admin API is, by its own description (`mas_api.json`): whoever breaks it, caller or stand-in, fails."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.support.reduce_mas_api import REDUCED

_URI = "urn:mas"
_ALWAYS_POSSIBLE = frozenset({401, 500})
"""Statuses that the description leaves out: of a token that is not accepted, and of the service's own failures."""


class ContractBroken(AssertionError):
    """A request or an answer is not what the description says."""


@attrs.frozen(kw_only=True)
class Operation:
    """What a request asks for.

    Attributes:
        path: The path, as the description has it.
        method: The method, in lower case.
        arguments: What stands in the path for the names in braces.
    """

    path: str
    method: str
    arguments: Mapping[str, str]


class Contract:
    """The description, with which requests and answers are compared."""

    def __init__(self, path: Path = REDUCED) -> None:
        """Read it."""
        self._description = json.loads(path.read_text())
        self.version: str = self._description["info"]["version"]
        self._registry = Registry().with_resource(_URI, DRAFT202012.create_resource(self._description))
        self._validators: dict[str, Draft202012Validator] = {}
        self._patterns = [
            (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))), path)
            for path in self._description["paths"]
        ]

    def operation(self, method: str, path: str) -> Operation:
        """Return what a request asks for.

        Raises:
            ContractBroken: There is no such operation.
        """
        for pattern, described in self._patterns:
            match = pattern.fullmatch(path)
            if match and method.lower() in self._description["paths"][described]:
                return Operation(path=described, method=method.lower(), arguments=match.groupdict())
        raise ContractBroken(f"{method} {path} is not described")

    def check_request(self, operation: Operation, query: Mapping[str, str], body: Any) -> None:
        """Compare a request with the description; what it does not declare is not allowed either.

        Raises:
            ContractBroken: It differs.
        """
        declared = self._description["paths"][operation.path][operation.method]
        pointer = f"/paths/{_escaped(operation.path)}/{operation.method}"
        parameters = {parameter["name"]: number for number, parameter in enumerate(declared.get("parameters", ()))}
        given = {**operation.arguments, **query}
        if unknown := given.keys() - parameters:
            raise ContractBroken(f"{operation.path} has no parameters {unknown}")
        for name, number in parameters.items():
            if name in given:
                schema = declared["parameters"][number]["schema"]
                value: Any = int(given[name]) if schema.get("type") == "integer" else given[name]
                self._check(f"{pointer}/parameters/{number}/schema", value)
        described = declared.get("requestBody")
        if body is None:
            if described is not None and described.get("required"):
                raise ContractBroken(f"{operation.path} needs a body")
            return
        if described is None:
            raise ContractBroken(f"{operation.path} takes no body")
        self._check(f"{pointer}/requestBody/content/application~1json/schema", body)
        name = described["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        if unknown := body.keys() - self._description["components"]["schemas"][name]["properties"]:
            raise ContractBroken(f"{name} has no properties {unknown}")

    def check_answer(self, operation: Operation, status: int, body: Any) -> None:
        """Compare an answer with the description.

        Raises:
            ContractBroken: It differs.
        """
        answers = self._description["paths"][operation.path][operation.method]["responses"]
        if status in _ALWAYS_POSSIBLE:
            self._check("/components/schemas/ErrorResponse", body)
            return
        if str(status) not in answers:
            raise ContractBroken(f"{operation.method} {operation.path} never answers {status}")
        pointer = f"/paths/{_escaped(operation.path)}/{operation.method}/responses/{status}"
        if "content" in answers[str(status)]:
            self._check(f"{pointer}/content/application~1json/schema", body)
        elif body is not None:
            raise ContractBroken(f"{operation.path} answers {status} without a body")

    def _check(self, pointer: str, value: Any) -> None:
        if pointer not in self._validators:
            reference = f"{_URI}#{pointer.replace('{', '%7B').replace('}', '%7D')}"
            self._validators[pointer] = Draft202012Validator({"$ref": reference}, registry=self._registry)
        error = best_match(self._validators[pointer].iter_errors(value))
        if error is not None:
            raise ContractBroken(f"{pointer}: {error.message}")


def _escaped(part: str) -> str:
    """Return a key as a part of a JSON Pointer (RFC 6901)."""
    return part.replace("~", "~0").replace("/", "~1")
