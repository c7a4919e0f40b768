"""What a process does that is told to end: it answers what has begun."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from synapse_scim.accounts import Unavailable
from synapse_scim.resources.activity import LINGER_S, Activity

GRACE_S = 7.0


def test_nothing_to_answer() -> None:
    """A process that answers nobody ends when what it wrote a moment ago has left it."""
    clock = Clock()
    ended = Activity(clock, grace_s=GRACE_S).end()
    assert not ended.called

    clock.advance(LINGER_S)

    assert ended.called
    clock.advance(GRACE_S)


def test_what_has_begun_is_answered() -> None:
    """It waits for requests under way and for answers that are still being sent, and lets nobody else in."""
    clock = Clock()
    activity = Activity(clock, grace_s=GRACE_S)
    sent: Deferred[None] = Deferred()
    activity.ensure_open()
    assert not activity.is_ending
    with activity.working():
        activity.until(sent)
        ended = activity.end()
        assert activity.is_ending
        with pytest.raises(Unavailable, match="is being stopped"):
            activity.ensure_open()
    clock.advance(LINGER_S)
    assert not ended.called

    sent.callback(None)
    clock.advance(LINGER_S)

    assert ended.called


def test_whatever_takes_too_long_is_cut_off() -> None:
    """After the grace it ends, whatever is under way: another process finishes or undoes it."""
    clock = Clock()
    activity = Activity(clock, grace_s=GRACE_S)
    with activity.working():
        ended = activity.end()
        clock.advance(GRACE_S - 0.1)
        assert not ended.called
        clock.advance(0.2)
        assert ended.called
    clock.advance(LINGER_S)
