"""The module, on a homeserver of several processes whose schedules a test does not want to wait for."""

from __future__ import annotations

from typing import Any

from synapse.module_api import ModuleApi
from twisted.internet import reactor

from synapse_scim import module
from synapse_scim.config import Config
from synapse_scim.homeserver import locks
from synapse_scim.module import ScimModule

HASTY = "tests.support.hasty.HastyScimModule"
SHIFTED = "tests.support.hasty.ShiftedScimModule"


class HastyScimModule(ScimModule):
    """SCIM whose minutes are short."""

    def __init__(self, config: Config, api: ModuleApi) -> None:
        """Make haste in this process: what imports this module may be the process of the tests."""
        # What is done every minute is done twice a second; the locks of a process that was killed end sooner.
        module._EVERY_MS = 500
        locks.LEASE_S, locks.RENEWED_EACH_S, locks.MARGIN_S = 3.0, 0.5, 0.5
        super().__init__(config, api)


class ShiftedScimModule(HastyScimModule):
    """The same in a process whose clock is an hour ahead, as the whole process sees it."""

    SHIFT_S = 3600

    def __init__(self, config: Config, api: ModuleApi) -> None:
        """Change the clock, then go on."""
        running: Any = reactor
        # Behind `ProxiedReactor`, if the process was forked.
        real = running.___reactor if hasattr(running, "___reactor") else running
        seconds = real.seconds
        real.seconds = lambda: seconds() + self.SHIFT_S
        super().__init__(config, api)
