"""Entities that come after training, on the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_mmkgc import AdaMF
from pyg_mmkgc.cli import main
from pyg_mmkgc.errors import CheckpointError
from pyg_mmkgc.features import DescriptorEncoder, HashingEncoder, extract
from pyg_mmkgc.io import seal
from pyg_mmkgc.runs import Run

for _name in ('PIL', 'skimage', 'sklearn'):
    pytest.importorskip(_name)
from PIL import Image  # noqa: E402

CONFIG = """
dataset: {name: TSV, root: ., train: all.tsv, test_ratio: 0.1,
          features: {text: text, flag: flag}}
model: {name: AdaMF, hidden_channels: 4, drop_unseen: true}
sampler: {name: UniformSampler, num_negatives: 4}
training: {epochs: 1, batch_size: 64, device: cpu}
"""


def picture(i: int) -> np.ndarray:
    return np.full((8, 8, 3), 10 * i, dtype=np.uint8)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('runs')
    (folder / 'all.tsv').write_text(''.join(
        f'n{i}\t{rel}\tn{(i + k) % 20}\n' for i in range(20)
        for k, rel in [(3, 'a'), (7, 'b')]))
    for name, encoder, contents in (
            ('text', HashingEncoder(16),
             {f'n{i}': f'word{i} stone' for i in range(20)}),
            ('flag', DescriptorEncoder(),
             {f'n{i}': picture(i) for i in range(0, 20, 2)})):
        extract(contents, encoder, folder / name, num_workers=0,
                progress=False)
    (folder / 'own.yaml').write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Run.create('own.yaml', folder='run').train(progress=False)
    return folder


@pytest.fixture(autouse=True)
def work(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    Image.fromarray(picture(4)).save('four.png')
    return trained


def predict(capsys: pytest.CaptureFixture[str], *argv: str,
            run: str = 'run') -> str:
    capsys.readouterr()
    status = main(['predict', run, *argv])
    out, err = capsys.readouterr()
    return out if status == 0 else err


ASK = ['--new-entity', 'new "one"', '--relation', 'a', '-k', '3']


def test_an_image(capsys) -> None:
    """With the picture of n4 alone, it is represented by that."""
    out = predict(capsys, *ASK, '--image', 'four.png')
    assert out.splitlines()[0].startswith('(new "one", a, ?)')
    assert len(out.splitlines()) == 4
    run = Run.open('run')
    answers = run.answers()
    answers.add_entity('new "one"', images=['four.png'])
    assert answers.graph.num_nodes == 21
    torch.testing.assert_close(answers.graph.x_flag[20],
                               answers.graph.x_flag[4])
    assert answers.graph.mask_text[20].item() is False
    assert str(answers.predict('new "one"', 'a', k=3)) == out.rstrip('\n')
    named = predict(capsys, *ASK, '--image', 'flag=four.png')
    assert named == out
    # Tails and heads, and without the graph of the run.
    out = predict(capsys, *ASK[:4], '--tail', 'n3', '--image', 'four.png')
    assert out.startswith('(?, a, n3)')
    out = predict(capsys, '--new-entity', 'x', '--head', 'n1', '--relation',
                  'a', '-k', '21', '--image', 'four.png')
    assert ' x ' in out and out.startswith('(n1, a, ?)')
    alone = predict(capsys, *ASK, '--image', 'four.png', run='run/model')
    assert [row.split()[1] for row in alone.splitlines()[1:]] == [
        row.split()[1] for row in named.splitlines()[1:]]


def test_what_is_refused(capsys) -> None:
    for argv, message in (
            (ASK, "a text or an image of the new entity 'new \"one\"'"),
            (['--head', 'n1', '--relation', 'a', '--text', 'x'],
             'Expected --new-entity NAME with --text'),
            ([*ASK, '--text', 'word4'], 'with num_channels 16 .got 384'),
            ([*ASK, '--image', 'gone.png'], 'not there|No such file'),
            ([*ASK, '--image', 'four.png', '--encoder', 'descriptor'],
             r"MODALITY=NAME .*\['text', 'flag'\] .got 'descriptor'"),
            ([*ASK, '--image', 'four.png', '--encoder', 'flag=nothing'],
             "an encoder of .*got 'nothing'"),
            (['--new-entity', 'n1', '--relation', 'a', '--image',
              'four.png'], "new nodes .got 'n1', which is in the graph")):
        err = predict(capsys, *argv)
        assert err.startswith('mmkgc: error: '), (argv, err)
        assert re.search(message, err), (argv, err)


def test_other_weights_and_unknown_encoders(capsys, tmp_path) -> None:
    model = Run.open('run').load_model()
    model.feature_encoders['flag']['weights_sha256'] = 'abc'
    model.save_pretrained(tmp_path / 'other')
    err = predict(capsys, *ASK, '--image', 'four.png',
                  run=str(tmp_path / 'other'))
    assert 'weights_sha256 abc' in err
    model.feature_encoders = None
    model.save_pretrained(tmp_path / 'none')
    err = predict(capsys, *ASK, '--image', 'four.png',
                  run=str(tmp_path / 'none'))
    assert 'one modality of images (got 0 among' in err
    err = predict(capsys, *ASK, '--image', 'flag=four.png',
                  run=str(tmp_path / 'none'))
    assert '--encoder flag=NAME' in err
    out = predict(capsys, *ASK, '--image', 'flag=four.png', '--encoder',
                  'flag=descriptor', run=str(tmp_path / 'none'))
    assert out.startswith('(new "one", a, ?)')


def test_saved_with_the_model() -> None:
    saved = json.loads(Path('run/model/config.json').read_text())
    assert saved['feature_encoders']['flag']['name'] == 'descriptor'
    assert saved['feature_encoders']['text']['kind'] == 'text'
    saved['feature_encoders'] = ['descriptor']
    Path('damaged').mkdir()
    for name in ('labels.json', 'model.safetensors'):
        (Path('damaged') / name).write_bytes(
            (Path('run/model') / name).read_bytes())
    Path('damaged/config.json').write_text(json.dumps(saved))
    seal(Path('damaged'), ['config.json', 'labels.json', 'model.safetensors'])
    with pytest.raises(CheckpointError, match='feature_encoders'):
        AdaMF.from_pretrained('damaged')
