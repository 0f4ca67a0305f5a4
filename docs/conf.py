"""The documentation site: `make docs` builds it into docs/_build, offline and with every warning an error."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "congrad"
author = "The congrad developers"
copyright = "The congrad developers, Apache-2.0"
version = release = installed("congrad")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "congrad"
html_show_sourcelink = False
exclude_patterns = ["_build"]
