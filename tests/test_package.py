"""The package as it is installed: metadata, files, names and README."""

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import pyg_mmkgc
from pyg_mmkgc.cli import main
from pyg_mmkgc.config import load_config
from pyg_mmkgc.nn import ULTRA
from pyg_mmkgc.runs import Run

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'pyg_mmkgc'
DATA_FOLDERS = ('configs', 'datasets/countries_data', 'explore/static',
                'explore/templates')


@pytest.fixture(scope='module')
def setup_cfg() -> ConfigParser:
    config = ConfigParser()
    config.read(ROOT / 'setup.cfg', encoding='utf-8')
    return config


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds a wheel from a copy, which leaves no files in the tree."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    shutil.copytree(PACKAGE, source / 'pyg_mmkgc',
                    ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE',
                 'mmkgc.py'):
        shutil.copy(ROOT / name, source)
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-index',
         '--no-build-isolation', '--wheel-dir', str(folder), str(source)],
        capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob('*.whl'))


def test_wheel_holds_every_file(wheel: Path) -> None:
    expected = {path for path in PACKAGE.rglob('*.py')}
    expected |= {PACKAGE / 'py.typed'}
    expected |= {path for folder in DATA_FOLDERS
                 for path in (PACKAGE / folder).rglob('*') if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for path in expected
                if '__pycache__' not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = sorted(expected - names)
    assert not missing, f'not in the wheel: {missing}'
    others = {name.split('/')[0] for name in names - expected}
    assert others == {'pyg_mmkgc-0.1.0.dist-info', 'mmkgc.py'}


def test_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    """The bundled graph loads from an installation that cannot be written."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / 'site')
    code = ('import sys; sys.path.insert(0, "site"); '
            'from pyg_mmkgc.datasets import Countries; '
            'from pyg_mmkgc import __file__ as f; '
            'print(f); print(len(Countries()[0].node_names))')
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    file, nodes = done.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert int(nodes) >= 2000
    written = {path.suffix for path in tmp_path.rglob('*') if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        shipped = {Path(name).suffix for name in archive.namelist()}
    assert written <= shipped | {'.pyc'}


def tracked() -> list[str]:
    if not (ROOT / '.git').exists():
        pytest.skip('no repository around the tests')
    done = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    return [name for name in done.stdout.splitlines()
            if (ROOT / name).is_file()]


def test_sdist_holds_every_file(tmp_path: Path) -> None:
    """The sdist contains the tests, the examples and the benchmarks."""
    names = tracked()
    for name in names:
        (tmp_path / 'repo' / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / 'repo' / name)
    code = ('from setuptools import build_meta; '
            'print(build_meta.build_sdist("../dist"))')
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path / 'repo',
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / 'dist' / done.stdout.splitlines()[-1]
    with tarfile.open(path) as archive:
        packed = {name.partition('/')[2] for name in archive.getnames()}
    missing = sorted(set(names) - packed - {'.gitignore'})
    assert not missing, f'not in the sdist: {missing}'


@pytest.mark.parametrize('version', ['310', '311', '312', '313'])
def test_locks_pin_everything(version: str, setup_cfg: ConfigParser) -> None:
    """Packages have a version and hashes. Packages of torch are left out."""
    text = (ROOT / 'requirements' / f'py{version}.txt').read_text('utf-8')
    text = re.sub('^#.*\n', '', text, flags=re.MULTILINE)
    pins = text.replace('\\\n', ' ').strip().split('\n')
    names = [pin.partition('==')[0] for pin in pins]
    assert len(set(names)) == len(names)
    for pin in pins:
        assert re.fullmatch(r'[a-z0-9.-]+==[\w.]+'
                            r'( +--hash=sha256:[0-9a-f]{64})+', pin), pin
    assert not [name for name in names
                if re.match('torch$|nvidia|cuda|triton', name)]
    options = setup_cfg['options']
    wanted = options['install_requires'].split() + ' '.join(
        setup_cfg['options.extras_require'][name]
        for name in ('test', 'fast', 'plot')).split()
    wanted = {re.match(r'[\w-]+', item)[0].lower() for item in wanted}
    assert wanted - {'torch', 'pyg_mmkgc'} <= set(names)
    # What constraints.txt pins for the tests is the same there.
    text, _, docs = (ROOT / 'constraints.txt').read_text().partition(
        '# The documentation')
    assert docs
    for line in text.splitlines():
        if '==' in line and not line.startswith('torch=='):
            assert line in [pin.split()[0] for pin in pins]
    assert f'Programming Language :: Python :: 3.{version[1:]}' in setup_cfg[
        'metadata']['classifiers']


def test_security_names_tests_that_exist() -> None:
    text = (ROOT / 'SECURITY.md').read_text('utf-8')
    named = re.findall(r'`(tests/[\w/]+\.py)(?:::(\w+))?`', text)
    assert len(named) > 30
    missing = [(file, name) for file, name in named
               if f'def {name}(' not in (ROOT / file).read_text('utf-8')]
    assert not missing
    # Each promise has one, but for what is said not to be promised.
    promises = re.split(r'^- ', text, flags=re.MULTILINE)[1:]
    without = [promise[:12] for promise in promises
               if '`tests/' not in promise]
    assert without == ['Encoders tha']


@pytest.mark.parametrize('given, found', [(None, '1000'), ('7', '7')])
def test_the_command_prepares_threads(given: str | None, found: str,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of GNU OpenMP are set before torch is imported."""
    monkeypatch.delenv('GOMP_SPINCOUNT', raising=False)
    if given is not None:
        monkeypatch.setenv('GOMP_SPINCOUNT', given)
    code = ('import os, sys\n'
            'class Watch:\n'
            '    def find_spec(self, name, path=None, target=None):\n'
            '        if name == "torch":\n'
            '            sys.exit(os.environ.get("GOMP_SPINCOUNT"))\n'
            'sys.meta_path.insert(0, Watch())\n'
            'import mmkgc\n'
            'sys.exit(mmkgc.main(["models"]))')
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT,
                          capture_output=True, text=True, timeout=300)
    assert done.stderr.splitlines() == [found]


