"""What the module does in which process of a homeserver."""

from __future__ import annotations

from typing import Any

from synapse.module_api import ModuleApi

from synapse_scim import ScimModule
from synapse_scim.config import Config
from synapse_scim.homeserver.pushers import PATH
from tests.support.homeserver import StartHomeserver


class InWorker(ScimModule):
    """The module, which is loaded as if this process were a worker."""

    def __init__(self, config: Config, api: ModuleApi) -> None:
        """Load it."""
        worker: Any = api._hs.config.worker
        worker.worker_app = "synapse.app.generic_worker"
        super().__init__(config, api)
        worker.worker_app = None


async def test_only_the_main_process_is_asked_to_add_pushers(start_homeserver: StartHomeserver) -> None:
    """A worker has no path for that: it could not do it."""
    homeserver = await start_homeserver(module={"module": f"{__name__}.InWorker", "config": {}})

    paths = homeserver.hs._module_web_resources
    assert "/_scim" in paths
    assert PATH not in paths


async def test_another_process_keeps_the_schedules_without_a_word(start_homeserver: StartHomeserver) -> None:
    """Where a worker runs what one process has to run for all, this one neither does nor has Synapse warn of it."""
    homeserver = await start_homeserver(config={"run_background_tasks_on": "background"})

    assert not homeserver.hs.config.worker.run_background_tasks
    assert [record.getMessage() for record in homeserver.log_records if "looping" in record.getMessage()] == []
