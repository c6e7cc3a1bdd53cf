import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import torch

import pyg_mmkgc.datasets.countries as module
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets.countries import Countries
from pyg_mmkgc.errors import FormatError

FOLDER = Path(module.__file__).parent / 'countries_data'
SYMMETRIC = {'neighbour', 'near'}


@pytest.fixture(scope='module')
def dataset():
    return Countries()


@pytest.fixture(scope='module')
def splits(dataset):
    """The triples of each split by label, as Python sets."""
    kg = dataset[0]
    out = {}
    for name in ['train', 'val', 'test']:
        mask = getattr(kg, f'{name}_mask')
        out[name] = [(kg.node_names[h], kg.relation_names[r],
                      kg.node_names[t])
                     for (h, t), r in zip(kg.edge_index[:, mask].t().tolist(),
                                          kg.edge_type[mask].tolist(),
                                          strict=True)]
    return out


def test_countries_sizes(dataset, splits):
    kg = dataset[0]
    assert isinstance(kg, KnowledgeGraph)
    assert len(dataset) == 1
    assert kg.validate()
    assert (kg.num_nodes, kg.num_relations) == (3706, 16)
    assert [len(rows) for rows in splits.values()] == [9901, 1238, 1236]
    assert kg.edge_index.min() == 0
    assert kg.edge_index.max() == kg.num_nodes - 1
    assert len(set(kg.node_names)) == kg.num_nodes
    assert set(kg.edge_index.view(-1).tolist()) == set(range(kg.num_nodes))


def test_countries_is_small_and_licensed():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 3_000_000
    licences = (FOLDER / 'LICENSES.md').read_text('utf-8')
    for word in ['GeoNames', 'CC BY 4.0', 'CLDR', 'Unicode License V3',
                 'flag-icons', 'MIT License', 'all-MiniLM-L6-v2', 'Apache']:
        assert word in licences


def test_countries_no_leakage(splits):
    split_of = defaultdict(set)
    rows = 0
    for name, triples in splits.items():
        assert len(set(triples)) == len(triples)
        assert {r for _, r, _ in triples} == {r for _, r, _
                                              in splits['train']}
        for head, _, tail in triples:
            assert head != tail
            split_of[frozenset((head, tail))].add(name)
            rows += 1
    # All triples between the same two nodes, in either direction, are in one
    # split.
    assert all(len(names) == 1 for names in split_of.values())
    assert len({t for triples in splits.values() for t in triples}) == rows


def test_countries_only_symmetric_relations_have_an_inverse(splits):
    pairs = defaultdict(set)
    for triples in splits.values():
        for head, rel, tail in triples:
            pairs[rel].add((head, tail))
    for rel, forward in pairs.items():
        for other, backward in pairs.items():
            reverse = {(t, h) for h, t in backward}
            if rel == other and rel in SYMMETRIC:
                assert forward == reverse
            else:
                assert not forward & reverse, (rel, other)


@pytest.mark.parametrize('name', ['train', 'val', 'test'])
@pytest.mark.parametrize('rel', sorted(SYMMETRIC))
def test_countries_symmetric_pairs_stay_together(splits, name, rel):
    pairs = {(h, t) for h, r, t in splits[name] if r == rel}
    assert len(pairs) > 0
    assert pairs == {(t, h) for h, t in pairs}


def test_countries_unseen_nodes_are_few(splits, dataset):
    seen = {node for h, _, t in splits['train'] for node in (h, t)}
    unseen = dataset[0].num_nodes - len(seen)
    assert 0 < unseen < 0.05 * dataset[0].num_nodes


@pytest.mark.parametrize('triple', [
    ('Austria', 'neighbour', 'Germany'),
    ('Germany', 'neighbour', 'Austria'),
    ('Austria', 'capital', 'Vienna'),
    ('Austria', 'uses_currency', 'Euro'),
    ('Austria', 'used_currency', 'Austrian Schilling'),
    ('Austria', 'official_language', 'German'),
    ('Austria', 'in_subregion', 'Western Europe'),
    ('Austria', 'in_continent', 'Europe'),
    ('Vienna', 'in_time_zone', 'Europe/Vienna'),
    ('Europe/Vienna', 'time_zone_of', 'Austria'),
    ('Europe/Vienna', 'utc_offset', 'UTC+01:00'),
    ('Europe/Vienna', 'keeps_time', 'Central European Time'),
    ('Munich', 'located_in', 'Germany'),
    ('Japan', 'capital', 'Tokyo'),
    ('Russian', 'written_in', 'Cyrillic'),
    ('Asia/Kathmandu', 'utc_offset', 'UTC+05:45'),
    ('Brazil', 'official_language', 'Portuguese'),
])
def test_countries_facts(splits, triple):
    assert sum(triple in set(rows) for rows in splits.values()) == 1


