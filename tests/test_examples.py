"""Every example runs and prints the promised results."""

import contextlib
import doctest
import io
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from pyg_mmkgc.cli import main
from pyg_mmkgc.testing import check_model

FOLDER = Path(__file__).resolve().parents[1] / 'examples'
NUMBER = r'(\d\.\d{4})'


def execute(name: str, folder: Path,
            *args: str) -> tuple[str, dict[str, Any]]:
    """Runs an example in an empty folder and returns its output and names. It
    runs in this process, since importing torch takes seconds.
    """
    with (pytest.MonkeyPatch.context() as patch,
          contextlib.redirect_stdout(io.StringIO()) as out):
        patch.chdir(folder)
        patch.setattr(sys, 'argv', [name, *args])
        names = runpy.run_path(str(FOLDER / name), run_name='__main__')
    return out.getvalue(), names


def run(name: str, folder: Path, *args: str) -> str:
    """Returns the output of an example."""
    return execute(name, folder, *args)[0]


def numbers(pattern: str, text: str) -> list[float]:
    """Returns the numbers in place of ``{}`` in all matches of a pattern."""
    return [float(x) for x in re.findall(pattern.replace('{}', NUMBER), text)]


def test_adamf_mat_pyg_loop(tmp_path: Path) -> None:
    out = run('adamf_mat_pyg_loop.py', tmp_path, '--epochs', '5')
    losses = numbers('Loss: {}', out)
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    mrr, = numbers('Val MRR: {}', out)
    assert mrr > 0.02  # A guess has 0.0025.
    assert "Ranking of 'test'" in out


def test_distributed(tmp_path: Path) -> None:
    args = ['--epochs', '2', '--folder', 'run', '--hidden_channels', '8']
    out = run('distributed.py', tmp_path, *args)
    assert 'Processes: 1, best epoch: 2' in out
    mrr, = numbers('Test MRR: {}', out)
    assert 0 < mrr < 1
    assert run('distributed.py', tmp_path, *args) == out  # Resumed.
    assert (tmp_path / 'run' / 'model' / 'config.json').is_file()


@pytest.mark.slow
def test_adamf_mat_trainer(tmp_path: Path) -> None:
    out = run('adamf_mat_trainer.py', tmp_path, '--epochs', '5')
    assert 'Best epoch: 005' in out
    assert "Ranking of 'test'" in out
    assert '(Austria, neighbour, ?)' in out
    assert 'the same MRR: True' in out


@pytest.mark.slow
def test_compare_pyg_models(tmp_path: Path) -> None:
    out = run('compare_pyg_models.py', tmp_path, '--epochs', '2',
              '--hidden_channels', '16')
    rows = re.findall(rf'^(\w+) +{NUMBER}  {NUMBER}  {NUMBER}  +[\d.]+$', out,
                      re.MULTILINE)
    assert [row[0] for row in rows] == ['TransE', 'DistMult', 'ComplEx',
                                        'RotatE', 'AdaMFMAT']
    for _, mrr, first, tenth in rows:
        assert float(first) <= float(mrr) <= 1
        assert float(first) <= float(tenth) <= 1


def test_own_data(tmp_path: Path) -> None:
    folder = tmp_path / 'new' / 'graph'
    out = run('own_data.py', tmp_path, '--folder', str(folder))
    lines = (folder / 'triples.tsv').read_text('utf-8').splitlines()
    assert len(lines) == 97 * 6
    assert lines[0] == '0\tplus_1\t1'
    # 95 + 5 = 3 modulo 97: in the file, or worked out from the rest of it.
    answers = out[out.index('(95, plus_5, ?)'):].splitlines()[1:]
    assert answers[0].split()[:2] == ['1', '3']


def test_own_tables(tmp_path: Path) -> None:
    for name in ['pandas', 'PIL', 'skimage', 'sklearn']:
        pytest.importorskip(name)
    out, names = execute('own_tables.py', tmp_path, '--folder',
                         str(tmp_path / 'tables'), '--epochs', '30')
    assert 'The file has the same labels: True' in out
    masks = names['kg'].masks()
    assert list(masks) == ['text', 'picture', 'place']
    assert len({int(mask.sum()) for mask in masks.values()}) == 3
    mrr, = numbers('AdaMF, unseen entities: {} MRR', out)
    assert mrr > 0.2  # A guess has 0.07.
    assert 'Øvre\\x09Dal' in ''.join(out.split('located in, ?)')[1].split(
        '\n')[1:4])
    assert names['model'].num_nodes == names['kg'].num_nodes
    assert names['more'].node_names[-1] == 'Neu-"Øvre"\tДал'


