"""How Sphinx builds the documentation: `make docs`."""

from synapse_scim import __version__

project = "synapse-scim"
author = "The synapse-scim authors"
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"synapse-scim {release}"
myst_heading_anchors = 3
# Quoted text over several lines, as in commands with a JSON body, is more than Pygments understands of a shell.
suppress_warnings = ["misc.highlighting_failure"]
