"""Sessions of identity providers that cannot run here, replayed from `tests/sessions`.

What is expected stands beside each request in those files, with where that is known from; none of it was copied from an
answer of this project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import attrs
import pytest
import yaml

from tests.web.clients import Scim, assert_scim

pytestmark = pytest.mark.usefixtures("owner")

SESSIONS = [
    pytest.param(yaml.safe_load(path.read_text(encoding="utf-8")), id=path.stem)
    for path in sorted((Path(__file__).parents[1] / "sessions").glob("*.yaml"))
]


@attrs.frozen(kw_only=True)
class Step:
    """A request and its answer.

    Attributes:
        does: What the client does, in words.
        source: Where its request, and what it needs back, are known from: one of the session's sources.
        request: Method and URL behind the prefix. `$name` here and in `send` and `expect` stands for what was kept.
        status: The status of the answer.
        send: The body.
        expect: What the answer has at least; lists are compared from end to end.
        lacks: What the answer must not have, by the names that lead there.
        keep: What later steps call parts of the answer.
    """

    does: str
    source: str
    request: str
    status: int
    send: Any = None
    expect: Mapping[str, Any] = attrs.Factory(dict)
    lacks: list[list[str]] = attrs.Factory(list)
    keep: Mapping[str, str] = attrs.Factory(dict)


def steps(content: list[dict[str, Any]]) -> list[Step]:
    """Return the steps that a file has."""
    return [Step(**step) for step in content]


@attrs.frozen(kw_only=True)
class Session:
    """What a client does, from its first request to its last.

    Attributes:
        client: Its name.
        about: What the session is about.
        sources: Documents, source code and reports, by a short name.
        headers: What it sends with every request; null is a header that it does not send.
        steps: The requests.
    """

    client: str
    about: str
    sources: Mapping[str, str]
    headers: Mapping[str, str | None] = attrs.Factory(dict)
    steps: list[Step] = attrs.field(converter=steps)


@pytest.mark.parametrize("content", SESSIONS)
async def test_session(content: Mapping[str, Any], scim: Scim) -> None:
    """Every answer is what the client needs."""
    session = Session(**content)
    assert {step.source for step in session.steps} == session.sources.keys()
    kept: dict[str, str] = {}
    for step in session.steps:
        method, url = filled(step.request, kept).split(" ", 1)
        response = await scim.request(method, url, filled(step.send, kept), headers=session.headers)
        assert response.status == step.status, (step.does, response.body)
        answer = assert_scim(response, step.status) if response.body else {}
        assert unlike(filled(step.expect, kept), answer) == [], step.does
        assert [lacked for lacked in step.lacks if has(answer, lacked)] == [], step.does
        kept |= {name: answer[member] for name, member in step.keep.items()}


def filled(value: Any, kept: Mapping[str, str]) -> Any:
    """Return a value with what was kept in the places that name it."""
    if isinstance(value, str):
        return Template(value).safe_substitute(kept)
    if isinstance(value, list):
        return [filled(item, kept) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, kept) for name, item in value.items()}
    return value


def unlike(expected: Any, found: Any, path: str = "") -> list[str]:
    """Return where an answer is not as expected. Objects may have more members than are expected."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            difference
            for name, value in expected.items()
            for difference in unlike(value, found.get(name), f"{path}/{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [
            difference
            for number, (value, item) in enumerate(zip(expected, found, strict=True))
            for difference in unlike(value, item, f"{path}/{number}")
        ]
    return [] if type(expected) is type(found) and expected == found else [f"{path}: {found!r} is not {expected!r}"]


def has(answer: Any, path: Sequence[str]) -> bool:
    """Tell whether an answer has a member, found by the names that lead to it."""
    for name in path:
        if name not in answer:
            return False
        answer = answer[name]
    return True