@pytest.mark.slow
def test_missing_modality(tmp_path: Path) -> None:
    out = run('missing_modality.py', tmp_path, '--epochs', '10', '--rates',
              '0', '0.8', '--num_nodes', '120')
    head, *rows = out.splitlines()[1:]
    assert head.split() == ['Missing', 'random', 'zeros', 'mean', 'learned',
                            'drop']
    table = [[float(x) for x in row.split()[1:]] for row in rows]
    assert [row.split()[0] for row in rows] == ['0%', '80%']
    assert len(set(table[0])) == 1  # Nothing is missing.
    assert max(table[1]) < table[0][0]


def test_new_model(tmp_path: Path) -> None:
    out, names = execute('new_model.py', tmp_path, '--epochs', '6',
                         '--hidden_channels', '8')
    assert 'structure, ' in out
    for mrr in numbers('Test MRR: {}', out):
        assert mrr > 0.02  # A guess has 0.0025.
    check_model(names['WithModalities'], hidden_channels=4, lr=0.1)


@pytest.mark.parametrize('conv', ['RGCNConv', 'CompGCNConv'])
def test_gnn_encoder(tmp_path: Path, conv: str) -> None:
    out = run('gnn_encoder.py', tmp_path, '--folder', str(tmp_path / 'model'),
              '--conv', conv, '--epochs', '1', '--hidden_channels', '8')
    assert "Ranking of 'test'" in out
    assert 'the MRR is equal: True' in out


def test_raw_to_predictions(tmp_path: Path) -> None:
    for name in ['PIL', 'skimage', 'sklearn']:
        pytest.importorskip(name)
    out = run('raw_to_predictions.py', tmp_path, '--folder',
              str(tmp_path / 'raw'), '--text_encoder', 'hashing', '--epochs',
              '2', '--hidden_channels', '16')
    assert len(list((tmp_path / 'raw/flags').glob('*/flag.png'))) == 250
    assert '250 rows, 304 channels, float32, by descriptor' in out
    assert 'equal: Australia, Heard Island and McDonald Islands' in out
    assert '3,587 rows, 384 channels, float32, by hashing' in out
    assert 'x_visual=[3706, 304]' in out and 'mask_text=[3706]' in out
    assert "Ranking of 'test'" in out
    answers = out[out.index('(Austria, neighbour, ?)'):].splitlines()
    assert len(answers) == 6


def test_day_in_the_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                         capsys: pytest.CaptureFixture[str]) -> None:
    for name in ['pandas', 'matplotlib']:
        pytest.importorskip(name)
    folder = tmp_path / 'day'
    out = run('day_in_the_life.py', tmp_path, '--folder', str(folder))
    answers = out[out.index('(09:00, quarter_later, ?)'):].splitlines()
    assert answers[0] == '(09:00, quarter_later, ?)  without 09:00 itself'
    assert answers[1].split()[1] == '09:15'
    assert '00:00 has rank 1 of 96' in out
    assert '(00:00: no light features)' in out
    assert r'\begin{tabular}' in (folder / 'table.tex').read_text()
    page = (folder / 'day.html').read_text('utf-8')
    for part in ['AuditReport', 'Comparison', 'Prediction', 'Explanation']:
        assert f'<b>{part}</b>' in page
    assert page.count('<table>') == page.count('</table>') >= 8
    assert (folder / 'why.png').read_bytes().startswith(b'\x89PNG')

    # The transcript of the command line, in the files that it wrote.
    monkeypatch.chdir(folder)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    text = (FOLDER / 'day_in_the_life.txt').read_text('utf-8')
    commands = re.split(r'^\$ ', text, flags=re.MULTILINE)[1:]
    assert len(commands) >= 10
    for command, _, expected in (x.partition('\n') for x in commands):
        program, *argv = shlex.split(command)
        capsys.readouterr()
        if program == 'cat':
            got = Path(argv[0]).read_text('utf-8')
        else:
            assert program == 'mmkgc'
            assert main(argv) == 0, command
            got = capsys.readouterr().out
        assert doctest.OutputChecker().check_output(
            expected.strip() + '\n', got.strip() + '\n', flags), (command,
                                                                 got)


def test_all_are_tested() -> None:
    """`build_countries.py` needs additional packages."""
    names = {path.stem for path in FOLDER.glob('*.py')} - {'build_countries'}
    assert names == {name.removeprefix('test_') for name in globals()
                     if name.startswith('test_')} - {'all_are_tested'}
