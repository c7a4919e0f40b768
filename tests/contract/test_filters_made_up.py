"""Filters that Hypothesis makes up, over people that it makes up, find whom the library's own evaluation finds."""

from __future__ import annotations

import json
import sys
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scim2_models import ScimFilter

from synapse_scim.application import Application, build
from synapse_scim.config import Config
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA
from synapse_scim.store.rights import Rights
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.contract.test_filters_agree import found
from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner

pytestmark = [pytest.mark.blocking, pytest.mark.usefixtures("engine")]

WORDS = st.sampled_from(
    [
        "Ann",
        "ANN",
        "ann b",
        "Éva",
        "e\u0301va",
        "ÉVA",
        "straße",
        "STRASSE",
        "%",
        "a_b",
        "axb",
        '"',
        "\\",
        "İ",
        "ϐ",
        "1",
        "12",
    ]
)
"""Few, so that people share them, and such as differ in case, in composition or by a wildcard alone."""

TYPES = st.sampled_from(["work", "home", "Work"])
TEXTS = (
    "userName",
    "externalId",
    "displayName",
    "title",
    "nickName",
    "name.givenName",
    "name.familyName",
    "emails",
    "emails.value",
    "emails.type",
    "addresses.locality",
    "roles.value",
    f"{ENTERPRISE_SCHEMA}:department",
    f"{ENTERPRISE_SCHEMA}:manager.value",
)
BOOLEANS = ("active", "emails.primary", f"{MATRIX_SCHEMA}:managed", f"{MATRIX_SCHEMA}:locked")


def optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects that have each of these attributes or not."""
    return st.fixed_dictionaries({}, optional=values)


PEOPLE = optional(
    displayName=WORDS,
    title=WORDS,
    nickName=WORDS,
    active=st.booleans(),
    name=optional(givenName=WORDS, familyName=WORDS),
    addresses=st.lists(optional(locality=WORDS, type=TYPES).filter(bool), min_size=1, max_size=2),
    roles=st.lists(optional(value=WORDS, type=TYPES).filter(bool), min_size=1, max_size=2),
    emails=st.lists(TYPES, min_size=1, max_size=2),
    **{ENTERPRISE_SCHEMA: optional(department=WORDS, manager=st.fixed_dictionaries({"value": WORDS}))},
)


def compared(path: str, literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Make comparisons of an attribute of text."""
    operators = st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "EQ"])
    return st.builds(lambda operator, text: f"{path} {operator} {json.dumps(text)}", operators, literals)


def conditions() -> st.SearchStrategy[str]:
    """Make filters of one condition."""
    texts = [compared(path, WORDS | WORDS.map(lambda word: word[:1])) for path in TEXTS]
    flags = [
        st.sampled_from([f"{path} eq true", f"{path} eq false", f"{path} ne true", f"{path} pr"]) for path in BOOLEANS
    ]
    presences = st.sampled_from([f"{path} pr" for path in (*TEXTS, "name", "addresses", "meta.created")])
    entries = st.builds(
        lambda kind, condition: f'emails[type eq "{kind}" and {condition}]',
        TYPES,
        compared("value", WORDS) | st.sampled_from(["primary eq true", "not (primary pr)", 'value co "1"']),
    )
    dates = st.sampled_from(['meta.created gt "2020-01-01T00:00:00Z"', 'meta.lastModified lt "2020-01-01T00:00:00Z"'])
    return st.one_of(*texts, *flags, presences, entries, dates)


FILTERS = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.builds(lambda word, one, other: f"({one}) {word} ({other})", st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=4,
)


@attrs.define
class Tally:
    """What was tried."""

    people: int = 0
    filters: int = 0
    some: int = 0
    """How many filters matched some people, but not all."""


async def create(application: Application, users: UserStorage, people: list[dict[str, Any]], tally: Tally) -> None:
    """Create people, each with a name of their own."""
    for person in people:
        tally.people += 1
        emails = [
            {"value": f"{kind}{tally.people}@x.example", "type": kind, "primary": index == 0}
            for index, kind in enumerate(person.get("emails", ()))
        ]
        body = {**person, "userName": f"p{tally.people}", "externalId": f"E{tally.people}"}
        model = application.store.model.model_validate({**body, "emails": emails} if emails else body)
        with application.provider:
            await users.create(application.provider.resource_types[0], model)


async def check(application: Application, users: UserStorage, filters: list[str], tally: Tally) -> None:
    """Compare whom the database finds with whom the library finds."""
    everybody = await found(application, users)
    for text in filters:
        bound = ScimFilter[application.store.model](text)  # type: ignore[name-defined]
        expected = {user.id for user in everybody if bound.match(user)}
        assert {user.id for user in await found(application, users, filter=text)} == expected, text
        tally.filters += 1
        tally.some += 0 < len(expected) < len(everybody)


def test_made_up_filters_find_whom_the_library_finds(homeserver: LocalHomeserver, runner: BlockingRunner) -> None:
    """Whatever the filter and whoever the people; and three filters in ten, at least, match some but not all."""
    application = build(Config(), homeserver.hs)
    runner.run(application.maintenance.start())
    store = application.store
    users = UserStorage(store, Rights(subject=Subject(name="okta"), protected=(), users=store.users))
    tally = Tally()

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(PEOPLE, min_size=2, max_size=4), st.lists(FILTERS, min_size=40, max_size=60))
    def agree(people: list[dict[str, Any]], filters: list[str]) -> None:
        runner.run(create(application, users, people, tally))
        runner.run(check(application, users, filters, tally))

    agree()

    # Shown by `pytest -rP`.
    sys.stdout.write(f"{tally}\n")
    assert tally.some >= 0.3 * tally.filters, tally
    assert tally.filters > 400
