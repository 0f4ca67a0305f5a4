"""A page: one HTML file with its style, its scripts, the plotting library and the data, which opens offline.

What comes from the dataset is untrusted. Jinja escapes it where it is markup's text; the rest is JSON in a block that
is no script, and the page's own code makes text nodes of it. A content security policy allows the scripts and the
style that are in the file, by their hashes, and nothing else: no other script, no eval, no request.
"""

import base64
import gzip
import hashlib
import importlib.metadata
import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from congrad.files import without_nan
from congrad.filtering.comparison import Array
from congrad.tables import visible

LIBRARY = "vega.js.gz"  # a third of its size; made by `python -m congrad.report.figures`


def embed(value: Any) -> Markup:
    """JSON that cannot leave a script element, whatever its strings hold."""
    text = json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - what could end the element is escaped above


def typed(values: Array) -> dict[str, str]:
    """Numbers as the bytes of a typed array; non-negative integers in the fewest bits."""
    if values.dtype.kind in "iu":
        largest = int(values.max(initial=0))
        values = values.astype(next(kind for kind in ("u1", "<u2", "<u4") if largest <= np.iinfo(kind).max))
    else:
        values = values.astype("<f4")
    return {"type": values.dtype.name, "base64": base64.b64encode(values.tobytes()).decode()}


@cache
def asset(name: str) -> str:
    content = files("congrad.report").joinpath("page", name).read_bytes()
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8")


def policy(css: str, scripts: list[str]) -> str:
    """The content security policy under which these run and nothing else does."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {' '.join(map(hashed, scripts))}; style-src {hashed(css)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def render(template: str, data: dict[str, Any], own_scripts: list[str], **context: Any) -> bytes:
    """A page from its template: `own_scripts` run as one, after the plotting library."""
    environment = Environment(
        loader=PackageLoader("congrad.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    css = asset("page.css")
    scripts = [asset(LIBRARY), "\n".join(asset(name) for name in own_scripts)]
    html = environment.get_template(template).render(
        **context,
        policy=policy(css, scripts),
        css=Markup(css),  # noqa: S704 - ours, as the scripts are
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        data=embed(data),
        version=importlib.metadata.version("congrad"),
    )
    return to_bytes(html)


def to_bytes(text: str) -> bytes:
    """A lone surrogate, which UTF-8 has no bytes for, becomes an escape of JSON's."""
    return text.encode("utf-8", "backslashreplace")
