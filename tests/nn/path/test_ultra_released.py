"""The authors' checkpoints: read safely, and right on a real graph."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pyg_mmkgc import DB15K, MKGW, MKGY, KnowledgeGraph, evaluate
from pyg_mmkgc.errors import (
    CheckpointError,
    DownloadError,
    FormatError,
    ModelError,
)
from pyg_mmkgc.nn.path import ULTRA, ultra


@pytest.fixture(scope='session')
def released(shared_data: Path) -> Path:
    """Returns the folder of the checkpoints next to the repository."""
    path = shared_data.parent / 'models'
    if not path.is_dir():
        pytest.skip('no checkpoints beside the repository')
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """Downloads go to a folder of the test."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'hub' / 'checkpoints'


def own(tmp_path: Path) -> Path:
    """A checkpoint as the authors' code writes it, of another size."""
    torch.manual_seed(0)
    model = ULTRA(hidden_channels=8, num_layers=2)
    torch.save({'model': model.state_dict(), 'optimizer': {'state': {}}},
               tmp_path / 'own.pth')
    return tmp_path / 'own.pth'


def test_the_size_of_the_paper() -> None:
    assert sum(p.numel() for p in ULTRA().parameters()) == 168_705


def test_a_file_of_the_authors_code(tmp_path: Path) -> None:
    path = own(tmp_path)
    before = torch.get_rng_state()
    model = ULTRA.from_pretrained(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert (model.hidden_channels, model.num_layers) == (8, 2)
    assert not model.training
    state = torch.load(path, weights_only=True)['model']
    for key, x in model.state_dict().items():
        assert torch.equal(x, state[key])


def test_a_name_is_downloaded_once(tmp_path, hub, monkeypatch) -> None:
    calls = []

    def download(url: str, path: Path, sha256: str) -> Path:
        calls.append((url, sha256))
        shutil.copy(own(tmp_path), path)
        return path

    monkeypatch.setattr(ultra, 'download', download)
    monkeypatch.setattr(ultra, 'verify_sha256', lambda path, sha256: None)
    for _ in range(2):
        ULTRA.from_pretrained('ultra_4g')
    assert calls == [ultra.CHECKPOINTS['ultra_4g']]
    assert hub.joinpath('ultra_4g.pth').is_file()


def test_another_file_under_the_name_is_refused(tmp_path, hub) -> None:
    hub.mkdir(parents=True)
    shutil.copy(own(tmp_path), hub / 'ultra_3g.pth')
    with pytest.raises(FormatError, match='SHA-256 fdedc01b'):
        ULTRA.from_pretrained('ultra_3g')


def test_no_network(hub, monkeypatch) -> None:
    def download(url: str, path: Path, sha256: str) -> Path:
        raise DownloadError(f'{url}: no network')

    monkeypatch.setattr(ultra, 'download', download)
    with pytest.raises(DownloadError, match='ultra_50g.pth: no network'):
        ULTRA.from_pretrained('ultra_50g')
    assert not hub.joinpath('ultra_50g.pth').exists()


@pytest.mark.parametrize('name', ['ultra_5g', 'nowhere', 'nowhere.pth'])
def test_no_such_model(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=name):
        ULTRA.from_pretrained(name)


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return print, ('it ran', )

    torch.save({'model': Evil()}, tmp_path / 'evil.pth')
    with pytest.raises(FormatError, match='without running code'):
        ULTRA.from_pretrained(tmp_path / 'evil.pth')


@pytest.mark.parametrize('content', [
    {}, {'model': 3}, [1], {'model': {}},
    {'model': {'entity_model.mlp.2.weight': torch.ones(1, 16)}},
    {'model': {'entity_model.mlp.2.weight': 3}}], ids=str)
def test_other_content(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match="'model' in '.*other.pth'"):
        ULTRA.from_pretrained(tmp_path / 'other.pth')


@pytest.mark.parametrize('name', list(ultra.CHECKPOINTS))
def test_the_pinned_hashes(name: str, released: Path, hub) -> None:
    hub.mkdir(parents=True)
    shutil.copy(released / f'{name}.pth', hub)
    assert ULTRA.from_pretrained(name).hidden_channels == 64


@pytest.fixture(scope='session')
def mkg_w(shared_data, tmp_path_factory) -> KnowledgeGraph:
    return _load(MKGW, 'MKG-W', shared_data, tmp_path_factory)


def _load(dataset, name, shared_data, tmp_path_factory, **kwargs):
    root = tmp_path_factory.mktemp('data')
    shutil.copytree(shared_data / name, root / name, ignore=lambda *args: [
        'text.safetensors', 'caption.tsv', 'description.tsv'])
    return dataset(root, features='none', **kwargs)[0]


def test_expected_scores_on_mkg_w(released, mkg_w) -> None:
    """Those of an independent implementation. Messages in the wrong
    direction are off by whole units.
    """
    model = ULTRA.from_pretrained(released / 'ultra_3g.pth').attach(mkg_w)
    file = json.loads((released / 'ultra_3g_on_MKG-W.json').read_text())
    for query in file['queries']:
        with torch.no_grad():
            scores = model.score_all(torch.tensor([query['given']]),
                                     torch.tensor([query['relation']]),
                                     query['asked'])[0]
        best = scores.topk(5)
        assert best.indices.tolist() == [i for i, _ in query['top5']]
        for i, wanted in [*query['top5'], query['score_of_true']]:
            assert abs(float(scores[i]) - wanted) < 1e-4


@pytest.mark.parametrize('name', ['MKG-W', 'MKG-Y', 'DB15K'])
@pytest.mark.filterwarnings('ignore')
def test_expected_ranks(name: str, released, shared_data,
                        tmp_path_factory) -> None:
    """Ranks of an independent implementation, for a few triples."""
    dataset, kwargs = {'MKG-W': (MKGW, {}), 'MKG-Y': (MKGY, {}),
                       'DB15K': (DB15K, {'valid': 'official'})}[name]
    kg = _load(dataset, name, shared_data, tmp_path_factory, **kwargs)
    file = json.loads((released / 'ultra_3g_ranks.json').read_text())[name]
    count = 10
    rows = kg.test_mask.nonzero().view(-1)
    some = rows[torch.tensor(file['test_rows'][:count])]
    kg.filter_edge_index, kg.filter_edge_type = kg.known_triples()
    kg.test_mask = torch.zeros_like(kg.test_mask)
    kg.test_mask[some] = True
    model = ULTRA.from_pretrained(released / 'ultra_3g.pth')
    ranks = evaluate(model, kg).ranks.realistic
    order = some.argsort()
    for part, key in zip(ranks.split(count), ('head_rank', 'tail_rank')):
        wanted = torch.tensor(file[key][:count], dtype=torch.double)[order]
        assert torch.equal(part.double(), wanted), key


def test_zero_shot_needs_no_model_of_the_graph() -> None:
    with pytest.raises(ModelError, match='attach'):
        ULTRA().score_all(torch.tensor([0]), torch.tensor([0]), 'tail')
