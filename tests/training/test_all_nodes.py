"""Tests of losses on the scores of all nodes: 1-vs-all and K-vs-all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import ComplEx as PyGComplEx

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import CheckpointError, ModelError
from pyg_mmkgc.nn import (
    AdaMF,
    AdaMFMAT,
    AllNodesLoss,
    ComplEx,
    DistMult,
    KvsAllLoss,
    MMKGEModel,
    OneVsAllLoss,
    SelfAdversarialLoss,
)
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.sampler import UniformSampler
from pyg_mmkgc.training import MAT, AdversarialTrainer, Batch, Trainer
from pyg_mmkgc.training.batch import complete

N, R, B = 9, 2, 6
Triple = tuple[int, int, int]

MODELS: dict[str, Callable[[], MMKGEModel]] = {
    'distmult': lambda: DistMult(N, R, 4, n3=0.1),
    'complex': lambda: ComplEx(N, R, 4, l3=0.1),
    'reciprocal': lambda: ComplEx(N, R, 4, reciprocal=True, n3=0.1),
    # Its fast form is a kernel of distances.
    'adamf': lambda: AdaMF(N, R, 4, {'text': torch.randn(N, 3)}),
}


def graph() -> set[Triple]:
    """Draws training triples, many of which share a query."""
    return {(h, r, t) for h in range(4) for r in range(R) for t in range(N)
            if (3 * h + r + t * t) % 4 == 0}


def make_batch(index: bool) -> Batch:
    triples = torch.tensor(sorted(graph()))
    head, rel, tail = triples[torch.randperm(len(triples))[:B]].t()
    known = TripleIndex(triples[:, [0, 2]].t(), triples[:, 1], N, R)
    return Batch(head, rel, tail, torch.Generator(),
                 index=known if index else None)


def side_losses(model: MMKGEModel, triple: Triple, smoothing: float | None
                ) -> list[Tensor]:
    """Returns the losses of the tail query and the head query of a triple."""
    h, r, t = triple

    def score(*args: int) -> Tensor:
        return model(*(torch.tensor([x]) for x in args))[0]

    tails = [score(h, r, n) for n in range(N)]
    heads = [score(t, r + R, n) if getattr(model, 'reciprocal', False) else
             score(n, r, t) for n in range(N)]
    out = []
    for scores, answer, known in (
            (tails, t, [(h, r, n) in graph() for n in range(N)]),
            (heads, h, [(n, r, t) in graph() for n in range(N)])):
        if smoothing is None:
            out.append(sum(s.exp() for s in scores).log() - scores[answer])
            continue
        total = 0
        for s, y in zip(scores, known):
            y = (1 - smoothing) * y + smoothing / N
            p = 1 / (1 + (-s).exp())
            total -= y * p.log() + (1 - y) * (1 - p).log()
        out.append(total / N)
    return out


@pytest.mark.parametrize('smoothing', [None, 0.0, 0.1])
@pytest.mark.parametrize('name', MODELS)
def test_by_brute_force(name: str, smoothing: float | None) -> None:
    """The loss and its gradients match, including the regularization."""
    model = MODELS[name]().double()
    loss = OneVsAllLoss() if smoothing is None else KvsAllLoss(smoothing)
    batch = make_batch(loss.needs_labels)
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    out = complete(model, loss, batch).loss
    wanted = sum(part / (2 * B) for triple in zip(
        head.tolist(), rel.tolist(), tail.tolist())
        for part in side_losses(model, triple, smoothing))
    nodes = torch.arange(N)
    views = model.embed(nodes)
    extra = model.regularization(
        Encoded(nodes, views, model.fuse(views), head, tail), rel)
    if extra is not None:
        wanted = wanted + extra
    params = list(model.parameters())
    # Labels are in single precision.
    for x, y in zip([out, *torch.autograd.grad(out, params)],
                    [wanted, *torch.autograd.grad(wanted, params)]):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-7)


class Spy(AllNodesLoss):
    """Records the inputs of the loss."""
    needs_labels = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, ...]] = []

    def forward(self, scores: Tensor, target: Tensor,
                labels: Tensor | None = None) -> Tensor:
        self.seen.append((target.clone(), labels.clone()))
        return scores.mean()


@pytest.fixture
def kg() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=40, num_relations=3, num_edges=160, seed=1)[0]


def test_labels_are_the_training_triples(kg: KnowledgeGraph) -> None:
    """Labels never include validation or test triples."""
    loss = Spy()
    trainer = Trainer(ComplEx(40, 3, 4), kg, loss=loss, batch_size=50,
                      epochs=1, valid_every=None, progress=False)
    queries = []
    step = trainer.train_step

    def spy(batch: Batch, where: str) -> dict[str, Tensor]:
        queries.append((batch.head_index, batch.rel_type, batch.tail_index))
        return step(batch, where)

    trainer.train_step = spy
    trainer.fit()
    train = kg.split('train')
    known = set(zip(*train.edge_index.tolist(), train.edge_type.tolist()))
    assert len(loss.seen) == 2 * len(queries)
    assert sum(len(q[0]) for q in queries) == train.edge_type.numel()
    for i, (head, rel, tail) in enumerate(queries):
        for target, labels, given, side in (
                (*loss.seen[2 * i], head, 'tail'),
                (*loss.seen[2 * i + 1], tail, 'head')):
            assert torch.equal(target, tail if side == 'tail' else head)
            for b in range(len(head)):
                pair = [(int(given[b]), n) if side == 'tail' else
                        (n, int(given[b])) for n in range(40)]
                assert labels[b].tolist() == [
                    (h, t, int(rel[b])) in known for h, t in pair]


LOSSES = pytest.mark.parametrize('loss', [OneVsAllLoss(), KvsAllLoss(0.1)])


def trainer_of(kg: KnowledgeGraph, loss: AllNodesLoss, init: int = 0,
               **kwargs: object) -> Trainer:
    torch.manual_seed(init)
    model = ComplEx(40, 3, 8, reciprocal=True, n3=0.01)
    return Trainer(model, kg, loss=loss, **{
        'batch_size': 50, 'epochs': 4, 'lr': 0.02, 'valid_every': 1,
        'lr_schedule': 'cosine', 'progress': False, **kwargs})


@LOSSES
def test_resumed_equals_uninterrupted(loss: AllNodesLoss, kg: KnowledgeGraph,
                                      tmp_path: Path) -> None:
    whole = trainer_of(kg, loss)
    history = whole.fit()
    first = trainer_of(kg, loss, folder=tmp_path)
    run, count = first.train_step, []

    def stop(*args: object) -> dict[str, Tensor]:
        count.append(args)
        if len(count) == 8:  # In the third epoch.
            raise KeyboardInterrupt
        return run(*args)

    first.train_step = stop
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    resumed = trainer_of(kg, loss, init=9, folder=tmp_path)
    again = resumed.fit(resume=True)
    assert [e['loss'] for e in again.epochs] == [
        e['loss'] for e in history.epochs]
    for name, x in whole.model.state_dict().items():
        assert torch.equal(x, resumed.model.state_dict()[name])
    other = trainer_of(kg, KvsAllLoss(0.2), folder=tmp_path)
    with pytest.raises(CheckpointError, match='loss: saved'):
        other.fit(resume=True)


@LOSSES
def test_it_learns(loss: AllNodesLoss, kg: KnowledgeGraph) -> None:
    trainer = trainer_of(kg, loss, epochs=30, lr_schedule=None)
    history = trainer.fit()
    assert history.epochs[-1]['loss'] < 0.8 * history.epochs[0]['loss']


@LOSSES
def test_mat_beside_it(loss: AllNodesLoss, kg: KnowledgeGraph) -> None:
    """Both sides of an adversarial training learn without negatives."""
    model = AdaMF.from_data(kg, 4)
    adversary = MAT.from_model(model, generator_channels=8, noise_channels=3,
                               weight=0.5)
    states = [[p.detach().clone() for p in part.parameters()]
              for part in (model, adversary)]
    trainer = AdversarialTrainer(
        model, kg, adversary=adversary, loss=loss, batch_size=50, epochs=1,
        valid_every=None, progress=False)
    assert trainer.sampler is None
    trainer.fit()
    for before, part in zip(states, (model, adversary)):
        assert not any(map(torch.equal, before, part.parameters()))


def test_refusals(kg: KnowledgeGraph) -> None:
    sizes = (kg.num_nodes, kg.num_relations, 4)
    with pytest.raises(ModelError, match="no sampler for 'OneVsAll.*"
                       'got UniformSampler'):
        Trainer(ComplEx(*sizes), kg, loss=OneVsAllLoss(),
                sampler=UniformSampler(3))
    with pytest.raises(ModelError, match="'MMKGEModel'.*'OneVsAllLoss'.*"
                       "got 'ComplEx'"):
        Trainer(PyGComplEx(*sizes), kg, loss=OneVsAllLoss())
    with pytest.raises(ModelError, match="'ComplEx' with reciprocal.*"
                       'got UniformSampler'):
        Trainer(ComplEx(*sizes, reciprocal=True), kg,
                loss=SelfAdversarialLoss(), sampler=UniformSampler(3))
    with pytest.raises(ModelError, match="an AdversarialTrainer.*'AdaMFMAT'"
                       ".*got 'Trainer'"):
        Trainer(AdaMFMAT.from_data(kg, 4), kg, loss=OneVsAllLoss())
