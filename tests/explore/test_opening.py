"""From the folders of runs and models to the page."""

import io
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_mmkgc import AdaMF, Countries
from pyg_mmkgc.cli import main
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.explore import open_explorer

Image = pytest.importorskip('PIL.Image')

CONFIG = """
dataset: {{name: TSV, root: ., train: all.tsv, val_ratio: 0.1,
          test_ratio: 0.1, features: {{audio: audio.npz}}}}
model: {{name: {model}, hidden_channels: 4}}
sampler: {{name: UniformSampler, num_negatives: 4}}
training: {{epochs: 1, batch_size: 64, valid_every: 1, device: cpu}}
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on a graph, with images and texts of its nodes."""
    folder = tmp_path_factory.mktemp('runs')
    generator = np.random.default_rng(0)
    rows = {(f'node {a}', f'rel {r}', f'node {b}') for a, r, b in zip(
        *(generator.integers(0, high, 150) for high in (20, 3, 20)),
        strict=True)}
    (folder / 'all.tsv').write_text(''.join(
        '\t'.join(row) + '\n' for row in sorted(rows)))
    np.savez(folder / 'audio.npz', **{
        f'node {i}': generator.random(3, dtype=np.float32)
        for i in range(15)})
    (folder / 'texts.tsv').write_text(
        'entity\ttext\nnode 3\tThe third.\nnode 4\t\n')
    for i in (3, 5):
        (folder / 'images' / f'node {i}').mkdir(parents=True)
        Image.new('RGB', (400, 300), (9 * i, 0, 0)).save(
            folder / 'images' / f'node {i}' / 'one.png')
    (folder / 'images' / 'node 5' / 'one.png').write_bytes(b'no picture')
    for model in ('AdaMF', 'RotatE'):
        (folder / f'{model}.yaml').write_text(CONFIG.format(model=model))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert main(['train', f'{model}.yaml', '--quiet', '--output',
                         model]) == 0
    return folder


def test_two_runs_with_images_and_texts(folder: Path) -> None:
    found = open_explorer([str(folder / 'AdaMF'), str(folder / 'RotatE')],
                          images=str(folder / 'images'),
                          texts=str(folder / 'texts.tsv'))
    assert [x.name for x in found.subjects] == ['AdaMF', 'RotatE']
    assert found.compare() is not None  # Of the ranks that training left.
    node = found.find('node 3')
    assert node is not None
    assert found.media.text(node) == 'The third.'
    assert found.media.thumbnail(node)[:4] == b'\x89PNG'
    for label, has in (('node 4', False), ('node 5', True)):
        node = found.find(label)
        assert found.media.has_picture(node) is has
        assert found.media.thumbnail(node) is None
        assert found.media.text(node) is None


def test_a_saved_model_with_and_without_its_graph(folder: Path) -> None:
    model = str(folder / 'AdaMF' / 'model')
    assert not open_explorer([model]).has_graph
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = open_explorer([model], kg='AdaMF.yaml')
    assert found.has_graph
    assert found.rankings(0) is None
    assert found.rankings(0, compute=True) is not None


def test_pictures_and_texts_of_countries(tmp_path: Path) -> None:
    """In the numbering of the model, which may be another."""
    data = Countries()
    kg = data[0]
    AdaMF.from_data(kg, hidden_channels=4).save_pretrained(tmp_path, kg)
    found = open_explorer([str(tmp_path)], kg='countries')
    node = found.find('Austria')
    assert found.media.text(node).startswith('Austria')
    assert found.media.has_picture(node)
    assert not found.media.has_picture(found.find('Vienna'))
    image = np.asarray(Image.open(io.BytesIO(
        found.media.thumbnail(node))))
    flag = data.thumbnails[kg.node_names.index('Austria')].double()
    assert torch.from_numpy(image.copy()).double().mean(dim=(0, 1)).tolist(
        ) == pytest.approx(flag.mean(dim=(0, 1)).tolist(), abs=4)


def test_the_command_exports(folder: Path, tmp_path: Path,
                             capsys: pytest.CaptureFixture[str]) -> None:
    queries = tmp_path / 'queries.tsv'
    queries.write_text('node 3\trel 1\t?\n')
    out = tmp_path / 'site'
    assert main(['explore', str(folder / 'AdaMF'), '--export', str(out),
                 '--queries', str(queries), '-k', '2']) == 0
    count = len(list(out.glob('*.html')))
    assert capsys.readouterr().out == f'{count} pages: {out}\n'
    text = next(out.glob('ask-*.html')).read_text('utf-8')
    assert len(re.findall(r'<span class="rank">', text)) == 2


@pytest.mark.slow
def test_the_command_serves_until_it_is_ended(folder: Path) -> None:
    pytest.importorskip('uvicorn', reason='needs the extra explore')
    with subprocess.Popen(
            [sys.executable, '-u', '-c', 'import sys, pyg_mmkgc.cli as c; '
             'sys.exit(c.main(sys.argv[1:]))', 'explore',
             str(folder / 'AdaMF'), '--port', '0'],
            stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.match(r'http://127\.0\.0\.1:\d+',
                               process.stdout.readline())[0]
            answer = None
            while answer is None:  # It is loaded while the address answers.
                try:
                    answer = urllib.request.urlopen(address, timeout=60)
                except urllib.error.HTTPError as error:
                    assert error.code == 503
                    assert 'Loading' in error.read().decode()
            with answer:
                assert 'AdaMF' in answer.read().decode()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143
        finally:
            process.kill()


@pytest.mark.parametrize('more, message', [
    (['--queries', 'file'], '--export with --queries'),
    (['--port', '70000'], 'from 0 to 65535 .got 70000'),
    (['--kg', 'nowhere'], 'nowhere')])
def test_the_command_refuses(folder: Path, more: list[str], message: str,
                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['explore', str(folder / 'AdaMF' / 'model'), *more]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_two_graphs_are_refused(folder: Path, tmp_path: Path) -> None:
    kg = Countries()[0]
    AdaMF.from_data(kg, hidden_channels=4).save_pretrained(tmp_path, kg)
    with pytest.raises(DataError, match='same nodes and relations'):
        open_explorer([str(folder / 'AdaMF'), str(tmp_path)])
    with pytest.raises(ConfigError, match='one model or two'):
        open_explorer([str(tmp_path)] * 3)
