"""Paired comparisons of results."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation import RankingResult, compare, evaluate
from pyg_mmkgc.evaluation.compare import (
    compare_rankings,
    paired_bootstrap,
    spread,
)
from pyg_mmkgc.io.tensors import load_tensors
from pyg_mmkgc.metrics import Ranks
from pyg_mmkgc.nn import DistMult

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks' / 'results'


def test_bootstrap_of_all_resamples() -> None:
    # Three queries have 27 resamples, so the exact distribution is known.
    first, second = np.array([1.0, 0.5, 0.2]), np.array([0.5, 0.6, 0.1])
    means = sorted(np.mean([(first - second)[i] for i in draw])
                   for draw in itertools.product(range(3), repeat=3))
    mean, low, high, p = paired_bootstrap(first, second)
    assert mean == pytest.approx(np.mean(first - second))
    exact = np.quantile(means, [0.025, 0.975], method='inverted_cdf')
    assert [low, high] == pytest.approx(exact)
    share = np.mean([x <= 0 for x in means])
    assert p == pytest.approx(min(1, 2 * share), abs=0.03)
    # In a paired test, a constant advantage is certain despite any noise.
    noisy = np.random.default_rng(0).random(1000)
    _, low, high, p = paired_bootstrap(noisy + 0.01, noisy)
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)
    assert p < 0.001
    with pytest.raises(DataError, match='same queries'):
        paired_bootstrap(noisy, noisy[1:])


def test_bootstrap_of_many_is_that_of_each() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.random((2, 3, 5000))
    together = paired_bootstrap(first, second)
    for i in range(3):
        alone = paired_bootstrap(first[i], second[i])
        np.testing.assert_allclose([x[i] for x in together], alone,
                                   rtol=1e-9)


def test_spread() -> None:
    assert spread([1.0, 2.0]) == '1.50 ± 0.71'
    assert spread([1.234]) == '1.23'


def test_the_published_table_is_reproduced() -> None:
    """The published table follows from the committed rankings of 23 methods.
    """
    tensors, _ = load_tensors(BENCHMARKS / 'table2_mkg_w_queries.safetensors')
    found = compare_rankings({name: {'mrr': x.numpy()}
                              for name, x in tensors.items()}, 'AdaMF-MAT')
    lines = (BENCHMARKS / 'table2_mkg_w.md').read_text('utf-8').splitlines()
    head = [cell.strip() for cell in lines[2].split('|')]
    place = head.index('difference from AdaMF-MAT')
    mrr = head.index('MRR')
    expected, means = {}, {}
    for line in lines[4:lines.index('', 4)]:
        cells = [cell.strip() for cell in line.split('|')]
        means[cells[1]] = cells[mrr].split(' ')[0]
        if cells[1] != 'AdaMF-MAT':
            expected[cells[1]] = cells[place]
    assert len(expected) == 22
    assert {name: str(x['mrr'])
            for name, x in found.differences.items()} == expected
    assert {row[0]: row[1] for row in found.table().rows} == means


def result(ranks: list[int], seed: int = 0) -> RankingResult:
    """Returns rankings of one side with the given realistic ranks."""
    x = torch.tensor(ranks)
    size = torch.arange(x.numel())
    return RankingResult(
        Ranks(x, x, torch.full_like(x, 100)), size, size * 0, size,
        {name: (['all'], size * 0) for name in (
            'side', 'entities', 'category', 'category_side', 'relation')},
        {'split': 'test', 'filter': 'train+test', 'ties': 'realistic',
         'sides': ['tail'], 'num_triples': x.numel(),
         'num_rankings': x.numel(), 'num_queries': x.numel(),
         'num_nodes': 100, 'mean_candidates': 100.0})


def test_two_results_by_hand() -> None:
    found = compare(result([2] * 20), result([1, 4] * 10))
    assert found.reference == 'A' and found.names == ['A', 'B']
    mrr = found.differences['B']['mrr']
    assert mrr.mean == pytest.approx((1 + 0.25) / 2 - 0.5)
    assert mrr.low < mrr.mean < mrr.high
    # Of 20 draws of +0.5 or -0.25, 6 to 14 are the former in 95 of 100 cases.
    assert mrr.low == pytest.approx((6 * 0.5 - 14 * 0.25) / 20)
    assert mrr.high == pytest.approx((14 * 0.5 - 6 * 0.25) / 20)
    hits = {name: x.mean for name, x in found.differences['B'].items()}
    assert hits == {'mrr': mrr.mean, 'hits@1': 0.5, 'hits@3': -0.5,
                    'hits@10': 0.0}
    assert found.differences['B']['hits@10'].p == 1.0
    assert found.metrics['B']['hits@1'] == [0.5]
    assert json.loads(json.dumps(found.to_dict()))['reference'] == 'A'
    line = str(found).split('\n')[2]
    assert re.fullmatch(r'B +62.50 +50.00 +50.00 +100.00 +\+12.50 '
                        r'\[-2.50, \+27.50\], p = 0.1\d\d', line)
    assert 'reference=' in repr(found)


def test_seeds_are_averaged_and_spread() -> None:
    found = compare([result([1] * 9), result([2] * 9)], result([4] * 9),
                    names=['two seeds', 'one'])
    mrr = found.differences['one']['mrr']
    assert [mrr.mean, mrr.low, mrr.high] == pytest.approx([-0.5] * 3)
    assert found.metrics['two seeds']['mrr'] == [1.0, 0.5]
    table = found.table()
    assert table.columns[1:3] == ['seeds', 'MRR']
    assert table.rows[0][1:3] == [2, '75.00 ± 35.36']
    assert table.rows[1][1:3] == [1, '25.00']
    assert r'75.00 $\pm$ 35.36' in found.to_latex()
    assert found.table('differences').rows[0][:2] == ['one', 'mrr']


def test_results_that_do_not_fit() -> None:
    base = result([1, 2, 3])
    other = dataclasses.replace(base, tail_index=base.tail_index + 1)
    with pytest.raises(DataError, match="same triples.*for 'B'"):
        compare(base, other)
    with pytest.raises(DataError, match='same triples'):
        compare(base, result([1, 2]))
    for key, value in [('filter', 'none'), ('split', 'val'),
                       ('sides', ['head']), ('ties', 'optimistic')]:
        other = dataclasses.replace(base, protocol={**base.protocol,
                                                    key: value})
        with pytest.raises(DataError, match=f'one protocol.*{key}'):
            compare(base, other)
    for args in ([base], [base, []]):
        with pytest.raises(ConfigError, match='two or more methods'):
            compare(*args)
    for names in (['a'], ['a', 'a']):
        with pytest.raises(ConfigError, match='2 different names'):
            compare(base, base, names=names)
    with pytest.raises(ConfigError, match="'reference'.*one of 'a'.*got 'b'"):
        compare_rankings({'a': {'mrr': np.ones(3)}}, 'b')
    with pytest.raises(DataError, match='got 2, 3'):
        compare_rankings({'a': {'mrr': np.ones(3)},
                          'b': {'mrr': np.ones(2)}}, 'a')


def test_results_are_saved_whole(hand_kg: KnowledgeGraph,
                                 tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = evaluate(DistMult(7, 2, 4), hand_kg)
    made.save(tmp_path / 'a.safetensors')
    read = RankingResult.load(tmp_path / 'a.safetensors')
    assert read.to_dict() == made.to_dict() and str(read) == str(made)
    assert compare(made, read).differences['B']['mrr'].mean == 0
    from pyg_mmkgc.errors import FormatError
    with pytest.raises(FormatError, match='RankingResult.save'):
        RankingResult.load(BENCHMARKS / 'table2_mkg_w_queries.safetensors')
