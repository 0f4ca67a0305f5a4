"""The documentation site: `make docs` builds it into docs/_build, offline and with every warning an error."""

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from congrad.settings.section import fields_of, is_section

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


def name_keys(app: Sphinx, what: str, name: str, section: Any, *rest: Any) -> tuple[str, str] | None:
    """The signature of a section: its keys with their defaults; the reference of the settings has the rest."""
    if not is_section(section):
        return None
    parts = []
    for key, each in fields_of(section).items():
        default = None if each.is_required() else each.get_default(call_default_factory=True)
        parts.append(key if each.is_required() or is_section(type(default)) else f"{key}={default!r}")
    return f"({', '.join(parts)})", ""


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", name_keys)
