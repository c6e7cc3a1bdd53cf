"""Rules that hold for the code base as a whole."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'pyg_mmkgc'

# Who may import whom inside the package. The arrows point one way: from the
# command line down to files and tensors.
EVERYBODY = {'errors', 'lazy', 'termination', 'typing'}
PARTS = ('kernels', 'io', 'data', 'datasets', 'transforms', 'sampler',
         'metrics', 'nn', 'distributed', 'evaluation', 'training', 'features',
         'visualization')
ARROWS = {
    'errors': set(),
    'lazy': set(),
    'termination': set(),
    'typing': set(),
    'kernels': set(),
    'report': set(),
    'io': set(),
    'data': {'io', 'report'},
    'datasets': {'io', 'data'},
    'transforms': {'io', 'data'},
    'sampler': {'kernels', 'io', 'data'},
    'metrics': set(),
    # Saving a model writes files; the rest of `nn` knows tensors only.
    'nn': {'kernels', 'metrics', 'io'},
    # Process groups, tables and checkpoints over processes.
    'distributed': {'io'},
    'evaluation': {'kernels', 'data', 'distributed', 'io', 'metrics', 'nn',
                   'report'},
    'training': {'kernels', 'nn', 'distributed', 'sampler', 'evaluation',
                 'data', 'io', 'metrics', 'report'},
    'features': {'io', 'report'},
    'visualization': {'io', 'report'},
    'config': {*PARTS, 'report'},
    'runs': {*PARTS, 'report', 'config'},
    'explore': {'config', 'data', 'datasets', 'evaluation', 'features', 'io',
                'nn', 'runs'},
    'cli': {'config', 'distributed', 'explore', 'runs', 'visualization'},
    '__main__': set(),
    'testing': set(PARTS) - {'features', 'visualization'},
    # The package's own __init__.py.
    '': set(PARTS),
}
UNSAFE_MODULES = {'pickle', 'cPickle', 'dill', 'joblib', 'shelve', 'marshal',
                  'torch_scatter'}
UNSAFE_CALLS = {'eval', 'exec', '__import__', 'os.system', 'yaml.load',
                'yaml.load_all', 'yaml.unsafe_load', 'yaml.full_load'}
# Nothing of this may happen when a module is imported.
IMPORT_TIME = {'torch.manual_seed', 'torch.set_num_threads', 'torch.device',
               'torch.set_default_device', 'torch.set_default_dtype',
               'torch.cuda.is_available', 'random.seed', 'np.random.seed',
               'time.time', 'time.perf_counter', 'time.monotonic',
               'datetime.now', 'datetime.datetime.now', 'os.getenv'}
# The choice between compiled loops and plain PyTorch is made in `kernels`.
COMPILERS = {'numba_loops', 'triton_kernels', 'fused'}
MACHINE_PATH = re.compile(
    r'(^|[^A-Za-z0-9_.])/(' + '|'.join(['work', 'tmp', 'root', 'home']) +
    r')/')


def dotted(node: ast.expr) -> str:
    """Returns the name of a called function, such as ``torch.load``."""
    if isinstance(node, ast.Attribute):
        return f'{dotted(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


def imports(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Returns the lines and dotted names of all imports of a file."""
    package = path.with_suffix('').parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = [*package[:len(package) - node.level + 1], *base]
            for alias in node.names:
                yield node.lineno, '.'.join([*base, alias.name])


def part_of(path: Path) -> str:
    """Returns the part of the package of a file, '' at the top."""
    name = path.parts[1]
    return '' if name == '__init__.py' else name.removesuffix('.py')


def import_faults(tree: ast.Module, path: Path) -> Iterator[str]:
    """Returns imports against the layers, and of forbidden modules."""
    part = part_of(path)
    for line, name in imports(tree, path):
        top, *rest = name.split('.')
        if top in UNSAFE_MODULES:
            yield f'{path}:{line}: imports {top}'
        if top != PACKAGE:
            continue
        other = rest[0] if rest else ''
        if other in {part, '__version__'} | EVERYBODY:
            continue
        if other not in ARROWS[part]:
            yield (f'{path}:{line}: {part or "the top"} imports '
                   f'{other or "the top"}')


def kernel_faults(tree: ast.Module, path: Path) -> Iterator[str]:
    """Returns uses of compilers outside of `kernels`."""
    if part_of(path) == 'kernels':
        return
    for line, name in imports(tree, path):
        if name.split('.')[0] in ('numba', 'triton'):
            yield f'{path}:{line}: imports {name.split(".")[0]}'
        if name.split('.')[-1] in COMPILERS:
            yield f'{path}:{line}: imports {name.split(".")[-1]}'
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func).split('.')[-1]
            if name in COMPILERS:
                yield f'{path}:{node.lineno}: calls {name}'


