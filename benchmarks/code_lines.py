r"""Counts lines of code without blank lines, comments and docstrings.

.. code-block:: sh

    python benchmarks/code_lines.py pyg_mmkgc/nn pyg_mmkgc/kernels
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT,
           tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
                ast.get_docstring(node) is not None):
            first = node.body[0]
            docstrings |= set(range(first.lineno, first.end_lineno + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


if __name__ == '__main__':
    total = 0
    for root in map(Path, sys.argv[1:]):
        for path in sorted([root] if root.is_file() else root.rglob('*.py')):
            count = code_lines(path.read_text('utf-8'))
            total += count
            print(f'{count:6} {path}')
    print(f'{total:6} in all')
