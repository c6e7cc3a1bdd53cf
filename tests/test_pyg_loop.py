"""Models of this library in a loop for PyG's models, and vice versa."""

import pytest
import torch
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.evaluation import evaluate, predict
from pyg_mmkgc.nn import AdaMFMAT
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.training import Trainer

# As in PyG's example of FB15k-237, one entry more.
model_map = {
    'transe': TransE,
    'complex': ComplEx,
    'distmult': DistMult,
    'rotate': RotatE,
    'adamf_mat': AdaMFMAT,
}


@pytest.fixture(scope='module')
def kg() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=80, seed=0)[0]


@pytest.mark.parametrize('name', model_map)
def test_plain_loop(name: str, kg: KnowledgeGraph) -> None:
    """Trains with the interface of `KGEModel` only."""
    model_arg_map = {
        'rotate': {'margin': 9.0},
        'adamf_mat': {'modalities': kg.features(), 'masks': kg.masks()},
    }
    data = kg.split('train')
    model = model_map[name](
        num_nodes=data.num_nodes,
        num_relations=kg.num_relations,
        hidden_channels=16,
        **model_arg_map.get(name, {}),
    )
    loader = model.loader(
        head_index=data.edge_index[0],
        rel_type=data.edge_type,
        tail_index=data.edge_index[1],
        batch_size=100,
        shuffle=True,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def test() -> tuple[float, float, float]:
        model.eval()
        return model.test(
            head_index=data.edge_index[0, :40],
            rel_type=data.edge_type[:40],
            tail_index=data.edge_index[1, :40],
            batch_size=50,
            k=10,
            log=False,
        )

    losses, before = [], test()
    for _ in range(12):
        model.train()
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            loss = model.loss(*batch)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * batch[0].numel()
        losses.append(total / data.num_edges)
    assert losses[-1] < losses[0]
    rank, mrr, hits_at_10 = test()
    assert 0 <= rank < kg.num_nodes
    assert 0 < mrr <= 1
    assert 0 <= hits_at_10 <= 1
    if name == 'adamf_mat':
        assert rank < before[0]
        assert mrr > before[1]
        assert hits_at_10 > before[2]


@pytest.mark.parametrize('name', model_map)
def test_test_of_pyg_and_evaluate_agree(name: str, kg: KnowledgeGraph) -> None:
    """Both rank by the same scores. PyG ranks unfiltered tails from zero."""
    kwargs = {'modalities': kg.features()} if name == 'adamf_mat' else {}
    model = model_map[name](kg.num_nodes, kg.num_relations, 8, **kwargs)
    test = kg.split('test')
    rank, mrr, hits_at_3 = model.test(
        test.edge_index[0], test.edge_type, test.edge_index[1],
        batch_size=32, k=3, log=False)
    result = evaluate(model, kg, 'test', filtered=False, sides=['tail'])
    assert result.mr == pytest.approx(rank + 1, rel=1e-4)
    assert result.mrr == pytest.approx(mrr, rel=1e-4)
    assert result.hits_at(3) == pytest.approx(hits_at_3)


@pytest.mark.parametrize('name', list(model_map)[:4])
@pytest.mark.parametrize('sampler', [None, PooledSampler(num_negatives=16)])
def test_models_of_pyg_in_the_trainer(name: str, sampler: PooledSampler,
                                      kg: KnowledgeGraph) -> None:
    model = model_map[name](kg.num_nodes, kg.num_relations, 16)
    before = evaluate(model, kg, 'train').mrr
    history = Trainer(model, kg, sampler=sampler, lr=0.01, epochs=10,
                      batch_size=100, progress=False).fit()
    assert len(history.epochs) == 10
    assert evaluate(model, kg, 'train').mrr > before
    assert predict(model, kg, head=0, rel_type=0, k=4).answer.shape == (1, 4)
