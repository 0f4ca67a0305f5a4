"""Formulas as MathML, written when the site is built: browsers show it by themselves, with no script and no network.

A renderer for Sphinx (https://www.sphinx-doc.org/en/master/extdev/appapi.html, `add_html_math_renderer`) around
latex2mathml, which is pure Python.
"""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    # A wide formula scrolls by itself instead of the page.
    style = "overflow-x: auto; overflow-y: hidden; padding: 0.3em 0"
    translator.body.append(f'<div style="{style}">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
