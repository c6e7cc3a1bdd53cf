"""The distance of synthetic embeddings from real embeddings."""

from types import SimpleNamespace

import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.io import save_tensors
from pyg_mmkgc.nn import AdaMFMAT


class Twice(torch.nn.Module):
    noise_channels = 3

    def forward(self, structure, noise):
        assert noise.shape == (structure.size(0), 3)
        return 2 * structure


def test_only_real_features_are_compared(study, monkeypatch):
    """Embeddings of nodes without features point in the opposite direction."""
    import mat

    kg = FakeMMKG(num_nodes=40, num_edges=160, seed=1)[0]
    structure = torch.randn(40, 8)
    assert not kg.mask_visual.all() and not kg.mask_text.all()
    views = {name: torch.where(kg.masks()[name].view(40, -1).any(1)[:, None],
                               structure, -5 * structure)
             for name in ('visual', 'text')}
    views['structure'] = structure
    model = SimpleNamespace(
        embed=lambda index: {name: x[index] for name, x in views.items()},
        generators={name: Twice() for name in ('visual', 'text')})
    monkeypatch.setattr(mat, 'imputed', lambda *args: 0.5)
    found = mat.synthetic(model, kg)
    assert found['length'] == pytest.approx({'visual': 2.0, 'text': 2.0})
    assert found['cosine'] == pytest.approx({'visual': 1.0, 'text': 1.0})
    assert found['imputed'] == 0.5


class Constant(torch.nn.Module):
    noise_channels = 3

    def __init__(self, row):
        super().__init__()
        self.row = row

    def forward(self, structure, noise):
        assert noise.shape == (structure.size(0), 3)
        return self.row.expand_as(structure)


@torch.no_grad()
def test_synthetic_embeddings_stand_for_what_nodes_lack(study):
    """Equal to a model whose missing rows are the features that the projection
    maps to the synthetic embedding. Nodes without structure keep theirs.
    """
    import mat

    kg = FakeMMKG(num_nodes=40, num_edges=160, seed=1)[0]
    del kg.x_visual, kg.mask_visual
    kg.mask_text[:20], kg.mask_text[20:] = False, True
    train = kg.split('train')
    model = AdaMFMAT(40, kg.num_relations, 4, kg.features(), kg.masks(),
                     missing='zeros', drop_unseen=True)
    model.prepare(train.edge_index[:, :30], train.edge_type[:30])
    model.eval()
    model.generators['text'] = Constant(torch.randn(8))
    before = evaluate(model, kg, 'test').metrics()['mrr']
    found = mat.imputed(model, kg)
    assert evaluate(model, kg, 'test').metrics()['mrr'] == before != found

    lin, seen = model.encoders['text'].lin, model.seen
    assert not seen.all()
    x = torch.where((seen & ~kg.mask_text)[:, None], torch.linalg.pinv(
        lin.weight) @ (model.generators['text'].row - lin.bias), kg.x_text)
    other = AdaMFMAT(40, kg.num_relations, 4, {'text': x}, {
        'text': kg.mask_text | seen}, missing='zeros', drop_unseen=True)
    state = {name: value for name, value in model.state_dict().items()
             if name in other.state_dict() and 'mask' not in name}
    other.load_state_dict(state, strict=False)
    assert evaluate(other.eval(), kg, 'test').metrics()['mrr'] == (
        pytest.approx(found))


def test_rankings_by_what_their_entities_lack(study, tmp_path):
    import mat

    kg = KnowledgeGraph(
        edge_index=torch.tensor([[0, 1, 0, 3], [1, 2, 4, 4]]),
        edge_type=torch.zeros(4, dtype=torch.long), num_nodes=5,
        num_relations=1,
        train_mask=torch.tensor([True, True, False, False]),
        test_mask=torch.tensor([False, False, True, True]),
        x_text=torch.randn(5, 2),
        mask_text=torch.tensor([True, True, False, True, True]))
    # Node 2 has no text, nodes 3 and 4 have no training triple.
    save_tensors(tmp_path / 'ranks.safetensors', {
        'head_index': torch.tensor([0, 0, 1, 3]),
        'rel_type': torch.zeros(4, dtype=torch.long),
        'tail_index': torch.tensor([1, 2, 2, 4]),
        'rank': torch.tensor([1, 2, 4, 5]).double()}, {})
    found = mat.by_lack(tmp_path, kg)
    assert found == {'text': {'count': 2, 'mrr': 0.375},
                     'structure': {'count': 1, 'mrr': 0.2},
                     'nothing': {'count': 1, 'mrr': 1.0}}


def test_differences_by_what_entities_lack(study):
    """Pairs of seeds, not means of all seeds; older results have no groups."""
    import mat

    def line(seed, mrr):
        return {'seed': seed, 'lacks': {'text': {'count': 7, 'mrr': mrr}}}

    found = {'AdaMF': [line(0, 0.2), line(1, 0.4), line(2, 0.9)],
             'weight 0.1': [line(0, 0.25), line(1, 0.41)]}
    assert ('| text | 7 | 50.00 ± 36.06 | +3.00 ± 25.41 |'
            in mat.lack_notes(found))
    assert mat.lack_notes({'AdaMF': [{'seed': 0}],
                           'weight 0.1': [line(0, 0.25)]}) == []
