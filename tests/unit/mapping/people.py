"""Accounts as they come to be: made from a User, adopted, and changed by others since."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
from hypothesis import strategies as st
from scim2_models import Context, Resource
from synapse.util.threepids import validate_email

from synapse_scim.accounts import Account, ExternalId, Threepid
from synapse_scim.config import Config, Inactive, Sso, Threepids
from synapse_scim.mapping.changes import Plan, Planner
from synapse_scim.mapping.profile import ProfileMapping
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, USER_SCHEMA
from synapse_scim.mapping.threepids import ThreepidMapping
from synapse_scim.mapping.user import UserMapping
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.protocol.provider import composed_user, provider

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 2, 1, tzinfo=UTC)

MODEL = composed_user(provider(Config(), passwords=True))
THREEPIDS = ThreepidMapping(Threepids(), validate_email)
USERS = UserMapping("example.org", THREEPIDS, Sso(providers={"default": "oidc"}))
PLANNER = Planner(users=USERS, profiles=ProfileMapping(), end_sessions=True, inactive=Inactive())

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
EMAILS = ("ann@corp.example", "Ann.Lee@Home.Example", "Stra\u00dfe@x.example", "a@b.example")
NUMBERS = ("+49 30 123456", "+12015550123", "tel:+43-1-5860000", "10-040-1308")
FOREIGN = (
    Threepid("email", "ann@corp.example"),
    Threepid("email", "local@corp.example"),
    Threepid("msisdn", "4930123456"),
    Threepid("msisdn", "442079460958"),
)


def entries(values: tuple[str, ...], types: tuple[str, ...]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return entries of a multi-valued attribute, each value once, and at most the first one primary."""
    optional: dict[Any, Any] = {"type": st.sampled_from(types), "display": TEXTS}
    entry = st.fixed_dictionaries({"value": st.sampled_from(values)}, optional=optional)
    several = st.lists(entry, max_size=len(values), unique_by=lambda made: str(made["value"]))
    return st.tuples(several, st.booleans()).map(
        lambda made: [
            {**item, "primary": True} if made[1] and position == 0 else item for position, item in enumerate(made[0])
        ]
    )


USER_BODIES = st.fixed_dictionaries(
    {"schemas": st.just([USER_SCHEMA]), "userName": TEXTS.filter(str.strip)},
    optional={
        "externalId": TEXTS,
        "displayName": TEXTS,
        "title": TEXTS,
        "active": st.booleans(),
        "name": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("formatted", "givenName", "familyName", "middleName"), TEXTS)
        ),
        "emails": entries(EMAILS, ("work", "home", "other", "x")),
        "phoneNumbers": entries(NUMBERS, ("work", "mobile", "fax")),
        "roles": st.lists(st.fixed_dictionaries({"value": TEXTS}), max_size=2, unique_by=lambda role: role["value"]),
        "addresses": st.lists(st.fixed_dictionaries({"country": TEXTS}, optional={"locality": TEXTS}), max_size=2),
        ENTERPRISE_SCHEMA: st.fixed_dictionaries(
            {"department": TEXTS},
            optional={"manager": st.fixed_dictionaries({"value": TEXTS | st.just("@boss:example.org")})},
        ),
    },
)
"""The body of a POST."""


def received(body: dict[str, Any]) -> Resource[Any]:
    """Return a User as a client sends it."""
    return MODEL.model_validate(body, scim_ctx=Context.RESOURCE_CREATION_REQUEST)


def read_back(account: Account) -> Resource[Any]:
    """Return a User as a client that reads it, and sends it back, does."""
    return MODEL.model_validate(USERS.to_payload(account))


def unavailable(body: dict[str, Any]) -> st.SearchStrategy[frozenset[Threepid]]:
    """Return some of the phone numbers of a User, as those that others have."""
    named = [t for t in THREEPIDS.threepids(body) if t.medium == "msisdn"]
    return st.frozensets(st.sampled_from(sorted(named))) if named else st.just(frozenset())


def created(body: dict[str, Any], *, taken: frozenset[Threepid] = frozenset()) -> Account:
    """Return the account that a POST makes.

    Args:
        body: What is sent.
        taken: The phone numbers that others have.
    """
    plan = PLANNER.creation(WantedUser.from_resource(received(body)), domain="default", unavailable=taken, now=THEN)
    subject = plan.record.external_id
    return Account(
        user_id="@ann:example.org",
        localpart="ann",
        created=THEN,
        displayname=plan.record.displayname,
        threepids=plan.record.threepids,
        external_ids=frozenset({ExternalId("oidc", subject)} if subject else ()),
        locked=not plan.record.active,
        record=plan.record,
    )


def written(account: Account, wanted: Resource[Any], *, taken: frozenset[Threepid], states_active: bool) -> Plan:
    """Return the write that a wanted User asks for."""
    return PLANNER.update(
        account,
        WantedUser.from_resource(wanted, states_active=states_active),
        domain="default",
        unavailable=taken,
        password=None,
        now=NOW,
    )


@st.composite
def new_accounts(draw: st.DrawFn) -> tuple[Account, frozenset[Threepid]]:
    """An account as SCIM made it, with the phone numbers that others have."""
    body = draw(USER_BODIES)
    taken = draw(unavailable(body))
    return created(body, taken=taken), taken


@st.composite
def unmanaged_accounts(draw: st.DrawFn) -> Account:
    """An account that SCIM did not make."""
    return Account(
        user_id="@ann:example.org",
        localpart="ann",
        created=THEN,
        displayname=draw(st.none() | TEXTS),
        threepids=draw(st.frozensets(st.sampled_from(FOREIGN))),
        external_ids=draw(st.frozensets(st.builds(ExternalId, st.sampled_from(["oidc", "saml"]), TEXTS), max_size=2)),
        locked=draw(st.booleans()),
        suspended=draw(st.booleans()),
        deactivated=draw(st.booleans()),
        user_type=draw(st.none() | st.just("contractor")),
        user_name_taken=draw(st.booleans()),
    )


@st.composite
def accounts(draw: st.DrawFn) -> tuple[Account, frozenset[Threepid]]:
    """Any account: unmanaged, or made by SCIM and since changed by people, administrators and other programs.

    Some phone numbers that others had at its creation have come to it since.
    """
    if draw(st.booleans()):
        return draw(unmanaged_accounts()), frozenset()
    account, taken = draw(new_accounts())
    elsewhere = draw(unmanaged_accounts())
    bound = frozenset(t for t in account.threepids if draw(st.booleans()))
    given_up = frozenset(t for t in taken if draw(st.booleans()))
    taken -= given_up
    assert account.record is not None
    return (
        attrs.evolve(
            elsewhere,
            displayname=draw(st.sampled_from([account.displayname, elsewhere.displayname])),
            threepids=(bound | given_up | elsewhere.threepids) - taken,
            external_ids=account.external_ids | elsewhere.external_ids,
            user_name_taken=False,
            record=attrs.evolve(account.record, active_removed=draw(st.booleans())),
        ),
        taken,
    )