def import_time_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yields the nodes that run when a module is imported."""
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stack += [*node.decorator_list, *node.args.defaults,
                      *filter(None, node.args.kw_defaults)]
        elif not isinstance(node, ast.Lambda):
            stack += ast.iter_child_nodes(node)


def call_faults(tree: ast.Module, path: Path) -> Iterator[str]:
    """Returns calls that are unsafe, bound to a device, or too early."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) == 'os.environ':
            yield f'{path}:{node.lineno}: reads the environment'
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        unsafe = (
            name in UNSAFE_CALLS
            or keywords.get('allow_pickle') == 'True'
            or keywords.get('shell') == 'True'
            or keywords.get('weights_only', 'True') != 'True'
            or name == 'torch.load' and 'weights_only' not in keywords)
        if unsafe:
            yield f'{path}:{node.lineno}: unsafe {name}(...)'
        if isinstance(node.func, ast.Attribute) and node.func.attr == 'cuda':
            yield f'{path}:{node.lineno}: .cuda() is bound to one device'
    for node in import_time_nodes(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in IMPORT_TIME:
            yield f'{path}:{node.lineno}: {dotted(node.func)} at import'


def text_faults(text: str, path: Path) -> Iterator[str]:
    """Returns lines with paths of a machine."""
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATH.search(line):
            yield f'{path}:{number}: a path of one machine'


def check(text: str, path: Path) -> list[str]:
    """Returns all faults of a file, with ``path`` relative to the root."""
    faults = list(text_faults(text, path))
    if path.suffix == '.py' and path.parts[0] == PACKAGE:
        tree = ast.parse(text)
        faults += [*import_faults(tree, path), *kernel_faults(tree, path),
                   *call_faults(tree, path)]
    return faults


def files(*folders: str) -> list[Path]:
    """Returns the text files of some folders, relative to the root."""
    kinds = {'.py', '.md', '.yaml', '.yml', '.cfg', '.toml', '.sh'}
    found = {path for folder in folders for path in (ROOT / folder).rglob('*')
             if path.suffix in kinds and '__pycache__' not in path.parts}
    return sorted(path.relative_to(ROOT) for path in found)


def test_every_part_has_its_arrows() -> None:
    parts = {part_of(path) for path in files(PACKAGE) if path.suffix == '.py'}
    assert parts <= set(ARROWS), 'state in ARROWS what a new part may import'
    assert {'kernels', 'io', 'data', 'nn', 'training'} <= parts


@pytest.mark.parametrize('folder', [PACKAGE, 'tests', 'examples',
                                    'benchmarks', 'docs', '.github'])
def test_rules_hold(folder: str) -> None:
    faults = [fault for path in files(folder)
              for fault in check((ROOT / path).read_text('utf-8'), path)]
    assert not faults, '\n'.join(faults)


def test_top_level_files_know_no_machine() -> None:
    paths = [*ROOT.glob('*.md'), *ROOT.glob('*.cfg'), *ROOT.glob('*.toml'),
             *(ROOT / '.ci').iterdir(), ROOT / '.pre-commit-config.yaml']
    faults = [fault for path in paths for fault in check(
        path.read_text('utf-8'), path.relative_to(ROOT))]
    assert not faults, '\n'.join(faults)


@pytest.mark.parametrize('path, text, fault', [
    ('data/a.py', 'from pyg_mmkgc.nn import AdaMF', 'data imports nn'),
    ('data/a.py', 'from ..nn.loss import f', 'data imports nn'),
    ('data/a.py', 'from .. import training', 'data imports training'),
    ('data/a.py', 'from .. import KnowledgeGraph', 'imports KnowledgeGraph'),
    ('data/a.py', 'import pyg_mmkgc', 'imports the top'),
    ('nn/kge/a.py', 'def f():\n    import pyg_mmkgc.data', 'nn imports data'),
    ('nn/kge/a.py', 'from ...sampler import x', 'nn imports sampler'),
    ('__init__.py', 'from .cli import main', 'the top imports cli'),
    ('config/a.py', 'from ..testing import x', 'config imports testing'),
    ('kernels/a.py', 'from pyg_mmkgc.nn import f', 'kernels imports nn'),
    ('kernels/a.py', 'from ..io import tensors', 'kernels imports io'),
    ('data/a.py', 'from ..kernels import rows', 'data imports kernels'),
    ('typing.py', 'from pyg_mmkgc import nn', 'typing imports nn'),
    ('nn/a.py', 'import numba', 'imports numba'),
    ('nn/a.py', 'def f():\n    from numba import njit', 'imports numba'),
    ('nn/a.py', 'from ..kernels.backend import fused', 'imports fused'),
    ('training/a.py', 'from pyg_mmkgc.kernels.backend import numba_loops as f',
     'imports numba_loops'),
    ('nn/a.py', 'from ..kernels import backend\nbackend.fused(f, x)',
     'calls fused'),
    ('evaluation/a.py', 'import pyg_mmkgc.kernels.backend as b\n'
     'loops = b.numba_loops("ranks", x)', 'calls numba_loops'),
    ('io/a.py', 'import pickle', 'imports pickle'),
    ('io/a.py', 'import torch_scatter', 'imports torch_scatter'),
    ('io/a.py', 'torch.load(f)', 'unsafe torch.load'),
    ('io/a.py', 'torch.load(f, weights_only=False)', 'unsafe torch.load'),
    ('io/a.py', 'def f(x):\n    return eval(x)', 'unsafe eval'),
    ('io/a.py', 'yaml.load(f, yaml.SafeLoader)', 'unsafe yaml.load'),
    ('io/a.py', 'np.load(f, allow_pickle=True)', 'unsafe np.load'),
    ('io/a.py', 'run(x, shell=True)', 'unsafe run'),
    ('nn/a.py', 'def f(x):\n    return x.cuda()', 'one device'),
    ('nn/a.py', 'torch.manual_seed(0)', 'manual_seed at import'),
    ('nn/a.py', 'class A:\n    t = time.time()', 'time.time at import'),
    ('nn/a.py', 'def f(t=time.time()): ...', 'time.time at import'),
    ('nn/a.py', 'def f():\n    os.environ["A"]', 'environment'),
    ('nn/a.py', 'a = "/' + 'tmp/x"', 'a path of one machine'),
])
def test_planted_fault_is_found(path: str, text: str, fault: str) -> None:
    found = check(text, Path(PACKAGE, path))
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize('path, text', [
    ('data/a.py', 'from ..errors import DataError\nfrom . import index'),
    ('data/a.py', 'from pyg_mmkgc.io import tensors'),
    ('data/a.py', 'from typing import Any\nfrom ..typing import Side'),
    ('kernels/a.py', 'import numba\nfrom .backend import fused\nfused(f, x)'),
    ('nn/kge/a.py', 'from ..loss import f\nfrom .base import B'),
    ('nn/a.py', 'from ..kernels.rows import rotate\nAdam(p, fused=True)'),
    ('nn/a.py', 'def f(m):\n    m.eval()\n    torch.manual_seed(0)'),
    ('nn/a.py', 'f = lambda: time.time()'),
    ('io/a.py', 'torch.load(f, weights_only=True)\nyaml.safe_load(f)'),
    ('io/a.py', 'a = "https://example.org/home/x"\n' * 400),
])
def test_good_code_passes(path: str, text: str) -> None:
    assert check(text, Path(PACKAGE, path)) == []


IMPORT_ALL = f"""
import sys
optional = ('torch_scatter', 'numba', 'matplotlib', 'timm', 'transformers',
            'sentence_transformers', 'PIL', 'skimage', 'sklearn', 'gdown',
            'tensorboard', 'wandb', 'optuna', 'shtab', 'pandas', 'pyarrow',
            'starlette', 'uvicorn', 'umap', 'triton')
for name in optional:
    sys.modules[name] = None  # as if it were not installed

def hook(event, args):
    if event.startswith('socket.') and event != 'socket.__new__':
        raise RuntimeError(f'network at import: {{event}} {{args}}')

sys.addaudithook(hook)
import importlib, pkgutil
import torch
state = torch.random.get_rng_state()
import {PACKAGE}
for module in pkgutil.walk_packages({PACKAGE}.__path__, '{PACKAGE}.'):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        # A module may need an extra, a part of the package may not.
        if module.ispkg or error.name not in optional:
            raise
assert torch.equal(state, torch.random.get_rng_state()), 'seed touched'
assert not torch.cuda.is_initialized(), 'device touched'
print('imported', len([m for m in sys.modules if m.startswith('{PACKAGE}')]))
"""


def test_import_without_network_extras_or_traces(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, '-W', 'error:::pyg_mmkgc', '-c', IMPORT_ALL],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(
            path for path in sys.path if path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('imported')
    assert list(tmp_path.iterdir()) == [], 'importing wrote a file'
