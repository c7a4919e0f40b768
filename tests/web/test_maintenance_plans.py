"""What is done each minute costs the same however many accounts there are."""

from __future__ import annotations

import logging
import re
from ast import literal_eval

import pytest

from synapse_scim.application import build
from synapse_scim.config import Config
from synapse_scim.store.sql import Sql
from tests.web.clients import Admin
from tests.web.test_plans import plan_of

pytestmark = pytest.mark.usefixtures("engine")

_WHOLE = re.compile(r"^ *(?:-> *)?(?:SCAN|Seq Scan on) (.*?)(?: +\(cost.*)?$", re.MULTILINE)
"""A table that is read from end to end, as either engine says it."""

_MOSTLY_EMPTY = {
    "synapse_scim_photos",
    "synapse_scim_photos USING COVERING INDEX sqlite_autoindex_synapse_scim_photos_1",
    "synapse_scim_processes",
    "synapse_scim_processes USING INDEX sqlite_autoindex_synapse_scim_processes_1",
    "synapse_scim_traces",
    "synapse_scim_users USING INDEX synapse_scim_users_hidden",
    "synapse_scim_writes",
    "synapse_scim_writes USING COVERING INDEX sqlite_autoindex_synapse_scim_writes_1",
}


class Texts(logging.Handler):
    """Keeps the statements of the module's transactions, with their parameters."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__(logging.DEBUG)
        self._texts: dict[object, str] = {}
        self.found: list[Sql] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Synapse logs a statement, and then its parameters."""
        name, what = record.args  # type: ignore[misc]
        if record.msg.startswith("[SQL] "):
            self._texts[name] = str(what)
        elif record.msg.startswith("[SQL values] ") and str(name).startswith("synapse_scim"):
            self.found.append(Sql(self._texts[name], tuple(literal_eval(str(what)))))


async def test_what_is_done_each_minute_reads_no_table_of_accounts(admin: Admin, engine: str) -> None:
    """Maintenance looks by indexes for what there is to do: mostly nothing, however many accounts there are."""
    hs = admin.homeserver.hs
    application = build(Config(), hs)
    await application.maintenance.start()
    logger, texts = logging.getLogger("synapse.storage.SQL"), Texts()
    logger.addHandler(texts)
    logger.setLevel(logging.DEBUG)
    await application.maintenance.in_one_process()
    await application.maintenance.in_every_process()
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(texts)

    statements = [sql for sql in texts.found if sql.text.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(statements) > 5
    for statement in statements:
        plan = await plan_of(admin.homeserver, engine, statement)
        read = [match.group(1) for match in _WHOLE.finditer(plan)]
        assert {*read} <= _MOSTLY_EMPTY, (statement, plan)
