"""A write is whole whatever MAS answers to any one of the requests that it takes, and whenever it does them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import attrs
import pytest
from scim2_models import SCIMException

from synapse_scim.store import journal
from tests.contract.test_whole_writes import SSO, Person, application, outcomes, prepared, repeated, with_new_password
from tests.support.homeserver import LocalHomeserver
from tests.support.mas import AuthenticationService
from tests.support.mas_troubles import Disturbance

pytestmark = [pytest.mark.usefixtures("mas"), pytest.mark.homeserver(module_config=SSO)]

ANY = "[A-Z]+ [^/].*"
"""Every request to the admin API."""


@attrs.frozen
class Case:
    """What goes wrong with which request of a write, and with how many that follow."""

    number: int
    request: str
    disturbance: Disturbance
    times: int = 1


TROUBLES = (
    (Disturbance.conflict, 1),
    (Disturbance.unauthorized, 2),
    (Disturbance.failing, 1),
    (Disturbance.page, 1),
    (Disturbance.unreachable, 1),
    (Disturbance.lost, 1),
    (Disturbance.bare, 1),
    # From then on.
    (Disturbance.failing, 1000),
    # The token has ended in the middle of the write; it is replaced.
    (Disturbance.unauthorized, 1),
)
"""What goes wrong with one request after the other, in turn: all of them with each would take minutes."""


def cases(requests: list[str], first: int) -> Iterator[Case]:
    """Return what is tried with the requests of a write: whatever changes something may also come late."""
    troubles = cycle((*TROUBLES[first:], *TROUBLES[:first]))
    for number, request in enumerate(requests):
        yield Case(number, request, *next(troubles))
        if not request.startswith("GET") and not request.endswith("/lock"):
            yield Case(number, request, Disturbance.late)


@pytest.mark.parametrize(
    ("operation", "first"),
    [("create", 0), ("create", 4), ("change", 0), ("disable", 2), ("enable", 3), ("delete", 4), ("revive", 5)],
)
async def test_one_request_goes_wrong(
    homeserver: LocalHomeserver,
    mas: AuthenticationService,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    first: int,
) -> None:
    """The account is as before or as wanted, at MAS too, when MAS is back; the request succeeds when repeated."""
    monkeypatch.setattr(journal, "LATE_MS", 0)
    old, new, _taken = await outcomes(homeserver, operation)
    person = await prepared(homeserver, operation, "p1")
    before = len(mas.requested)
    await getattr(person, operation)()
    requests = mas.requested[before:]
    for index, case in enumerate(cases(requests, first)):
        name = f"p{index + 2}"
        person = await prepared(homeserver, operation, name)
        mas.disturb(ANY, case.disturbance, times=case.times, after=case.number)
        answered = True
        try:
            await getattr(person, operation)()
        except SCIMException:
            answered = False
        mas.calm()
        await mas.catch_up()
        quiet = Person(application(homeserver), name)
        await quiet.application.maintenance.start()
        state = await quiet.state(homeserver)
        assert state in ({new} if answered else {old, new, with_new_password(old)}), case
        await repeated(homeserver, quiet, operation, new)
