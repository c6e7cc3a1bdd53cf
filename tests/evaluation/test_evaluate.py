import math
import re
import warnings

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn.kge import ComplEx, DistMult, KGEModel, RotatE, TransE
from torch_geometric.testing import withCUDA

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import (
    ConfigError,
    DataError,
    ModelError,
    NonFiniteError,
    OutOfMemoryError,
)
from pyg_mmkgc.evaluation import TieWarning, evaluate

PYG_MODELS = [TransE, DistMult, ComplEx, RotatE]


class ForwardOnly(KGEModel):
    r"""The scores of another model, through `forward` only."""
    def __init__(self, model, inverted=False):
        super().__init__(model.num_nodes, model.num_relations, 4)
        self.model, self.inverted = model, inverted

    def forward(self, head_index, rel_type, tail_index):
        if self.inverted:
            head_index, tail_index = tail_index, head_index
        return self.model(head_index, rel_type, tail_index)


class Constant(KGEModel):
    def __init__(self, num_nodes, num_relations, value=0.3):
        super().__init__(num_nodes, num_relations, 4)
        self.value = value

    def forward(self, head_index, rel_type, tail_index):
        return torch.full(head_index.shape, self.value,
                          device=head_index.device)


def random_kg(num_nodes=30, num_relations=4, num_edges=120, seed=0):
    g = torch.Generator().manual_seed(seed)

    def draw(n):
        columns = [torch.randint(size, (n, ), generator=g)
                   for size in (num_nodes - 2, num_relations, num_nodes)]
        return torch.stack(columns, dim=1).tolist()

    train, val, test = draw(num_edges), draw(num_edges // 4), draw(30)
    test += train[:3] + val[:2] + test[:2]  # across splits and within
    triples = torch.tensor(train + val + test)
    extra = torch.tensor(draw(10))
    split = torch.tensor([len(train), len(val), len(test)])
    split = torch.arange(3).repeat_interleave(split)
    return KnowledgeGraph(
        edge_index=triples[:, [0, 2]].t().contiguous(),
        edge_type=triples[:, 1].clone(), num_nodes=num_nodes,
        num_relations=num_relations, train_mask=split == 0,
        val_mask=split == 1, test_mask=split == 2,
        filter_edge_index=extra[:, [0, 2]].t().contiguous(),
        filter_edge_type=extra[:, 1].clone())


def make_model(cls, kg, **kwargs):
    model = cls(kg.num_nodes, kg.num_relations, 8, **kwargs)
    with torch.no_grad():  # exact ties: some nodes are the same point
        for name in ('node_emb', 'node_emb_im'):
            if hasattr(model, name):
                weight = getattr(model, name).weight
                weight[10:20] = weight[:10]
    return model


@torch.no_grad()
def brute_force(model, kg, split='test', filtered=True):
    r"""Computes (optimistic, pessimistic, candidates) of each ranking in
    loops.
    """
    edge_index, edge_type = kg.known_triples()
    known = set(zip(edge_index[0].tolist(), edge_type.tolist(),
                    edge_index[1].tolist(), strict=True))
    mask = kg[f'{split}_mask']
    rows = []
    for side in (0, 2):
        for h, t, r in torch.cat([kg.edge_index[:, mask],
                                  kg.edge_type[mask][None]]).t().tolist():
            true = (h, r, t)
            nodes = torch.arange(kg.num_nodes)
            triple = [nodes.new_full((kg.num_nodes, ), i) for i in true]
            triple[side] = nodes
            device = next(model.parameters()).device
            score = model(*[x.to(device) for x in triple]).tolist()
            better = ties = others = 0
            for node in range(kg.num_nodes):
                other = [*true]
                other[side] = node
                if node == true[side] or filtered and tuple(other) in known:
                    continue
                others += 1
                better += score[node] > score[true[side]]
                ties += score[node] == score[true[side]]
            rows.append((1 + better, 1 + better + ties, 1 + others))
    return rows


def rows_of(result):
    return list(zip(*(x.tolist() for x in result.ranks), strict=True))


def assert_same_ranks(a, b):
    assert rows_of(a) == rows_of(b)


# Against loops ##########


@withCUDA
@pytest.mark.parametrize('cls', PYG_MODELS)
@pytest.mark.parametrize('filtered', [True, False])
def test_pyg_models_equal_brute_force(cls, filtered, device):
    kg = random_kg()
    model = make_model(cls, kg).to(device)
    expected = brute_force(model, kg, filtered=filtered)
    with pytest.warns(TieWarning):
        result = evaluate(model, kg, filtered=filtered)
    assert rows_of(result) == expected
    with pytest.warns(TieWarning):
        result = evaluate(ForwardOnly(model), kg, filtered=filtered)
    assert rows_of(result) == expected


@pytest.mark.parametrize('p_norm', [1, 2, 3])
def test_transe_norms_equal_brute_force(p_norm, ignore_ties):
    kg = random_kg(seed=p_norm)
    model = make_model(TransE, kg, p_norm=p_norm)
    assert rows_of(evaluate(model, kg)) == brute_force(model, kg)


@pytest.mark.parametrize('cls', PYG_MODELS)
def test_heads_are_tails_of_the_inverted_graph(cls, ignore_ties):
    kg = random_kg(seed=3)
    model = make_model(cls, kg)
    inverted = kg.clone()
    inverted.edge_index = kg.edge_index.flip(0)
    inverted.filter_edge_index = kg.filter_edge_index.flip(0)
    a = evaluate(model, kg, sides=['head'])
    b = evaluate(ForwardOnly(model, inverted=True), inverted, sides=['tail'])
    assert_same_ranks(a, b)


@withCUDA
@pytest.mark.parametrize('cls', [*PYG_MODELS, Constant])
def test_blocks_do_not_change_ranks(cls, device, ignore_ties):
    kg = random_kg(200, 3, 800, seed=5)
    model = (Constant(200, 3) if cls is Constant else
             cls(200, 3, 50)).to(device)
    expected = evaluate(model, kg, split='train')
    for batch_size in (1, 3, 64, 10**6):
        assert_same_ranks(expected, evaluate(model, kg, split='train',
                                             batch_size=batch_size))


def test_more_triples_of_one_query_than_a_block_holds(make_kg, Line,
                                                      ignore_ties):
    star = [(0, 0, t) for t in range(1, 7)]
    kg = make_kg([(1, 0, 0)], test=star, num_nodes=7, num_relations=2)
    model = Line()
    result = evaluate(model, kg, batch_size=2, sides=['tail'])
    assert model.calls == ['encode', 1]
    # Only 0 is left next to each target: better than 3 to 6, equal to 2.
    assert rows_of(result) == [(1, 1, 2), (1, 2, 2)] + [(2, 2, 2)] * 4


# Promises ##########


@pytest.mark.parametrize('num_nodes', [3, 14, 500])
def test_constant_model_scores_chance(make_kg, num_nodes):
    # One triple, whose own filter leaves all nodes as candidates.
    kg = make_kg([(0, 0, 1)], test=[(1, 0, 2)], num_nodes=num_nodes)
    with pytest.warns(TieWarning, match=r'MRR is 1\.0000 if it comes first'):
        result = evaluate(Constant(num_nodes, 1), kg)
    assert result.mrr == pytest.approx(2 / (num_nodes + 1))
    assert result.amri == 0.0
    assert result.hits_at(1) == 0.0
    with pytest.warns(TieWarning):
        result = evaluate(Constant(num_nodes, 1), kg, ties='optimistic')
    assert result.mrr == 1.0


def test_collapsed_model_scores_chance(make_kg):
    kg = make_kg([(0, 0, 1)], test=[(1, 0, 2)], num_nodes=50)
    for cls in PYG_MODELS:
        model = cls(50, 1, 16)
        with torch.no_grad():
            for module in (model.node_emb, getattr(model, 'node_emb_im',
                                                   model.node_emb)):
                module.weight[:] = module.weight[0].clone()
        with pytest.warns(TieWarning):
            assert evaluate(model, kg).mrr <= 2 / 51 + 1e-6


def test_no_warning_without_ties():
    kg = random_kg()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        evaluate(DistMult(kg.num_nodes, kg.num_relations, 8), kg)


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('cls', PYG_MODELS)
def test_non_finite_embeddings_raise(cls, value):
    kg = random_kg()
    model = cls(kg.num_nodes, kg.num_relations, 8).train()
    with torch.no_grad():
        model.node_emb.weight[29, 0] = value
    with pytest.raises(NonFiniteError, match='when ranking heads'):
        evaluate(model, kg)
    assert model.training


def test_model_is_left_as_it_was(hand_kg, ignore_ties):
    class Probe(Constant):
        def __init__(self):
            super().__init__(7, 2)
            self.frozen = torch.nn.Dropout(0.5)
            self.free = torch.nn.Dropout(0.5)
            self.seen = set()

        def forward(self, head_index, rel_type, tail_index):
            self.seen.add((self.training, self.free.training,
                           torch.is_grad_enabled(),
                           torch.get_float32_matmul_precision(),
                           torch.is_autocast_enabled('cpu')))
            return super().forward(head_index, rel_type, tail_index)

    model = Probe().train()
    model.frozen.eval()
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            evaluate(model, hand_kg)
        assert torch.get_float32_matmul_precision() == 'medium'
        assert torch.backends.mkldnn.matmul.fp32_precision == 'bf16'
    finally:
        torch.set_float32_matmul_precision('highest')
    assert {x[:3] for x in model.seen} == {(False, False, False)}
    assert {x[4] for x in model.seen} == {False}
    assert model.training and model.free.training
    assert not model.frozen.training
    assert torch.is_grad_enabled()


def test_graph_is_left_as_it_was(hand_kg, Line, ignore_ties):
    kg = hand_kg
    before = kg.clone()
    evaluate(Line(), kg)
    for key, value in before.to_dict().items():
        same = kg[key]
        assert torch.equal(same, value) if torch.is_tensor(value) else (
            same == value)


def test_half_precision_model_is_ranked_in_single_precision(ignore_ties):
    kg = random_kg()
    model = DistMult(kg.num_nodes, kg.num_relations, 8)
    half = evaluate(model.bfloat16(), kg)
    assert rows_of(half) == rows_of(evaluate(model.float(), kg))


# Out of memory ##########


class Limited(torch.nn.Module):
    r"""Wraps a model with a limit to the number of queries in memory."""
    def __init__(self, model, limit, error):
        super().__init__()
        self.model, self.limit, self.error = model, limit, error
        self.encode, self.score_heads = model.encode, model.score_heads

    def score_tails(self, head_index, rel_type, table=None):
        if head_index.numel() > self.limit:
            raise self.error
        return self.model.score_tails(head_index, rel_type, table)


@pytest.mark.parametrize('error', [
    torch.OutOfMemoryError('CUDA out of memory.'),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
])
@pytest.mark.parametrize('limit', [1, 3, 64])
def test_block_is_halved_where_memory_runs_out(Line, limit, error,
                                               ignore_ties):
    kg = random_kg(100, 2, 400, seed=1)
    expected = evaluate(Line(100), kg, split='train')
    model = Limited(Line(100), limit, error)
    assert_same_ranks(expected, evaluate(model, kg, split='train',
                                         batch_size=1000))


def test_memory_too_small_for_one_query(hand_kg, Line):
    with pytest.raises(OutOfMemoryError, match='one query against 7 nodes'):
        evaluate(Limited(Line(), 0, torch.OutOfMemoryError()), hand_kg)


def test_other_errors_pass_through(hand_kg, Line):
    model = Limited(Line(), 0, RuntimeError('device-side assert'))
    with pytest.raises(RuntimeError, match='device-side assert'):
        evaluate(model, hand_kg)


# Input ##########


def test_plain_pyg_data(ignore_ties):
    kg = random_kg()
    del kg.filter_edge_index, kg.filter_edge_type
    data = Data(**{key: kg[key] for key in kg.keys()
                   if key not in ('num_relations', 'num_nodes')})
    data.num_nodes = kg.num_nodes
    model = make_model(RotatE, kg)
    assert_same_ranks(evaluate(model, data), evaluate(model, kg))
    assert not isinstance(data, KnowledgeGraph)


def test_relation_names_label_the_slices(hand_kg, Line, ignore_ties):
    kg = hand_kg
    kg.relation_names = ['next', 'far']
    assert set(evaluate(Line(), kg).slices['relation']) == {'next', 'far'}


def test_bad_input(make_kg, hand_kg, Line):
    kg = hand_kg
    with pytest.raises(ModelError, match="'Line' to have the 7 nodes of the "
                                         r'graph \(got 8\)'):
        evaluate(Line(8), kg)
    with pytest.raises(ModelError, match=r'relations of the graph \(got 1\)'):
        evaluate(Line(7, (1, )), kg)
    with pytest.raises(ModelError, match="'model' to be a 'torch.nn.Module'"):
        evaluate(lambda h, r, t: h, kg)
    with pytest.raises(ConfigError, match="got 'random'"):
        evaluate(Line(), kg, ties='random')
    with pytest.raises(ConfigError, match='sides'):
        evaluate(Line(), kg, sides=())
    with pytest.raises(ConfigError, match='sides'):
        evaluate(Line(), kg, sides=['head', 'relation'])
    for sides in (None, 3, [['head']]):
        with pytest.raises(ConfigError, match="'sides' to hold 'head', 'tail' "
                           f'or both .got {re.escape(str(sides))}'):
            evaluate(Line(), kg, sides=sides)
    for size in (0, 2.5, '8'):
        with pytest.raises(ModelError, match="'batch_size' to be an integer "
                           f'>= 1 .got {size!r}'):
            evaluate(Line(), kg, batch_size=size)
    with pytest.raises(DataError, match='one of the splits .*got'):
        evaluate(Line(), kg, split='valid')
    with pytest.raises(DataError, match="in the split 'test' .got none"):
        evaluate(Line(2, (1, )), make_kg([(0, 0, 1)], [(1, 0, 0)]))
    with pytest.raises(DataError):
        evaluate(Line(), kg.split('train'))


def test_scores_of_a_wrong_shape(hand_kg, Line):
    class Wide(Line):
        def score_heads(self, rel_type, tail_index, table=None):
            return torch.zeros(tail_index.numel(), 6)

    class Pairs(Constant):
        def forward(self, head_index, rel_type, tail_index):
            return torch.zeros(head_index.numel(), 2)

    with pytest.raises(ModelError, match=r'shape \[3, 7\] for heads'):
        evaluate(Wide(), hand_kg)
    with pytest.raises(ModelError, match='one score per triple'):
        evaluate(Pairs(7, 2), hand_kg)
