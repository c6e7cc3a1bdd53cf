"""Stand-ins of AdaMF for nodes without a training triple."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pyg_mmkgc import AdaMF, FakeMMKG, KnowledgeGraph, Trainer, evaluate
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import NativE
from pyg_mmkgc.nn.encoded import encode
from pyg_mmkgc.sampler import PooledSampler


def graph(**kwargs: Any) -> KnowledgeGraph:
    return FakeMMKG(**{'num_nodes': 30, 'num_relations': 3, 'num_edges': 150,
                       'modalities': {'visual': 6, 'text': 5}, **kwargs})[0]


def make(kg: KnowledgeGraph, cls: type[AdaMF] = AdaMF,
         **kwargs: Any) -> AdaMF:
    model = cls.from_data(kg, **{'hidden_channels': 8, 'margin': 3.0,
                                 'drop_unseen': True, 'stand_ins': True,
                                 **kwargs})
    train = kg.split('train')
    model.prepare(train.edge_index, train.edge_type)
    return model


def alone(model: AdaMF, node: int) -> Tensor:
    """What stands in for a node: the weighted mean of its projections."""
    views, logits = [], []
    for m, name in enumerate(model.modalities, start=1):
        encoder, lin = model.encoders[name], model.projections[name]
        if bool(encoder.mask[node]):
            views.append(lin.weight @ encoder.x[node] + lin.bias)
            logits.append(views[-1].tanh() @ model.fuser.weight[m])
    weight = torch.stack(logits).softmax(dim=0)
    return (weight.unsqueeze(-1) * torch.stack(views)).sum(dim=0)


@pytest.mark.parametrize('cls', [AdaMF, NativE])
def test_they_represent_unseen_nodes(cls: type[AdaMF]) -> None:
    kg = graph()
    model, plain = make(kg, cls), make(kg, cls, stand_ins=False)
    plain.load_state_dict({name: x for name, x in model.state_dict().items()
                           if not name.startswith('projections.')})
    described = kg.mask_visual | kg.mask_text
    node = int(described.nonzero()[-1])
    assert torch.equal(model.encode(), plain.encode())
    model.seen[node] = plain.seen[node] = False
    out, other = model.encode().detach(), plain.encode().detach()
    assert (out != other).any(dim=-1).nonzero().flatten().tolist() == [node]
    views = model.embed_unseen(torch.arange(30))
    torch.testing.assert_close(model.fuse(views)[node], out[node])
    if cls is AdaMF:
        torch.testing.assert_close(out[node], alone(model, node))


def test_loss_by_hand() -> None:
    kg = graph(num_nodes=12, num_edges=24)
    model = make(kg).double()
    train = kg.split('train')
    keep = [i for i, (h, t) in enumerate(train.edge_index.t().tolist())
            if all(kg.mask_visual[[h, t]] | kg.mask_text[[h, t]])]
    (head, tail), rel = train.edge_index[:, keep], train.edge_type[keep]
    seen: list[Tensor] = []

    class Recorder(torch.nn.Module):
        def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
            seen.extend([pos.detach(), neg.detach()])
            return (pos.sum() - neg.sum()).square()

    model.criterion = Recorder()
    pool = torch.arange(12)
    model.regularization(encode(model, head, tail, pool), rel).backward()
    changed = {name for name, p in model.named_parameters()
               if p.grad is not None and bool(p.grad.any())}
    assert changed and all(x.startswith('projections.') for x in changed)
    assert all(p.requires_grad for p in model.parameters())

    pos, neg = seen
    full, every = model.encode().detach(), sorted({*head.tolist(),
                                                   *tail.tolist()})
    lone = {n: alone(model, n).detach() for n in every}
    sides = set()
    for i, (h, r, t) in enumerate(zip(head.tolist(), rel.tolist(),
                                      tail.tolist(), strict=True)):
        def score(x: Tensor, y: Tensor, r: int = r) -> float:
            return model.score(x, torch.tensor(r), y).item()

        options = {'head': score(lone[h], full[t]),
                   'tail': score(full[h], lone[t])}
        side = min(options, key=lambda x: abs(options[x] - pos[i].item()))
        assert options[side] == pytest.approx(pos[i].item())
        sides.add(side)
        allowed = torch.tensor([value for x in every for value in (
            (score(lone[h], full[x]), score(lone[x], full[t]))
            if side == 'head' else
            (score(full[x], lone[t]), score(full[h], lone[x])))])
        gap = (neg[i].unsqueeze(-1) - allowed).abs().amin(dim=-1)
        assert gap.max() < 1e-5
    assert sides == {'head', 'tail'} and neg.size(1) == 128


def fit(model: AdaMF, kg: KnowledgeGraph, epochs: int) -> AdaMF:
    Trainer(model, kg, sampler=PooledSampler(8), lr=0.02, batch_size=32,
            epochs=epochs, valid_every=None, progress=False).fit()
    return model.eval()


def test_everything_else_is_trained_as_without_them() -> None:
    kg = graph()
    model, plain = make(kg), make(kg, stand_ins=False)
    plain.load_state_dict({name: x.clone() for name, x
                           in model.state_dict().items()
                           if not name.startswith('projections.')})
    assert bool(model.seen.all())
    before = {name: x.clone() for name, x in
              model.projections.state_dict().items()}
    fit(model, kg, 2), fit(plain, kg, 2)
    for name, x in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], x)
    for name, x in model.projections.state_dict().items():
        assert not torch.equal(x, before[name])


def test_they_learn_to_answer() -> None:
    kg = graph()
    model = make(kg)
    mrr = []
    for epochs in (1, 40):
        fit(model, kg, epochs)
        kept = model.seen.clone()
        model.seen.fill_(False)  # Every node is a stand-in.
        mrr.append(evaluate(model, kg, 'train').mrr)
        model.seen.copy_(kept)
    assert mrr[1] > 1.5 * mrr[0]


def test_they_need_drop_unseen() -> None:
    with pytest.raises(ModelError, match='drop_unseen=True .*got drop_unseen='
                                         'False'):
        AdaMF.from_data(graph(), hidden_channels=4, stand_ins=True)
