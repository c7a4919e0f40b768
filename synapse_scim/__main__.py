"""Runs the command line: `synapse-scim`, or `python -m synapse_scim`."""

from __future__ import annotations

import sys
from importlib import import_module

from synapse_scim.client.trouble import INTERRUPTED


def run() -> None:
    """Run the command line. Even while it is being imported, which takes seconds, Ctrl-C ends it in words."""
    try:
        main = import_module("synapse_scim.commands").main
    except KeyboardInterrupt:
        sys.stderr.write("Broken off.\n")
        sys.exit(INTERRUPTED)
    main(prog_name="synapse-scim")


if __name__ == "__main__":
    run()