@pytest.mark.parametrize('triple', [
    ('Austria', 'neighbour', 'France'),
    ('Vienna', 'located_in', 'Austria'),  # Would reveal the capital.
    ('Portugal', 'neighbour', 'Germany'),
])
def test_countries_non_facts(splits, triple):
    assert all(triple not in rows for rows in splits.values())


def test_countries_functional_relations(splits):
    """A city is in one country, a time zone has one offset, and so on."""
    for rel in ['located_in', 'in_time_zone', 'utc_offset', 'time_zone_of',
                'capital', 'in_continent', 'in_subregion', 'uses_currency']:
        heads = [h for rows in splits.values() for h, r, _ in rows if r == rel]
        assert len(set(heads)) == len(heads), rel


def test_countries_features(dataset):
    kg = dataset[0]
    assert set(kg.modalities) == {'text', 'visual'}
    assert kg.x_text.size() == (kg.num_nodes, 384)
    assert kg.x_visual.size() == (kg.num_nodes, 304)
    for name, x in kg.features().items():
        mask = kg.masks()[name]
        assert x.dtype == torch.float
        assert x.isfinite().all()
        assert (x[~mask] == 0).all()
        assert (x[mask].norm(dim=1) > 0.5).all()
    # Sentence embeddings are unit vectors, even in 8 bits.
    norm = kg.x_text[kg.mask_text].norm(dim=1)
    assert torch.allclose(norm, torch.ones_like(norm), atol=5e-3)


def test_countries_masks(dataset):
    kg = dataset[0]
    kinds = dataset.kinds
    assert kg.mask_visual.tolist() == [kind == 'country' for kind in kinds]
    assert kg.mask_text.tolist() == [text != ''
                                     for text in dataset.descriptions]
    without = {kind for kind, has in zip(kinds, kg.mask_text.tolist(),
                                         strict=True) if not has}
    assert without == {'language', 'utc offset'}
    assert int(kg.mask_visual.sum()) == 250


def test_countries_text_is_about_its_node(dataset):
    kg = dataset[0]
    index = {name: i for i, name in enumerate(kg.node_names)}

    def similarity(a: str, b: str) -> float:
        return float(kg.x_text[index[a]] @ kg.x_text[index[b]])

    assert (similarity('Swiss Franc', 'Switzerland')
            > similarity('Swiss Franc', 'Japan'))
    assert similarity('Osaka', 'Japan') > similarity('Osaka', 'Brazil')


def test_countries_descriptions_do_not_tell_the_country(dataset, splits):
    text = dict(zip(dataset[0].node_names, dataset.descriptions, strict=True))
    assert text['Munich'].startswith('Munich, a city of ')
    for rows in splits.values():
        for head, rel, tail in rows:
            if rel == 'located_in' and tail not in head:
                assert tail not in text[head]
            if rel == 'capital':
                assert 'capital' not in text[tail]


def test_countries_thumbnails(dataset):
    kg, flags = dataset[0], dataset.thumbnails
    assert flags.dtype == torch.uint8
    assert flags.size() == (250, 18, 24, 3)
    flag = flags[kg.node_names.index('Austria')].int()
    # Red, white, red.
    for row, red in [(2, True), (8, False), (15, True)]:
        r, g, b = flag[row, 12].tolist()
        assert r > 180
        assert (g < 90 and b < 90) if red else (g > 220 and b > 220)
    flag = flags[kg.node_names.index('France')].int()
    assert flag[9, 3, 2] > flag[9, 3, 0]
    assert flag[9, 20, 0] > flag[9, 20, 2]


def test_countries_audit(dataset):
    assert 'duplicates                         0' in str(dataset[0].audit())


def test_countries_transform():
    def transform(data):
        data.seen = True
        return data

    assert Countries(transform=transform)[0].seen
    assert 'seen' not in Countries()[0]


def test_countries_writes_nothing(tmp_path):
    root = tmp_path / 'copy'
    shutil.copytree(FOLDER, root)
    before = {p.name: p.stat().st_mtime_ns for p in root.iterdir()}
    assert torch.equal(Countries(root)[0].edge_index,
                       Countries()[0].edge_index)
    assert {p.name: p.stat().st_mtime_ns for p in root.iterdir()} == before


@pytest.mark.parametrize(('line', 'message'), [
    ('Austria\tneighbour\tAtlantis', 'Atlantis'),
    ('Austria\tneighbour', 'Expected 3 columns .*got 2'),
])
def test_countries_broken_file(tmp_path, line, message):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    with (tmp_path / 'test.tsv').open('a', encoding='utf-8') as file:
        file.write(line + '\n')
    with pytest.raises(FormatError, match=message):
        Countries(tmp_path)
