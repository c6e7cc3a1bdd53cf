r"""The reference of the API: a page for every package, read off its public
names, and a page for every name.
"""
from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pages import generate, heading, indent

import pyg_mmkgc

if TYPE_CHECKING:  # The tests have no Sphinx.
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

#: Modules with public names that no package exports.
MODULES = ('pyg_mmkgc.errors', 'pyg_mmkgc.report',
           'pyg_mmkgc.nn.encoded', 'pyg_mmkgc.nn.similarity',
           'pyg_mmkgc.nn.functional', 'pyg_mmkgc.nn.encoder',
           'pyg_mmkgc.nn.adversarial', 'pyg_mmkgc.kernels.relational')
#: Names that docstrings refer to and no package exports, by their page.
RELATED = {
    'pyg_mmkgc.config': (
        'components.options_of', 'components.read_component',
        'components.valid_names', 'space.Choice', 'space.Range',
        'space.read_space'),
    'pyg_mmkgc.data': (
        'adapters.from_pyg', 'audit.ModalityAudit', 'audit.SplitAudit',
        'fingerprint.fingerprint',
        'triples.from_triples', 'tsv.from_tsv'),
    'pyg_mmkgc.datasets': ('feature_files.find_features', ),
    'pyg_mmkgc.evaluation': (
        'compare.Difference', 'explain.MemberShare',
        'explain.ModalityEffect', 'explain.NearTriple',
        'explain.SideRank'),
    'pyg_mmkgc.explore': ('explorer.Disagreement', 'explorer.Failure',
                          'media.Media'),
    'pyg_mmkgc.features': ('descriptor.describe_image', 'inspect.Coverage'),
    'pyg_mmkgc.nn': ('kge.momok.JointView', 'kge.ote.gram_schmidt',
                     'share.Share'),
    'pyg_mmkgc.nn.path': ('features.FeatureGates', 'features.FeatureTables',
                          'features.NodeFeatures',
                          'prune.pruned_scores'),
    'pyg_mmkgc.runs': ('new_entity.add_entity', 'search.Trial'),
    'pyg_mmkgc.sampler': ('attention.Patches',
                          'straight_through.straight_through'),
    'pyg_mmkgc.training': (
        'batch.Completion', 'club.Estimator', 'comat.CollaborativeGenerator',
        'inputs.subsampling_weight', 'profile.Part', 'profile.Profile',
        'profile.profile'),
}
#: Base classes that are no subject of their own.
HIDDEN = ('pyg_mmkgc.nn.deprecated', )
#: Names in annotations by the name under which they are documented.
ALIASES = {
    'Data': 'torch_geometric.data.Data',
    'Dataset': 'torch_geometric.data.Dataset',
    'KGEModel': 'torch_geometric.nn.kge.KGEModel',
    'Function': 'collections.abc.Callable',
    'Image.Image': 'PIL.Image.Image',
    'Module': 'torch.nn.Module',
    'PathLike': 'os.PathLike',
    'Tensor': 'torch.Tensor',
    'np.ndarray': 'numpy.ndarray',
    'torch._C.Generator': 'torch.Generator',
    'torch.amp.autocast_mode.autocast': 'torch.autocast',
    'torch.nn.parameter.Parameter': 'torch.nn.Parameter',
    'torch.optim.optimizer.Optimizer': 'torch.optim.Optimizer',
    'torch_geometric.transforms.base_transform.BaseTransform':
        'torch_geometric.transforms.BaseTransform',
    'torch.nn.modules.container.ModuleDict': 'torch.nn.ModuleDict',
    'torch.nn.modules.module.Module': 'torch.nn.Module',
    'torch_geometric.data.dataset.Dataset':
        'torch_geometric.data.Dataset',
    'torch_geometric.data.data.Data': 'torch_geometric.data.Data',
    'torch_geometric.data.in_memory_dataset.InMemoryDataset':
        'torch_geometric.data.InMemoryDataset',
    'torch_geometric.nn.kge.base.KGEModel':
        'torch_geometric.nn.kge.KGEModel',
}
#: The groups of names by the beginning of the name of their module.
GROUPS = {
    'pyg_mmkgc.nn.kge': 'Embedding models',
    'pyg_mmkgc.nn.path': 'Path models',
    'pyg_mmkgc.nn.loss': 'Losses',
    'pyg_mmkgc.nn': 'Building blocks',
}


@cache
def packages() -> list[ModuleType]:
    r"""Returns the packages and modules with public names."""
    names = [pyg_mmkgc.__name__, *sorted({
        *MODULES, *(item.name for item in pkgutil.walk_packages(
            pyg_mmkgc.__path__, f'{pyg_mmkgc.__name__}.') if item.ispkg)})]
    modules = [importlib.import_module(name) for name in names]
    return [module for module in modules if public_names(module)]


