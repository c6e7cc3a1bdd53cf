"""Sizes that differ from step to step do not compile functions again."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from pyg_mmkgc import Trainer, evaluate, nn
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.kernels import backend
from pyg_mmkgc.sampler import BernoulliSampler, PooledSampler


@pytest.mark.parametrize('name, sampler', [
    ('AdaMF', PooledSampler(8, 16)),
    pytest.param('PairRE', BernoulliSampler(8), marks=pytest.mark.slow),
    pytest.param('TransE', PooledSampler(8, 16), marks=pytest.mark.slow)])
def test_an_epoch(name: str, sampler: Any,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: Counter[str] = Counter()
    compiled: dict[Callable[..., Any], Any] = {}
    sizes: defaultdict[str, set[Any]] = defaultdict(set)

    def compile(function: Callable[..., Any]) -> Any:
        def count(module: Any, inputs: Any) -> Any:
            graphs[function.__name__] += 1
            return module.forward

        whole = compiled.setdefault(function, torch.compile(
            function, dynamic=True, backend=count))

        def call(*args: Any) -> Any:
            sizes[function.__name__].add(tuple(
                x.shape for x in tree_leaves(args) if torch.is_tensor(x)))
            return whole(*args)

        return call

    monkeypatch.setattr(backend, 'COMPILED_DEVICES', ('cpu', ))
    monkeypatch.setattr(backend, '_compiles', lambda device: True)
    monkeypatch.setattr(backend, '_load', lambda name: None)
    monkeypatch.setattr(backend, '_compile', compile)
    torch._dynamo.reset()
    kg = FakeMMKG(num_nodes=50, num_relations=3, num_edges=150,
                  modalities={'visual': 6})[0]
    model = getattr(nn, name).from_data(kg, 8)
    # The last batch is smaller, and each has other numbers of distinct nodes.
    trainer = Trainer(model, kg, sampler=sampler, batch_size=17, epochs=2,
                      valid_every=1, progress=False)
    trainer.fit()
    for size in (8, 13):
        evaluate(model, kg, 'train', batch_size=size)
    torch._dynamo.reset()
    assert len(trainer) > 5
    assert {'_scores', '_gradients', '_dense'} == set(graphs)
    assert min(map(len, sizes.values())) > 3, sizes
    assert max(graphs.values()) <= 1 + 2, graphs
