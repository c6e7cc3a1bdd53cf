r"""Formulas as MathML, which browsers show without a script or a network."""
import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def to_mathml(latex: str, display: str) -> str:
    r"""Returns the MathML of a formula."""
    lines = [part for part in re.split(r'\n\s*\n', latex.strip()) if part]
    if len(lines) > 1 or (r'\begin' not in latex and (
            '&' in latex or r'\\' in latex)):
        # The braces keep a bracket from being read as an option.
        latex = (r'\begin{aligned}{}' + r' \\ '.join(lines)
                 + r'\end{aligned}')
    return convert(latex, display=display)


def inline(writer: Any, node: nodes.math) -> None:
    r"""Writes a formula within a sentence."""
    writer.body.append(to_mathml(node.astext(), 'inline'))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    r"""Writes a formula of its own."""
    writer.body.append(writer.starttag(node, 'div', CLASS='math'))
    writer.body.append(to_mathml(node.astext(), 'block'))
    writer.body.append('</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Adds the renderer."""
    app.add_html_math_renderer('mathml', (inline, None), (block, None))
    app.config.html_math_renderer = 'mathml'
    return {'parallel_read_safe': True}
