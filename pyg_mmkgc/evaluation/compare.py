r"""Significance tests for the differences between results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation.result import HITS, RankingResult
from pyg_mmkgc.report import Report, Table

DRAWS = 10_000
# The number of counts per block of draws: 32 MiB in double precision.
BLOCK = 1 << 22
_NAMES = {'mrr': 'MRR', **{f'hits@{k}': f'Hits@{k}' for k in HITS}}
# The parts of the protocol that have to agree for a comparison.
_PROTOCOL = ('split', 'filter', 'ties', 'sides', 'num_nodes')


@dataclass(frozen=True)
class Difference:
    r"""The difference of two means over the same rankings, with its 95 %
    interval and two-sided p-value.
    """
    mean: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        p = '< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'
        return (f'{100 * self.mean:+.2f} [{100 * self.low:+.2f}, '
                f'{100 * self.high:+.2f}], p {p}')


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Report):
    r"""The result of :func:`compare`. Printing it shows a table in percent.

    Args:
        names (list[str]): The name of each method.
        reference (str): The method that the others are compared with.
        metrics (dict): For each method and metric, one value per seed.
        differences (dict): For each other method and metric, the difference
            from the reference.
        caption (str): The protocol under which the results were obtained.
    """
    names: list[str]
    reference: str
    metrics: dict[str, dict[str, list[float]]]
    differences: dict[str, dict[str, Difference]]
    caption: str = field(repr=False)

    table_names = ('methods', 'differences')

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the comparison as plain values, ready for JSON."""
        return {
            'reference': self.reference,
            'metrics': self.metrics,
            'differences': {name: {metric: vars(value) for metric, value
                                   in values.items()}
                            for name, values in self.differences.items()},
            'caption': self.caption}

    def summary(self) -> dict[str, Any]:
        return {'reference': self.reference, **{
            name: str(values['mrr'])
            for name, values in self.differences.items()}}

    def make_table(self, name: str) -> Table:
        if name == 'differences':
            return Table(
                ['method', 'metric', 'difference', 'low', 'high', 'p'],
                [[method, metric, d.mean, d.low, d.high, d.p]
                 for method, values in self.differences.items()
                 for metric, d in values.items()],
                f'Differences from {self.reference}')
        metrics = list(self.metrics[self.names[0]])
        seeds = any(len(x['mrr']) > 1 for x in self.metrics.values())
        columns = ['method', *['seeds'] * seeds,
                   *(_NAMES[x] for x in metrics),
                   f'MRR minus {self.reference}']
        rows: list[list[Any]] = []
        for method in self.names:
            values = self.metrics[method]
            difference = self.differences.get(method)
            rows.append([
                method, *[len(values['mrr'])] * seeds,
                *(spread([100 * x for x in values[m]]) for m in metrics),
                '' if difference is None else str(difference['mrr'])])
        return Table(columns, rows, self.caption)

    def __str__(self) -> str:
        return f'{self.table().text()}\n\n{self.caption}'


Results = RankingResult | Sequence[RankingResult]


def compare(first: Results, *others: Results,
            names: Sequence[str] | None = None,
            seed: int = 0) -> Comparison:
    r"""Compares results on the same triples with a paired bootstrap over
    the rankings.

    For each metric, the difference of every other method from the first method
    is reported with a 95 % interval. The interval covers 95 % of the mean
    differences in 10,000 samples of rankings, drawn with replacement. The
    contribution of a ranking is averaged over seeds first, so the interval
    describes the variation over test triples, not over seeds.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries, compare, evaluate
        >>> from pyg_mmkgc.nn import RotatE
        >>> kg = Countries()[0]
        >>> results = [evaluate(cls.from_data(kg, hidden_channels=8), kg)
        ...            for cls in (RotatE, AdaMF)]
        >>> found = compare(*results, names=['RotatE', 'AdaMF'])
        >>> found.reference, list(found.differences['AdaMF'])
        ('RotatE', ['mrr', 'hits@1', 'hits@3', 'hits@10'])

    Args:
        first (RankingResult or list[RankingResult]): The result of the
            reference method, or one result per seed.
        *others (RankingResult or list[RankingResult]): The results of other
            methods, at least one.
        names (list[str], optional): The names of all methods. (default:
            :obj:`None`, which stands for :obj:`"A"`, :obj:`"B"`, ...)
        seed (int, optional): The seed of the draws. (default: :obj:`0`)

    Raises:
        ConfigError: If fewer than two methods are given, or the number of
            names differs from the number of methods.
        DataError: If the triples or the protocols of the results differ.
    """
    methods = [[x] if isinstance(x, RankingResult) else list(x)
               for x in (first, *others)]
    if len(methods) < 2 or not all(methods):
        raise ConfigError('Expected at least one result for each of two or '
                          'more methods (got '
                          f'{[len(x) for x in methods]} results)')
    if names is None:
        names = [chr(ord('A') + i) if i < 26 else str(i)
                 for i in range(len(methods))]
    if len(names) != len(methods) or len(set(names)) < len(names):
        raise ConfigError(f"Expected 'names' to hold {len(methods)} "
                          f'different names (got {list(names)})')
    results = dict(zip(names, methods, strict=True))
    base = methods[0][0]
    for name, found in results.items():
        for result in found:
            _check_same(base, result, name)
    p = base.protocol
    return compare_rankings(
        {name: _by_ranking(found) for name, found in results.items()},
        names[0], seed, {
            name: {metric: [result.metrics()[metric] for result in found]
                   for metric in _NAMES}
            for name, found in results.items()},
        f"{p['split']} triples ({p['num_triples']}), sides: "
        f"{' and '.join(p['sides'])}, filter: {p['filter']}, {p['ties']} "
        'ranks. ')


