"""Runs the command line: `python -m synapse_scim`."""

from synapse_scim.commands import main

main(prog_name="synapse-scim")
