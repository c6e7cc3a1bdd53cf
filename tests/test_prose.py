"""Docstrings, errors and words follow the style of CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyg_mmkgc import errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'pyg_mmkgc'
OURS = {name for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.MMKGCError)}
# A value came, and then there may be an advice: sentences or a command. `{}`
# stands for an expression.
MESSAGE = re.compile(r'Expected .+ \(got .+\)(\{\}|\. ?[A-Z{].+)?', re.DOTALL)
# An absent library is no value.
MISSING = re.compile(r"Expected '.+' to be installed for .+\. Run: pip ")
# Readers of foreign formats raise the reason only. Their callers raise
# "Expected ... (got an error: reason)".
READERS = {'archive.py', 'budget.py', 'download.py', 'npz.py', 'schema.py',
           'torch_file.py'}
REASON = re.compile(r'(\{\}|it|its|the|a|an) .*[^.]')
OPENING = re.compile(r'(What|Which|Who|Whose|Where|When|How|Whether|Why|That)'
                     r'\b')


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob('*.py')):
        yield path, ast.parse(path.read_text('utf-8'))


def template(node: ast.expr) -> str | None:
    """The text of a message, None if it is computed elsewhere."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(str(part.value) if isinstance(part, ast.Constant)
                       else '{}' for part in node.values)
    if isinstance(node, ast.BinOp):
        left, right = template(node.left), template(node.right)
        return None if left is None else left + (right or '{}')
    return None


def good(text: str, name: str) -> bool:
    if name in READERS and REASON.fullmatch(text):
        return True
    # An error that is raised again with its place.
    return bool(MESSAGE.fullmatch(text) or MISSING.match(text)
                or text.startswith('{}') and name not in READERS)


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    bad = []
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef
                          | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ''
                if OPENING.match(text):
                    bad.append(f'{path.relative_to(ROOT)}: {text[:60]}')
    assert not bad


def test_messages_have_one_form() -> None:
    found = []
    for path, tree in trees():
        if path == PACKAGE / 'cli.py':  # Usage, as argparse words it.
            continue
        for node in ast.walk(tree):
            if (isinstance(node, ast.Call) and node.args
                    and isinstance(node.func, ast.Name)
                    and node.func.id in OURS):
                text = template(node.args[0])
                if text is not None:
                    found.append((text, path, node.lineno))
    assert len(found) > 350
    assert not [f'{path.relative_to(ROOT)}:{line}: {text}'
                for text, path, line in found if not good(text, path.name)]


@pytest.mark.parametrize(('text', 'right'), [
    ("Expected 'lr' to be positive (got {})", True),
    ("Expected 'a' (got {}). Pass b.", True),
    ("Expected 'a' to be positive", False),
    ("expected 'a' to be positive (got {})", False),
    ('Expected a path (got {}), or not', False),
    ("'{}': expected a string, got {}", False),
    ('the run has no model', False),
    ("Expected 'x' to be installed for plots. Run: pip install x", True)])
def test_form(text: str, right: bool) -> None:
    assert good(text, 'any.py') == right


def test_words() -> None:
    files = [*PACKAGE.rglob('*.py'), *(ROOT / 'examples').rglob('*.py'),
             ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
    words = re.compile(r'\b(those of|anew|beside)\b', re.IGNORECASE)
    found = [f'{path.relative_to(ROOT)}: {line.strip()}' for path in files
             for line in path.read_text('utf-8').splitlines()
             if words.search(line)]
    assert len(found) <= 5, found
