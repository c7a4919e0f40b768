"""docs/tutorial.md, from an empty folder to its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.docs.markdown import REPOSITORY, blocks
from tests.docs.shell import printed_by, session
from tests.support.child import free_port

PAGE = "docs/tutorial.md"
PORT = "8008"
"""Synapse's own, which the tutorial uses; it may be taken here."""


def test_tutorial_works(tmp_path: Path) -> None:
    """Each command succeeds, and prints what the page shows where it shows something."""
    port = str(free_port())
    commands = session(PAGE, "tutorial")
    (module,) = blocks(PAGE, "yaml")
    # What a reader does in an editor.
    edit = f"sed -i s/{PORT}/{port}/ homeserver.yaml\ncat >> homeserver.yaml <<'END'\n\n{module}END\n"
    texts = [command.text.replace(PORT, port) for command in commands]
    (generated,) = [number for number, text in enumerate(texts) if "--generate-config" in text]
    texts[generated] += edit

    # What the tutorial's virtual environment is to a shell; whatever happens, nothing goes on running.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    texts[0] = f"""trap 'kill "$SYNAPSE" 2> /dev/null || true' EXIT\n{texts[0]}"""

    printed = printed_by(texts, {"PATH": path, "PYTHONPATH": str(REPOSITORY), "SYNAPSE": ""}, tmp_path)

    shown = [
        (command.output, output) for command, output in zip(commands, printed, strict=True) if command.output != ""
    ]
    assert len(shown) == 12
    assert [output for _, output in shown] == [expected for expected, _ in shown]