def test_version_is_that_of_the_metadata(setup_cfg: ConfigParser) -> None:
    version = setup_cfg['metadata']['version']
    assert pyg_mmkgc.__version__ == version
    changes = (ROOT / 'CHANGELOG.md').read_text('utf-8')
    assert re.search(rf'^## {re.escape(version)}\b', changes, re.MULTILINE)


def test_dependencies(setup_cfg: ConfigParser) -> None:
    required = setup_cfg['options']['install_requires'].split()
    assert required == ['torch>=2.9', 'torch-geometric>=2.7', 'numpy',
                        'pyyaml', 'safetensors']
    extras = setup_cfg['options.extras_require']
    assert set(extras) == {'scatter', 'fast', 'plot', 'pandas', 'explore',
                           'features', 'download', 'search', 'tracking',
                           'completion', 'test', 'docs', 'all'}
    # It has no wheel: who asks for everything must not have to compile it.
    assert 'scatter' not in extras['all']


def test_public_names() -> None:
    names = pyg_mmkgc.__all__
    assert len(names) == len(set(names)) <= 20
    for name in names:
        # Names are imported when they are used.
        value = getattr(pyg_mmkgc, name)
        assert value.__name__ == name and value.__module__.startswith(
            'pyg_mmkgc.')
        assert name in dir(pyg_mmkgc)
    with pytest.raises(AttributeError, match="no attribute 'AdaMFMAT2'"):
        pyg_mmkgc.AdaMFMAT2  # noqa: B018


def test_type_checkers_know_the_public_names() -> None:
    """They read them where the interpreter imports them late."""
    tree = ast.parse((PACKAGE / '__init__.py').read_text('utf-8'))
    block, = (x for x in tree.body if isinstance(x, ast.If)
              and ast.unparse(x.test) == 'TYPE_CHECKING')
    known = {alias.name: part.module for part in block.body
             for alias in part.names}
    assert set(known) == set(pyg_mmkgc.__all__)
    for name, module in known.items():
        assert getattr(importlib.import_module(module), name) is getattr(
            pyg_mmkgc, name)


def test_tests_mirror_the_package() -> None:
    """Each folder of tests mirrors a folder of the package or benchmarks."""
    folders = {path.parent.relative_to(ROOT / 'tests')
               for path in (ROOT / 'tests').rglob('test_*.py')}
    unknown = [str(folder) for folder in folders
               if not (PACKAGE / folder).is_dir()
               and folder != Path('benchmarks')]
    assert not unknown


def readme() -> str:
    return (ROOT / 'README.md').read_text('utf-8')


def test_readme_begins_with_the_two_commands() -> None:
    """Each command is one line and creates its own virtual environment."""
    blocks = re.findall(r'^```bash\n(.*?)^```$', readme(),
                        re.MULTILINE | re.DOTALL)
    for block, end in zip(blocks[:2], ['mmkgc train countries', 'pytest'],
                          strict=True):
        assert block.count('\n') == 1
        assert block.startswith('python3 -m venv .venv && ')
        assert end in block
    assert readme().index(blocks[1]) < 1500