def compare_rankings(
    values: Mapping[str, Mapping[str, np.ndarray]],
    reference: str,
    seed: int = 0,
    metrics: dict[str, dict[str, list[float]]] | None = None,
    caption: str = '',
) -> Comparison:
    r"""Compares methods like :func:`compare`, from the contribution of each
    ranking to the metrics.

    Args:
        values (dict): For each method and metric, one value per ranking,
            averaged over seeds.
        reference (str): The method that the others are compared with.
        seed (int, optional): The seed of the draws. (default: :obj:`0`)
        metrics (dict, optional): For each method and metric, one value per
            seed. (default: :obj:`None`, the means over rankings)
        caption (str, optional): A description of the rankings.
            (default: :obj:`""`)

    Raises:
        ConfigError: If the reference is not one of the methods.
        DataError: If the methods differ in their number of rankings.
    """
    if reference not in values:
        raise ConfigError(f"Expected 'reference' to be one of "
                          f"{', '.join(map(repr, values))} (got "
                          f'{reference!r})')
    metrics = metrics or {
        name: {metric: [float(x.mean())] for metric, x in found.items()}
        for name, found in values.items()}
    others = [name for name in values if name != reference]
    pairs = [(name, metric) for name in others for metric in values[name]]
    sizes = {x.shape for found in values.values() for x in found.values()}
    if len(sizes) != 1:
        raise DataError('Expected the same number of rankings of each method '
                        '(got '
                        f"{', '.join(str(x[0]) for x in sorted(sizes))})")
    found = paired_bootstrap(
        np.stack([values[name][metric] for name, metric in pairs]),
        np.stack([values[reference][metric] for _, metric in pairs]), seed)
    differences: dict[str, dict[str, Difference]] = {x: {} for x in others}
    for (name, metric), *numbers in zip(pairs, *found, strict=True):
        differences[name][metric] = Difference(*map(float, numbers))
    several = any(len(x['mrr']) > 1 for x in metrics.values())
    caption += (
        'In percent' + ('; mean and sample standard deviation over seeds'
                        if several else '') +
        f'. Differences from {reference}: with the 95 % interval of a paired '
        f'bootstrap over {sizes.pop()[0]:,} rankings ({DRAWS:,} draws), which '
        'covers the variation over triples, not over seeds.')
    return Comparison(list(values), reference, metrics, differences, caption)


def spread(values: Sequence[float], digits: int = 2) -> str:
    r"""Returns the mean as text, followed by the sample standard deviation
    if there are several values.
    """
    text = f'{statistics.mean(values):.{digits}f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.{digits}f}'
    return text


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray, seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    r"""Returns the differences of means over the same queries with the
    bounds of their 95 % intervals and their two-sided p-values. Intervals
    and p-values come from samples of queries, drawn with replacement.

    Args:
        first (numpy.ndarray): One value per query, :obj:`[*, Q]`.
        second (numpy.ndarray): The values to subtract, of the same shape.
        seed (int, optional): The seed of the draws. (default: :obj:`0`)

    Raises:
        DataError: If the shapes differ, or there are no queries.
    """
    if first.shape != second.shape or first.shape[-1] == 0:
        raise DataError(f'Expected two arrays with one value for each of the '
                        f'same queries (got shapes {first.shape} and '
                        f'{second.shape})')
    difference = first.astype(np.float64) - second.astype(np.float64)
    rows = difference.reshape(-1, difference.shape[-1])
    size = rows.shape[1]
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // size)
    means = np.empty((DRAWS, rows.shape[0]))
    for start in range(0, DRAWS, step):
        # The number of times each draw contains each query, which all
        # differences share.
        counts = np.stack([np.bincount(generator.integers(0, size, size),
                                       minlength=size)
                           for _ in range(min(step, DRAWS - start))])
        means[start:start + step] = counts @ rows.T / size
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    # The share of draws beyond zero. Adding one draw keeps p above zero.
    beyond = np.minimum((means <= 0).sum(axis=0), (means >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (beyond + 1) / (DRAWS + 1))
    shape = difference.shape[:-1]
    return (difference.mean(axis=-1), low.reshape(shape), high.reshape(shape),
            p.reshape(shape))


def _by_ranking(results: Sequence[RankingResult]) -> dict[str, np.ndarray]:
    ranks = torch.stack([x.ranks.by_ties(x.protocol['ties'])
                         for x in results])
    return {'mrr': (1 / ranks).mean(dim=0).numpy(),
            **{f'hits@{k}': (ranks <= k).double().mean(dim=0).numpy()
               for k in HITS}}


def _check_same(base: RankingResult, other: RankingResult,
                name: str) -> None:
    for key in _PROTOCOL:
        if base.protocol[key] != other.protocol[key]:
            raise DataError(
                f"Expected results of one protocol (got {key} "
                f"'{base.protocol[key]}' for the first method and "
                f"'{other.protocol[key]}' for '{name}')")
    if not all(torch.equal(getattr(base, key), getattr(other, key))
               for key in ('head_index', 'rel_type', 'tail_index')):
        raise DataError(f"Expected rankings of the same triples in the same "
                        f"order (got different triples for '{name}')")