def public_names(module: ModuleType) -> list[str]:
    r"""Returns the public names of a package or a module."""
    if hasattr(module, '__all__'):
        return list(module.__all__)
    if hasattr(module, '__path__'):  # A package that exports nothing.
        return []
    return [name for name, item in vars(module).items()
            if not name.startswith('_')
            and getattr(item, '__module__', None) == module.__name__]


def home(module: ModuleType, name: str, modules: list[ModuleType]) -> str:
    r"""Returns the package that documents a public name: the outermost of the
    packages that define and export it, but for the root, which only repeats
    names.
    """
    item = getattr(module, name)
    source = getattr(item, '__module__', None) or module.__name__
    holders = [x.__name__ for x in modules
               if x.__name__ != pyg_mmkgc.__name__
               and f'{source}.'.startswith(f'{x.__name__}.')
               and name in public_names(x) and getattr(x, name) is item]
    return min(holders, key=len, default=module.__name__)


def bases(modules: list[ModuleType]) -> dict[str, list[str]]:
    r"""Returns the base classes of public classes that no package exports,
    by the package that they are in.
    """
    public = {getattr(module, name) for module in modules
              for name in public_names(module)
              if inspect.isclass(getattr(module, name))}
    out: dict[str, list[str]] = {}
    for module in modules:
        for name in public_names(module):
            item = getattr(module, name)
            for cls in inspect.getmro(item) if item in _classes(item) else ():
                if cls in public or is_hidden(cls) or not (
                        cls.__module__.startswith(pyg_mmkgc.__name__)):
                    continue
                public.add(cls)
                place = min((x.__name__ for x in modules[1:]
                             if cls.__module__.startswith(f'{x.__name__}.')),
                            key=len)
                out.setdefault(place, []).append(
                    f'{cls.__module__}.{cls.__qualname__}'.removeprefix(
                        f'{place}.'))
    return out


def is_hidden(cls: type) -> bool:
    r"""Whether a base class is left out of the pages."""
    return cls.__name__.startswith('_') or cls.__module__ in HIDDEN


def show_bases(app: Sphinx, name: str, item: Any, options: Any,
               bases: list[type]) -> None:
    r"""Replaces hidden base classes by their own bases."""
    while any(map(is_hidden, bases)):
        bases[:] = [base for cls in bases
                    for base in (cls.__bases__ if is_hidden(cls) else [cls])]
    if len(bases) > 1 and object in bases:
        bases.remove(object)


def show_signature(app: Sphinx, what: str, name: str, item: Any, options: Any,
                   signature: str | None, returns: str | None) -> Any:
    r"""Replaces the default of a dataclass that is no expression."""
    return signature and signature.replace('<factory>', '...'), returns


def _classes(item: Any) -> tuple[Any, ...]:
    return (item, ) if inspect.isclass(item) else ()


def _group(module: ModuleType, item: Any) -> str:
    if inspect.isclass(item):
        if issubclass(item, (Exception, Warning)):
            return 'Errors'
        if module.__name__ == 'pyg_mmkgc.nn':
            return next(GROUPS[name] for name in sorted(
                GROUPS, key=len, reverse=True)
                if item.__module__.startswith(name))
        return 'Classes'
    return 'Functions' if callable(item) else 'Constants'


def _table(names: list[str]) -> str:
    return ('.. autosummary::\n   :nosignatures:\n\n'
            + indent('\n'.join(names)) + '\n')


def _name_page(module: ModuleType, name: str) -> str:
    # Not in the contents, which would list hundreds of names on every page.
    # The module that has the name, which may be within a package.
    place, _, last = f'{module.__name__}.{name}'.rpartition('.')
    item = getattr(importlib.import_module(place), last)
    kind, options = 'function', ''
    if inspect.isclass(item):
        kind = 'exception' if issubclass(item, Exception) else 'class'
        options = '   :members:\n   :show-inheritance:\n'
    return '\n'.join([
        ':orphan:\n', heading(last),
        f'*In* :mod:`{module.__name__}`\n',
        f'.. currentmodule:: {place}\n', f'.. auto{kind}:: {last}\n{options}'])


def _constants(module: ModuleType, names: list[str]) -> str:
    # A value has no docstring: its comment is read from the source.
    folder = Path(str(module.__file__))
    files = folder.parent.glob('*.py') if folder.name == '__init__.py' else [
        folder]
    sources = [path.read_text('utf-8') for path in files]
    out = []
    for name in names:
        found = next(filter(None, (re.search(
            rf'((?:^#: .*\n)+)^{name}\b', source, re.MULTILINE)
            for source in sources)))
        text = ' '.join(line.removeprefix('#: ')
                        for line in found[1].strip().split('\n'))
        out.append(f'.. py:data:: {module.__name__}.{name}\n\n'
                   + indent(text) + '\n')
    return '\n'.join(out)