def test_readme_python_example_runs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r'^```python\n(.*?)^```$', readme(),
                     re.MULTILINE | re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line]) <= 12
    assert 'epochs=40' in code
    code = code.replace('epochs=40', 'epochs=1')
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    out = capsys.readouterr().out
    assert "Ranking of 'test'" in out and '(Austria, neighbour, ?)' in out
    assert (tmp_path / 'my_model' / 'model.safetensors').is_file()


def test_readme_configuration_is_valid(tmp_path: Path) -> None:
    code = re.search(r'^```yaml\n(.*?)^```$', readme(),
                     re.MULTILINE | re.DOTALL)[1]
    (tmp_path / 'my.yaml').write_text(code)
    config = load_config(str(tmp_path / 'my.yaml'))
    assert config.dataset.name == 'TSV' and config.adversary.name == 'MAT'


def write_own_data(folder: Path) -> list[str]:
    """Writes triples and features of images. Returns the labels."""
    names = ['Alice', *(f'n{i}' for i in range(1, 40))]
    relations = {1: 'worksFor', 2: 'r2', 3: 'r3'}
    (folder / 'triples.tsv').write_text(''.join(
        f'{names[i]}\t{relation}\t{names[(i + step) % 40]}\n'
        for i in range(40) for step, relation in relations.items()))
    rng = np.random.default_rng(0)
    np.savez(folder / 'images.npz', **{
        name: rng.random(4, np.float32) for name in names})
    return names


def test_readme_own_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    codes = re.findall(r'^```python\n(.*?)^```$', readme(),
                       re.MULTILINE | re.DOTALL)
    assert len(codes) == 2  # The first is tested above.
    names = write_own_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {'KnowledgeGraph': pyg_mmkgc.KnowledgeGraph}
    exec(codes[1], found)
    assert sorted(found['kg'].node_names) == sorted(names)
    assert 'visual' in capsys.readouterr().out


def test_readme_commands_within_sentences(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """With random weights instead of a download."""
    text = re.sub(r'^```.*?^```$', '', readme(),
                  flags=re.MULTILINE | re.DOTALL)
    commands = [' '.join(command.split()) for command in
                re.findall(r'`(mmkgc [^`]*)`', text)]
    assert sorted(command.split()[1] for command in commands) == [
        'evaluate', 'explore', 'models', 'predict', 'train', 'train']
    code = re.search(r'^```yaml\n(.*?)^```$', readme(),
                     re.MULTILINE | re.DOTALL)[1]
    (tmp_path / 'my.yaml').write_text(code.replace('FOLDER', '.'))
    write_own_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save({'model': ULTRA(8, 2).state_dict()}, 'ultra.pth')
    short = ['--quiet', '--device', 'cpu', '--set', 'training.epochs=1',
             'model.hidden_channels=8']
    for command in sorted(commands, key=lambda x: ('explore' in x,
                                                   '--resume' in x)):
        argv = command.replace('ultra_3g', 'ultra.pth').replace(
            'mkg_w --data-root DIR', 'countries').split()[1:]
        if '--resume' in argv:  # Of a run that is stopped before it trains.
            Run.create('rotate/countries', short[-2:], 'RUN', device='cpu')
            argv.append('--quiet')
        elif argv[0] == 'train':
            argv += short
        elif argv[0] == 'explore':  # As files, since a server does not end.
            argv += ['--export', 'site', '-k', '2']
        assert main(argv) == 0, argv
        assert capsys.readouterr().out


def test_readme_is_read_to_its_end() -> None:
    assert len(readme().splitlines()) <= 200


def test_readme_command_line_runs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """All commands run in order with small settings, on the bundled graph
    instead of a download, and with encoders without weights.
    """
    image = pytest.importorskip('PIL.Image')
    pytest.importorskip('skimage')
    code = re.search(r'^```yaml\n(.*?)^```$', readme(),
                     re.MULTILINE | re.DOTALL)[1]
    commands = re.findall(r'^mmkgc .*$', readme(), re.MULTILINE)
    # The runs that others refer to come first, the features afterwards.
    assert [command.split()[1] for command in commands[:3]] == ['train'] * 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my.yaml').write_text(code)
    (tmp_path / 'FOLDER').mkdir()
    names = write_own_data(tmp_path / 'FOLDER')
    rng = np.random.default_rng(0)
    for name in names[:5]:
        (tmp_path / 'IMAGES' / name).mkdir(parents=True)
        pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
        image.fromarray(pixels).save(tmp_path / 'IMAGES' / name / '0.png')
    (tmp_path / 'texts.tsv').write_text('entity\ttext\n' + ''.join(
        f'{name}\tThe node {name}.\n' for name in names))
    (tmp_path / 'FILE').write_text('Austria\tneighbour\t?\n')
    runs = []
    for command in commands:
        argv = shlex.split(command, comments=True)[1:]
        joined = ' '.join(argv)
        for old, new in (('train mkg_w --data-root DIR',
                          'train rotate/countries'),
                         ('mkg_w --data-root DIR', 'countries'),
                         ('clip', 'descriptor'), ('sentence-bert', 'hashing'),
                         ('epochs=100', 'epochs=1')):
            joined = joined.replace(old, new)
        argv = joined.split()
        if argv[0] == 'train':
            runs.append(f'run{len(runs)}')
            argv += ['--quiet', '--device', 'cpu', '--output', runs[-1],
                     '--seed', str(len(runs)), '--set', 'training.epochs=1',
                     'model.hidden_channels=8']
        if argv[0] == 'profile':
            argv += ['--set', 'model.hidden_channels=8']
        if argv[0] == 'explore':  # It would serve until it is interrupted.
            argv += ['--export', 'site', '-k', '1']
        known = iter(runs)
        argv = [next(known) if x == 'RUN' else x for x in argv]
        status = main(argv)
        out, err = capsys.readouterr()
        assert status == 0 and out, (command, argv, err)
    assert {'FILE.tsv', 'FILE.npz'} <= {
        path.name for path in tmp_path.iterdir()}
    assert (tmp_path / 'FILE.tsv').read_text().count('Austria') >= 10
    # The features that were made, as README uses them.
    made = 'features: {visual: visual, text: text}'
    assert f'`{made}`' in readme()
    changed = code.replace('features: {visual: images.npz}', made)
    assert changed != code
    (tmp_path / 'my.yaml').write_text(changed)
    assert main(['audit', 'my.yaml']) == 0
    assert 'visual' in capsys.readouterr().out


PAGES = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md',
         'benchmarks/README.md', 'benchmarks/speed/README.md',
         'benchmarks/pyg_baselines/README.md']


