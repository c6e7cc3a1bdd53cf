r"""The names that a configuration can use and their keywords, as read from
the source code of the classes.

Importing the classes takes seconds, since it imports PyG. Reading their
source takes milliseconds, so a mistyped key is reported at once. A test keeps
the result equal to :func:`~pyg_mmkgc.config.components.valid_names`.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Optional, Union

from pyg_mmkgc.config.components import LOSSES

_NAMES: dict[str, Any] = {
    'int': int, 'float': float, 'bool': bool, 'str': str, 'Any': Any,
    'dict': dict, 'Mapping': Mapping, 'list': list, 'tuple': tuple,
    'Sequence': Sequence, 'Optional': Optional, 'Union': Union,
    'Literal': Literal}


class Opaque:
    r"""Stands for a type or a default that is not a plain value."""


@dataclass(frozen=True)
class Definition:
    r"""A class or a function in a module.

    Args:
        module (str): The dotted name of the module.
        name (str): The name in the module.
        node (ast.AST): Its syntax tree.
    """
    module: str
    name: str
    node: Any

    def __hash__(self) -> int:
        return hash((self.module, self.name))


@cache
def _tree(module: str) -> tuple[ast.Module, bool] | None:
    r"""Returns the syntax tree of a module, and :obj:`True` if it is a
    package.
    """
    top, *rest = module.split('.')
    if top not in ('pyg_mmkgc', 'torch_geometric'):
        return None
    spec = importlib.util.find_spec(top)  # Does not import a top package.
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *rest)
    package = path.is_dir()
    file = path / '__init__.py' if package else path.with_suffix('.py')
    try:
        return ast.parse(file.read_text('utf-8')), package
    except (OSError, SyntaxError, ValueError):
        return None


def _imported(module: str, package: bool, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ''
    parts = module.split('.')
    parts = parts[:len(parts) - node.level + package]
    return '.'.join([*parts, *([node.module] if node.module else [])])


@cache
def _find(module: str, name: str) -> Any:
    r"""Returns the definition of a name in a module, or the expression that is
    assigned to it, and the module of either.
    """
    found = _tree(module)
    if found is None:
        return None
    tree, package = found
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            if node.name == name:
                return Definition(module, name, node)
        elif isinstance(node, ast.Assign):
            if any(isinstance(x, ast.Name) and x.id == name
                   for x in node.targets):
                return module, node.value
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name) and node.target.id == name:
                return module, node.value
        elif isinstance(node, ast.ImportFrom):
            source = _imported(module, package, node)
            for alias in node.names:
                if alias.name == '*':
                    star = _find(source, name)
                    if star is not None:
                        return star
                elif (alias.asname or alias.name) == name:
                    return _find(source, alias.name)
    return None


def _constant(module: str, node: ast.expr | None) -> Any:
    r"""Returns the value of an expression of literals and constants."""
    if node is None:
        return Opaque
    if isinstance(node, (ast.Tuple, ast.List)) and any(
            isinstance(x, ast.Starred) for x in node.elts):
        out: list[Any] = []
        for item in node.elts:
            value = _constant(module, item.value if isinstance(
                item, ast.Starred) else item)
            if value is Opaque:
                return Opaque
            out += value if isinstance(item, ast.Starred) else [value]
        return out
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if isinstance(node, ast.Name):
        found = _find(module, node.id)
        if isinstance(found, tuple):
            return _constant(*found)
    return Opaque


def _hint(module: str, node: ast.expr | None) -> Any:
    r"""Returns the type of an annotation."""
    if node is None:
        return inspect.Parameter.empty
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _hint(module, ast.parse(node.value, mode='eval').body)
        return None if node.value is None else Opaque
    if isinstance(node, ast.Name):
        if node.id in _NAMES:
            return _NAMES[node.id]
        found = _find(module, node.id)
        return _hint(*found) if isinstance(found, tuple) else Opaque
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_hint(module, node.left), _hint(module, node.right)])
    if isinstance(node, ast.Subscript):
        kind = _hint(module, node.value)
        items = (node.slice.elts if isinstance(node.slice, ast.Tuple)
                 else [node.slice])
        if kind is Literal:
            return Literal[tuple(_constant(module, x) for x in items)]
        if kind is Opaque:
            return Opaque
        args = tuple(... if isinstance(x, ast.Constant) and x.value is ...
                     else _hint(module, x) for x in items)
        if kind is Union:
            return _union(args)
        return kind[args if len(args) > 1 else args[0]]
    return Opaque


def _union(hints: Sequence[Any]) -> Any:
    # A YAML file cannot hold values of other types.
    known = tuple(hint for hint in hints if hint is not Opaque)
    return Union[known] if known else Opaque


def _bases(cls: Definition) -> list[Definition]:
    found = [_find(cls.module, base.id) for base in cls.node.bases
             if isinstance(base, ast.Name)]
    return [base for base in found if isinstance(base, Definition)]


def _mro(cls: Definition) -> list[Definition]:
    r"""Returns the classes in which an attribute is looked up, in Python's
    order (C3), without classes of other packages.
    """
    bases = _bases(cls)
    rest = [*map(_mro, bases), bases]
    out = [cls]
    while rest := [part for part in rest if part]:
        head = next(part[0] for part in rest
                    if not any(part[0] in other[1:] for other in rest))
        out.append(head)
        rest = [part[1:] if part[0] == head else part for part in rest]
    return out


def _methods(cls: Definition, name: str) -> Iterator[Definition]:
    for owner in _mro(cls):
        for node in owner.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                yield Definition(owner.module, f'{owner.name}.{name}', node)


def _parameters(function: Definition,
                bound: bool) -> tuple[list[inspect.Parameter], bool]:
    r"""Returns the parameters of a function, and :obj:`True` if it passes on
    further arguments.
    """
    spec = function.node.args
    first = [*spec.posonlyargs, *spec.args]
    defaults = [*[None] * (len(first) - len(spec.defaults)), *spec.defaults]
    pairs = [*zip(first, defaults, strict=True)][bound:]
    pairs += zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    out = [inspect.Parameter(
        arg.arg, inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is None
        else _constant(function.module, default),
        annotation=_hint(function.module, arg.annotation))
        for arg, default in pairs]
    return out, bool(spec.vararg or spec.kwarg)


def _signature(calls: list[list[inspect.Parameter]]) -> inspect.Signature:
    out: dict[str, inspect.Parameter] = {}
    for params in calls:
        for param in params:
            out.setdefault(param.name, param)
    return inspect.Signature(list(out.values()))


def _constructors(cls: Definition) -> list[list[inspect.Parameter]]:
    out = []
    for owner in _mro(cls):
        init = next(_methods(owner, '__init__'), None)
        if init is None:
            break
        params, passes_on = _parameters(init, bound=True)
        out.append(params)
        if not passes_on:
            break
    return out


def _stand_in(item: Definition) -> Any:
    r"""Returns a stand-in for a function or a class, with its signature and
    the attributes that the reader of a configuration uses.
    """
    def stand_in() -> None:
        pass

    found: Any = stand_in
    if isinstance(item.node, ast.FunctionDef):
        found.__signature__ = _signature([_parameters(item, False)[0]])
        return found
    found.__signature__ = _signature(_constructors(item))
    build = next(_methods(item, 'from_data'), None)
    if build is not None:
        found.from_data = _class_method(item, build)
    for owner in reversed(_mro(item)):
        for node in owner.node.body:
            target = (node.targets[0] if isinstance(node, ast.Assign) else
                      node.target if isinstance(node, ast.AnnAssign) else None)
            if isinstance(target, ast.Name) and target.id in (
                    'own_loss', 'takes_all_nodes'):
                setattr(found, target.id, _constant(owner.module, node.value))
    return found


def _class_method(cls: Definition, method: Definition) -> Any:
    def stand_in() -> None:
        pass

    params, passes_on = _parameters(method, bound=True)
    found: Any = stand_in
    found.__signature__ = _signature(
        [params, *(_constructors(cls) if passes_on else [])])
    return found


def _listed(package: str, *bases: str) -> dict[str, Definition]:
    r"""Returns the public classes of a package that derive from one of the
    base classes.
    """
    found = _find(package, '__all__')
    names = _constant(*found) if isinstance(found, tuple) else []
    out = {}
    for name in names:
        item = _find(package, name)
        if isinstance(item, Definition) and isinstance(
                item.node, ast.ClassDef) and name not in bases and any(
                    x.name in bases for x in _mro(item)):
            out[name] = item
    return out


@cache
def valid_names(section: str) -> Mapping[str, Any]:
    r"""Returns the same names as
    :func:`~pyg_mmkgc.config.components.valid_names`, with functions of the
    same signatures in place of classes.
    """
    if section == 'dataset':
        found = _listed('pyg_mmkgc.datasets', 'MMKGDataset', 'Dataset',
                        'InMemoryDataset')
        found['TSV'] = _find('pyg_mmkgc.data.tsv', 'from_tsv')
    elif section == 'model':
        found = {**_listed('pyg_mmkgc.nn.kge', 'MMKGEModel', 'QueryModel'),
                 **_listed('pyg_mmkgc.nn.path', 'PathModel'),
                 'Ensemble': _find('pyg_mmkgc.nn.ensemble', 'Ensemble'),
                 **{f'PyG.{name}': item for name, item in _listed(
                     'torch_geometric.nn.kge', 'KGEModel').items()}}
    elif section == 'sampler':
        found = _listed('pyg_mmkgc.sampler', 'NegativeSampler')
    elif section == 'loss':
        found = {name: _find('pyg_mmkgc.nn.loss', name) for name in LOSSES}
    else:
        return types.MappingProxyType({
            name: _class_method(item, next(_methods(item, 'from_model')))
            for name, item in _listed('pyg_mmkgc.training',
                                      'Adversary').items()})
    return types.MappingProxyType(
        {name: _stand_in(item) for name, item in found.items()})