def _page(module: ModuleType, modules: list[ModuleType],
          extra: list[str]) -> dict[str, str]:
    groups: dict[str, list[str]] = {}
    elsewhere = []
    for name in public_names(module):
        place = home(module, name, modules)
        if place == module.__name__:
            groups.setdefault(_group(module, getattr(module, name)),
                              []).append(name)
        else:
            elsewhere.append(f'~{place}.{name}')
    parts = [heading(module.__name__), f'.. automodule:: {module.__name__}\n',
             f'.. currentmodule:: {module.__name__}\n']
    related = list(RELATED.get(module.__name__, ()))
    for title, names in {**groups, 'Base classes': extra,
                         'Related': related}.items():
        if names:
            if len(groups) > 1 or extra or related:
                parts.append(heading(title, '-'))
            parts.append(_constants(module, names) if title == 'Constants'
                         else _table(names))
    if elsewhere:
        if groups:
            parts.append(heading('From other packages', '-'))
        parts += ['.. currentmodule:: None\n',
                  _table(elsewhere)]
    names = [name for title, names in groups.items() if title != 'Constants'
             for name in names] + extra + related
    return {f'api/{module.__name__}.rst': '\n'.join(parts),
            **{f'api/{module.__name__}.{name}.rst': _name_page(module, name)
               for name in names}}


def pages() -> dict[str, str]:
    r"""Returns the pages of the packages and the page that lists them."""
    modules = packages()
    more = bases(modules)
    out = {}
    for module in modules:
        out |= _page(module, modules, more.get(module.__name__, []))
    rows = ''.join(_row(module) for module in modules)
    links = ''.join(f'   {module.__name__}\n' for module in modules)
    out['api/index.rst'] = (
        heading('API') + '\nEvery public name, from the docstrings. Names '
        'that ``pyg_mmkgc`` itself\nexports are documented in the package '
        'that they come from.\n\n.. list-table::\n   :widths: 35 65\n\n'
        f'{rows}\n.. toctree::\n   :hidden:\n\n{links}')
    return out


def _row(module: ModuleType) -> str:
    text = inspect.getdoc(module) or ''
    first = ' '.join(text.split('\n\n')[0].split())
    return f'   * - :mod:`{module.__name__}`\n     - {first}\n'


def full_name(item: Any) -> str:
    r"""Returns the name under which a class or a function is documented."""
    name = f'{item.__module__}.{item.__qualname__}'
    modules = packages()
    for module in modules:
        if item.__name__ in public_names(module) and getattr(
                module, item.__name__) is item:
            return f'{home(module, item.__name__, modules)}.{item.__name__}'
    return ALIASES.get(name, name)


def find(target: str, node: Any) -> str | None:
    r"""Returns the full name of a target that is an alias of a public name,
    inherited from a base class, or in the module of the docstring.
    """
    if target in ALIASES:
        return ALIASES[target]
    first, _, rest = target.partition('.')
    owner: Any = sys.modules.get(node.get('py:module'))
    for part in filter(None, (node.get('py:class') or '').split('.')):
        owner = getattr(owner, part, owner)
    if node['reftype'] in ('meth', 'attr') and inspect.isclass(owner):
        for cls in inspect.getmro(owner):
            if first in {**vars(cls), **vars(cls).get('__annotations__', {})}:
                return f'{full_name(cls)}.{target}'
    if not target.startswith(f'{pyg_mmkgc.__name__}.'):
        item = getattr(sys.modules.get(getattr(owner, '__module__', '')),
                       first, None)
        if getattr(item, '__module__', '').startswith(pyg_mmkgc.__name__):
            return '.'.join(filter(None, (full_name(item), rest)))
        return None
    parts = target.split('.')
    for i in range(len(parts) - 1, 0, -1):
        item = getattr(sys.modules.get('.'.join(parts[:i])), parts[i], None)
        if hasattr(item, '__qualname__'):
            # A method may be inherited from a base class.
            for cls in (inspect.getmro(item) if inspect.isclass(item)
                        and parts[i + 1:] else ()):
                if parts[i + 1] in vars(cls):
                    item = cls
                    break
            return '.'.join([full_name(item), *parts[i + 1:]])
    return None


def resolve(app: Sphinx, env: BuildEnvironment, node: Any,
            content: Any) -> Any:
    r"""Resolves a name that is documented under another one. What is not
    found here goes on to the inventories under its full name.
    """
    if node.get('refdomain') != 'py':
        return None
    name = find(node['reftarget'], node)
    if name is None or name == node['reftarget']:
        return None
    node['reftarget'] = name
    return env.domains['py'].resolve_xref(
        env, node['refdoc'], app.builder, node['reftype'], name, node,
        content)


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Writes the pages before a build."""
    generate(app, pages, 'api')
    app.connect('autodoc-process-bases', show_bases)
    app.connect('autodoc-process-signature', show_signature)
    # Before the inventories are asked.
    app.connect('missing-reference', resolve, priority=400)
    return {'parallel_read_safe': True}