def anchors(text: str) -> set[str]:
    """Returns the anchors of headings on GitHub."""
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {re.sub(r'[^\w -]', '', x).strip().lower().replace(' ', '-')
            for x in headings}


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_to_what_exists(page: str) -> None:
    path = ROOT / page
    text = path.read_text('utf-8')
    for link in re.findall(r'\]\((?!https?:|mailto:)([^)]+)', text):
        file, _, anchor = link.partition('#')
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text('utf-8')), link


def test_readme_has_a_picture() -> None:
    name, = re.findall(r'^!\[.+\]\((.+\.png)\)$', readme(), re.MULTILINE)
    assert (ROOT / name).read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('path', sorted(
    path.relative_to(ROOT).as_posix() for path in [
        *(ROOT / '.github').rglob('*.yml'), ROOT / '.pre-commit-config.yaml']))
def test_files_of_the_repository_parse(path: str) -> None:
    """The files run the same commands as contributors."""
    data = yaml.safe_load((ROOT / path).read_text('utf-8'))
    if path == '.github/workflows/ci.yml':
        job, = data['jobs'].values()
        assert job['strategy']['matrix'] == {
            'os': ['ubuntu-latest', 'macos-latest'],
            'python-version': ['3.10', '3.13']}
        assert job['steps'][-1]['run'] == '.ci/run'
    elif path == '.pre-commit-config.yaml':
        hooks = [hook['entry'].split()[0] for repo in data['repos']
                 for hook in repo['hooks']]
        assert hooks == ['.venv/bin/ruff', '.venv/bin/mypy']
    elif path != '.github/ISSUE_TEMPLATE/config.yml':
        assert {'name', 'description', 'body'} <= set(data)
        ids = [item['id'] for item in data['body'] if 'id' in item]
        assert len(set(ids)) == len(ids) > 0


def test_nothing_refers_outside_of_the_repository() -> None:
    kinds = {'.py', '.md', '.yaml', '.yml', '.cfg', '.toml', '.txt'}
    faults = [f'{name}: {line}' for name in tracked()
              if Path(name).suffix in kinds and not name.startswith('tests/')
              for line in (ROOT / name).read_text('utf-8').splitlines()
              if re.search(r'\bissue \d+|\bshared/', line)]
    assert not faults
