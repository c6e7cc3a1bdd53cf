"""Ranks and predictions do not depend on the blocks of nodes and queries."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn.kge import ComplEx, DistMult, KGEModel, RotatE, TransE

from pyg_mmkgc import nn
from pyg_mmkgc.errors import NonFiniteError
from pyg_mmkgc.evaluation import evaluate, predict, scorer
from pyg_mmkgc.kernels.dense import TILE, inner_products

from .test_evaluate import (
    Constant,
    ForwardOnly,
    assert_same_ranks,
    brute_force,
    make_model,
    random_kg,
    rows_of,
)

NUM_NODES = 40


def kg_of(seed: int = 0) -> Any:
    kg = random_kg(NUM_NODES, 3, 120, seed=seed)
    g = torch.Generator().manual_seed(seed)
    kg.x_text = torch.randn(NUM_NODES, 6, generator=g)
    return kg


def ours(name: str) -> Callable[[Any], torch.nn.Module]:
    def make(kg: Any) -> torch.nn.Module:
        model = getattr(nn, name).from_data(kg, hidden_channels=16)
        with torch.no_grad():
            model.node_emb.weight[10:20] = model.node_emb.weight[:10]
            for encoder in getattr(model, 'encoders', {}).values():
                encoder.x[10:20] = encoder.x[:10]
        return model.eval()

    return make


MODELS: dict[str, Callable[[Any], torch.nn.Module]] = {
    **{f'PyG {cls.__name__}': lambda kg, cls=cls: make_model(cls, kg)
       for cls in (TransE, DistMult, ComplEx, RotatE)},
    **{f'our {name}': ours(name) for name in (
        'RotatE', 'DistMult', 'PairRE', 'AdaMF', 'IKRL', 'MoSE', 'GCOTE')
       if hasattr(nn, name)},
    'forward': lambda kg: ForwardOnly(make_model(DistMult, kg)),
    'constant': lambda kg: Constant(NUM_NODES, 3),
}


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def cut(num_nodes: int) -> None:
        monkeypatch.setattr(scorer, 'NODES', num_nodes)
        monkeypatch.setattr(scorer, 'CHUNK', 64)

    return cut


@pytest.mark.parametrize('name', MODELS)
def test_ranks(name: str, cut: Callable[[int], None],
               ignore_ties: None) -> None:
    kg, rng = kg_of(), random.Random(name)
    torch.manual_seed(0)
    model = MODELS[name](kg)
    expected = evaluate(model, kg)
    assert rows_of(expected) == brute_force(model, kg)
    for _ in range(3):
        cut(rng.choice([7, 13, 20, 39]))
        found = evaluate(model, kg, batch_size=rng.choice([1, 3, 50]))
        assert_same_ranks(found, expected)
    unfiltered = evaluate(model, kg, filtered=False)
    assert rows_of(unfiltered) == brute_force(model, kg, filtered=False)


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('filter_known', [False, True])
def test_predictions(name: str, filter_known: bool,
                     cut: Callable[[int], None]) -> None:
    kg = kg_of(1)
    torch.manual_seed(0)
    model = MODELS[name](kg)
    for k in (1, NUM_NODES):
        args: dict[str, Any] = {'rel_type': 1, 'tail': list(range(30)),
                                'k': k, 'filter_known': filter_known}
        cut(1 << 15)
        expected = predict(model, kg, **args)
        for size in (7, 25):
            cut(size)
            found = predict(model, kg, **args)
            assert torch.equal(found.answer, expected.answer)
            torch.testing.assert_close(found.score, expected.score)
            assert torch.equal(found.known, expected.known)


@pytest.mark.parametrize('cls', [DistMult, RotatE])
def test_non_finite_scores_name_the_node(cls: type[KGEModel],
                                         cut: Callable[[int], None]) -> None:
    """Non-finite scores are found everywhere, even in blocks without a target.
    """
    kg = kg_of()
    model = cls(NUM_NODES, 3, 8)
    lonely = NUM_NODES - 1
    keep = (kg.edge_index != lonely).all(dim=0)
    for key in ('edge_type', 'train_mask', 'val_mask', 'test_mask'):
        kg[key] = kg[key][keep]
    kg.edge_index = kg.edge_index[:, keep]
    with torch.no_grad():
        model.node_emb.weight[lonely, 0] = torch.nan
    for size in (1, 7, 40):
        cut(size)
        with pytest.raises(NonFiniteError, match=f'candidate {lonely} of'):
            evaluate(model, kg)
        with pytest.raises(NonFiniteError, match=f'candidate {lonely} of'):
            predict(model, kg, rel_type=0, head=0)


def test_each_node_is_scored_once_a_query(cut: Callable[[int], None],
                                          ignore_ties: None) -> None:
    """The exception are triples that share a query but have targets in
    several blocks.
    """
    class Counting(Constant):
        pairs = 0

        def forward(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> Tensor:
            self.pairs += head_index.numel()
            return super().forward(head_index, rel_type, tail_index)

    kg = kg_of()
    kg.test_mask[:] = False
    kg.test_mask[:2] = True  # Triples of other queries, on both sides.
    kg.train_mask[:2] = False
    for size in (7, 40):
        model = Counting(NUM_NODES, 3)
        cut(size)
        evaluate(model, kg, batch_size=2)
        # In addition, each block encodes the known nodes of the queries.
        more = 0 if size == 40 else 4 * 2 * 6 * 2
        assert 4 * NUM_NODES <= model.pairs <= 4 * NUM_NODES + more


def test_whole_table_is_made_once_blocks_are_not_kept(
        cut: Callable[[int], None], ignore_ties: None) -> None:
    kg = kg_of()
    model: Any = ours('AdaMF')(kg)
    sizes: list[int | None] = []
    encode = model.encode

    def spy(index: Tensor | None = None) -> Tensor:
        sizes.append(None if index is None else index.numel())
        return encode(index)

    model.encode = spy
    evaluate(model, kg)
    assert sizes == [None]
    sizes.clear()
    cut(16)
    evaluate(model, kg)
    assert set(sizes) == {scorer.CHUNK}  # All products have one shape.


@pytest.mark.parametrize('num_threads', [1, 2, 3])
@pytest.mark.parametrize('channels', [1, 5, 17, 64, 200, 250, 513])
def test_tiles_do_not_depend_on_places(channels: int,
                                       num_threads: int) -> None:
    """Equal rows have equal products in every tile and at every place."""
    torch.manual_seed(channels)
    before = torch.get_num_threads()
    query, row = torch.randn(2, channels)
    torch.set_num_threads(num_threads)
    try:
        found = {float(x) for sizes in (
            (1, 1), (TILE[0] + 3, TILE[1] + 5), (3, 2 * TILE[1]), (130, 7))
            for x in inner_products(query.expand(sizes[0], -1),
                                    row.expand(sizes[1], -1)).unique()}
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
    torch.testing.assert_close(found.pop(), float(query @ row), rtol=1e-5,
                               atol=1e-5)


def test_default_double_precision() -> None:
    kg = kg_of()
    model = nn.TransE(kg.num_nodes, kg.num_relations, 8)
    mrr = evaluate(model, kg, 'train').mrr
    nodes = predict(model, kg, head=0, rel_type=0).answer
    torch.set_default_dtype(torch.double)
    try:
        assert evaluate(model, kg, 'train').mrr == mrr
        assert torch.equal(predict(model, kg, head=0, rel_type=0).answer,
                           nodes)
    finally:
        torch.set_default_dtype(torch.float)
