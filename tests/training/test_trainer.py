"""Tests of trainings and of arguments that are refused."""

import math
import re

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE
from torch_geometric.testing import withCUDA

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import DataError, ModelError, NonFiniteError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn import (
    AdaMF,
    AdaMFMAT,
    MarginRankingLoss,
    OneVsAllLoss,
    SelfAdversarialLoss,
)
from pyg_mmkgc.sampler import BernoulliSampler, PooledSampler, UniformSampler
from pyg_mmkgc.training import MAT, AdversarialTrainer, Trainer


def test_a_step_by_hand(kg, make) -> None:
    """One epoch of SGD equals a loop over the same permutation."""
    trainer = make('adamf', epochs=1, valid_every=None, optimizer=lambda p:
                   torch.optim.SGD(p, lr=0.1))
    seen: list[Tensor] = []
    run = trainer.train_step

    def record(batch, where):  # noqa: ANN001, ANN202
        seen.append(torch.stack([batch.head_index, batch.rel_type,
                                 batch.tail_index]))
        assert where == f'epoch 1, step {len(seen)}'
        return run(batch, where)

    trainer.train_step = record
    trainer.fit()
    assert [x.size(1) for x in seen] == [50, 50, 28] and len(trainer) == 3
    train = kg.split('train')
    expected = torch.stack([train.edge_index[0], train.edge_type,
                            train.edge_index[1]])
    key = torch.tensor([[10000], [100], [1]])
    got = (torch.cat(seen, dim=1) * key).sum(0)
    assert not torch.equal(got, (expected * key).sum(0))  # Shuffled.
    assert torch.equal(got.sort()[0], (expected * key).sum(0).sort()[0])


def test_epochs_are_shuffled_anew(make) -> None:
    trainer = make('pyg')
    first, again, second = (torch.cat([b.head_index for b in
                                       trainer._batches(epoch)])
                            for epoch in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_history(make) -> None:
    trainer = make('adamf', epochs=5, valid_every=2)
    weights = {}
    run = trainer.train_step

    def keep(batch, where):  # noqa: ANN001, ANN202
        out = run(batch, where)
        weights[int(where.split(',')[0][6:])] = {
            name: x.clone() for name, x in trainer.model.state_dict().items()}
        return out

    trainer.train_step = keep
    history = trainer.fit()
    assert [e['epoch'] for e in history.epochs] == [1, 2, 3, 4, 5]
    valid = {e['epoch']: e['val_mrr'] for e in history.epochs
             if 'val_mrr' in e}
    assert list(valid) == [2, 4, 5]
    assert history.best_metrics['mrr'] == max(valid.values())
    assert valid[history.best_epoch] == max(valid.values())
    assert history.epochs[-1]['loss'] < history.epochs[0]['loss']
    # The model has the best weights, which reproduce the validation.
    best = weights[history.best_epoch]
    assert all(torch.equal(x, best[name])
               for name, x in trainer.model.state_dict().items())
    assert evaluate(trainer.model, trainer.data, 'val').mrr == max(
        valid.values())


def test_loss_of_an_epoch_is_the_mean_over_triples(make) -> None:
    trainer = make('adamf', epochs=1)
    losses, run = [], trainer.train_step

    def keep(batch, where):  # noqa: ANN001, ANN202
        out = run(batch, where)
        losses.append((out['loss'].item(), batch.head_index.numel()))
        return out

    trainer.train_step = keep
    entry = trainer.fit().epochs[0]
    mean = sum(loss * size for loss, size in losses) / 128
    assert entry['loss'] == pytest.approx(mean, rel=1e-5)


def test_early_stopping(make, monkeypatch) -> None:
    """It stops after `patience` validations without improvement."""
    values = iter([0.1, 0.3, 0.2, 0.3, 0.29, 0.9])

    class Result:
        def metrics(self) -> dict[str, float]:
            return {'mrr': next(values)}

    monkeypatch.setattr('pyg_mmkgc.training.trainer.evaluate',
                        lambda *args, **kwargs: Result())
    history = make('pyg', epochs=12, valid_every=2, patience=3).fit()
    assert history.stopped_early and len(history.epochs) == 10
    assert history.best_epoch == 4 and history.best_metrics == {'mrr': 0.3}


@pytest.mark.parametrize('schedule', [None, 'linear', 'cosine'])
def test_learning_rates(schedule, make) -> None:
    trainer = make('mat', epochs=2, lr_schedule=schedule,
                   valid_every=None)
    rates, run = [], trainer.train_step

    def keep(batch, where):  # noqa: ANN001, ANN202
        rates.append([trainer.optimizers[name].param_groups[0]['lr']
                      for name in ('model', 'adversary')])
        return run(batch, where)

    trainer.train_step = keep
    trainer.fit()
    factors = {None: [1.0] * 6, 'linear': [1 - i / 6 for i in range(6)],
               'cosine': [(1 + math.cos(math.pi * i / 6)) / 2
                          for i in range(6)]}[schedule]
    assert rates == [[pytest.approx(0.02 * f), pytest.approx(0.01 * f)]
                     for f in factors]


# Data and models #############################################################


@pytest.mark.parametrize('cls', [TransE, DistMult, ComplEx, RotatE])
@pytest.mark.parametrize('sparse', [False, True])
def test_models_of_pyg_on_plain_data(cls, sparse, kg) -> None:
    """It trains with its own loss, and with a sampler and another loss."""
    data = Data(edge_index=kg.edge_index, edge_type=kg.edge_type,
                num_nodes=kg.num_nodes)
    model = cls(kg.num_nodes, kg.num_relations, 8, sparse=sparse)
    for kwargs in ({}, {'sampler': BernoulliSampler(4),
                        'loss': MarginRankingLoss()}):
        history = Trainer(model, data, epochs=8, lr=0.05, batch_size=40,
                          progress=False, **kwargs).fit()
        assert history.best_epoch is None  # There is no validation split.
        assert history.epochs[-1]['loss'] < history.epochs[0]['loss']


def test_dataset_of_pyg(kg) -> None:
    """Builds one object per split, as in `FB15k_237`."""
    class Dataset:
        def __init__(self, split: str) -> None:
            self.part = kg.split(split)

        def __getitem__(self, _: int) -> Data:
            return Data(edge_index=self.part.edge_index,
                        edge_type=self.part.edge_type,
                        num_nodes=kg.num_nodes)

    data = KnowledgeGraph.from_pyg(*(Dataset(s)[0]
                                     for s in ('train', 'val', 'test')))
    history = Trainer(RotatE(kg.num_nodes, kg.num_relations, 4), data,
                      epochs=1, progress=False).fit()
    assert history.best_epoch == 1


def test_pyg_dataset_object() -> None:
    data = FakeMMKG(num_nodes=40, num_edges=100)
    history = Trainer(AdaMF.from_data(data[0], 3), data,
                      sampler=PooledSampler(4), epochs=1,
                      progress=False).fit()
    assert history.best_epoch == 1


def test_model_without_structure(kg) -> None:
    model = AdaMF.from_data(kg, 4, structure=False)
    before = model.encoders['visual'].lin.weight.detach().clone()
    Trainer(model, kg, sampler=PooledSampler(4), epochs=2,
            progress=False).fit()
    assert not torch.equal(model.encoders['visual'].lin.weight, before)


def test_frozen_parameters_stay(kg) -> None:
    model = AdaMF.from_data(kg, 4)
    model.rel_emb.requires_grad_(False)
    before = model.rel_emb.weight.clone()
    Trainer(model, kg, sampler=PooledSampler(4), epochs=1,
            progress=False).fit()
    assert torch.equal(model.rel_emb.weight, before)


# Errors ######################################################################


def test_model_too_small_for_the_graph(kg) -> None:
    for counts in ((kg.num_nodes - 1, kg.num_relations),
                   (kg.num_nodes, kg.num_relations - 1)):
        with pytest.raises(ModelError, match='model with the 40 nodes and 6 .*'
                           f'got {counts[0]} nodes and {counts[1]} rel'):
            Trainer(TransE(*counts, 4), kg)


@pytest.mark.parametrize('name, value', [
    ('lr', 0.0), ('lr', -1.0), ('lr', math.nan), ('grad_clip', 0.0),
    ('batch_size', 2.0), ('epochs', 1.5), ('epochs', None), ('patience', 0),
    ('valid_every', 0), ('valid_every', 0.5), ('seed', -1), ('seed', 0.5),
    ('lr', 'fast'), ('lr', [0.1]), ('grad_clip', 'fast'), ('epochs', '9')])
def test_bad_numbers(name, value, make) -> None:
    with pytest.raises(ModelError, match=rf"'{name}' to be (positive|an "
                       rf'integer >= [01]) \(got {re.escape(repr(value))}\)$'):
        make('pyg', **{name: value})


def test_bad_schedule(make) -> None:
    with pytest.raises(ModelError, match="'lr_schedule' .*got 'warm'"):
        make('pyg', lr_schedule='warm')


def test_selection_on_a_leaking_split_is_refused(kg) -> None:
    data = kg.clone()
    data.selection_refused = 'it repeats 6,584 training triples'
    model = TransE(kg.num_nodes, kg.num_relations, 4)
    with pytest.raises(DataError, match='may select weights .*6,584 '
                       'training.*valid_every=None'):
        Trainer(model, data)
    history = Trainer(model, data, valid_every=None, epochs=2,
                      progress=False).fit()
    assert history.best_epoch is None


def test_mat_needs_its_trainer(kg) -> None:
    with pytest.raises(ModelError, match="AdversarialTrainer.*got 'Trainer'"):
        Trainer(AdaMFMAT.from_data(kg, 4), kg, sampler=PooledSampler(4))


class Poison(torch.nn.Module):
    """A loss that is not finite in call number `call`."""
    def __init__(self, call: int, value: float) -> None:
        super().__init__()
        self.call, self.value, self.calls = call, value, 0

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        self.calls += 1
        factor = self.value if self.calls == self.call else 1.0
        return (neg.mean() - pos.mean()) * factor


@pytest.mark.parametrize('call', [1, 3, 5])
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_bad_loss_stops_before_the_step(call, value, make, state,
                                        same) -> None:
    trainer = make('adamf', loss=Poison(call, value))
    states, run = [], trainer.train_step

    def keep(batch, where):  # noqa: ANN001, ANN202
        states.append(state(trainer))
        return run(batch, where)

    trainer.train_step = keep
    where = f'epoch {(call + 2) // 3}, step {(call - 1) % 3 + 1}'
    with pytest.raises(NonFiniteError, match=where):
        trainer.fit()
    assert len(states) == call
    same(state(trainer), states[-1])


@pytest.mark.parametrize('name', ['node_emb.weight', 'rel_emb.weight',
                                  'fuser.weight', 'encoders.text.lin.weight'])
def test_bad_value_is_named(name, make, state, same) -> None:
    trainer = make('adamf', epochs=2)
    trainer.model.state_dict()[name][:] = math.nan
    before = trainer.model.state_dict()
    before = {key: x.nan_to_num(9.0) for key, x in before.items()}
    with pytest.raises(NonFiniteError, match=f'epoch 1.*: .*{name}'):
        trainer.fit()
    same({key: x.nan_to_num(9.0) for key, x in
          trainer.model.state_dict().items()}, before)


def test_bad_gradient_is_named(make, state, same) -> None:
    trainer = make('adamf')
    trainer.model.rel_emb.weight.register_hook(
        lambda grad: grad.index_fill(0, torch.tensor([0]), math.inf))
    before = state(trainer)
    with pytest.raises(NonFiniteError, match='rel_emb.weight.. No step'):
        trainer.fit()
    same(state(trainer), before)


# Learning ####################################################################


@pytest.fixture(scope='module')
def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=150, num_edges=900, seed=3)[0]


def train(model: torch.nn.Module, graph: KnowledgeGraph) -> float:
    Trainer(model, graph, sampler=PooledSampler(64, 64), lr=0.05,
            batch_size=128, epochs=30, valid_every=10, progress=False).fit()
    return evaluate(model, graph, 'test').mrr


def test_features_help(graph) -> None:
    """The MRR is far above chance, and features improve it."""
    chance = sum(1 / n for n in range(1, 151)) / 150
    structure = train(AdaMF(150, graph.num_relations, 8, margin=3.0), graph)
    features = train(AdaMF.from_data(graph, 8, margin=3.0), graph)
    assert structure > 3 * chance
    assert features > structure + 0.1


@withCUDA
def test_devices(device, kg) -> None:
    """Every device draws the same numbers, and the model is moved."""
    torch.manual_seed(0)
    model = AdaMF.from_data(kg, 4)
    trainer = Trainer(model, kg, sampler=BernoulliSampler(4), epochs=2,
                      batch_size=50, device=device, progress=False)
    history = trainer.fit()
    assert model.rel_emb.weight.device == device
    torch.manual_seed(0)
    other = Trainer(AdaMF.from_data(kg, 4), kg, sampler=BernoulliSampler(4),
                    epochs=2, batch_size=50, progress=False)
    for x, y in zip(history.epochs, other.fit().epochs):
        assert x['loss'] == pytest.approx(y['loss'], rel=1e-4)


def test_a_loader_of_pyg(kg: KnowledgeGraph) -> None:
    """The trainer builds its own batches from the triples of the loader."""
    train = kg.split('train')
    head, tail = train.edge_index
    torch.manual_seed(0)
    model = TransE(kg.num_nodes, kg.num_relations, 8)
    loader = model.loader(head, train.edge_type, tail, batch_size=16)
    trainer = Trainer(model, loader, epochs=1, batch_size=50, progress=False)
    for x, expected in zip(trainer.triples, (head, train.edge_type, tail),
                           strict=True):
        assert torch.equal(x, expected)
    before = model.node_emb.weight.clone()
    assert len(trainer.fit().epochs) == 1
    assert not torch.equal(model.node_emb.weight, before)


def test_arguments_that_do_not_fit(kg: KnowledgeGraph) -> None:
    counts = (kg.num_nodes, kg.num_relations)
    model = TransE(*counts, 8)
    with pytest.raises(ModelError, match="a sampler for 'SelfA.*got none"):
        Trainer(model, kg, loss=SelfAdversarialLoss())
    with pytest.raises(ModelError, match='scores of all nodes .got Unif'):
        Trainer(model, kg, sampler=UniformSampler(2), loss=OneVsAllLoss())
    with pytest.raises(ModelError, match="'MMKGEModel'.*got 'TransE'"):
        Trainer(model, kg, loss=OneVsAllLoss())
    with pytest.raises(ModelError, match=r"KGEModel \(got 'Linear'\)"):
        Trainer(torch.nn.Linear(2, 2), kg)
    with pytest.raises(ModelError, match=f'{counts[0]} nodes and.*got '
                       f'{counts[0] + 1} nodes'):
        Trainer(TransE(counts[0] + 1, counts[1], 8), kg)
    mat = AdaMFMAT.from_data(kg, 4)
    with pytest.raises(ModelError, match='got noise_channels=3.*arguments '
                       'of the model'):
        MAT.from_model(mat, noise_channels=3)
    with pytest.raises(ModelError, match="'generator_lr' to be .*got 0.0"):
        AdversarialTrainer(mat, kg, adversary=MAT.from_model(mat),
                           generator_lr=0.0)


def test_a_broken_graph_is_refused(kg: KnowledgeGraph) -> None:
    model = TransE(kg.num_nodes, kg.num_relations, 8)
    broken = kg.clone()
    broken.edge_index = kg.edge_index.clone()
    broken.edge_index[0, 3] = kg.num_nodes
    with pytest.raises(DataError, match=str(kg.num_nodes)):
        Trainer(model, broken)


def test_an_epoch_of_some_triples() -> None:
    """Each epoch draws its own; the same seed draws the same."""
    kg = FakeMMKG(num_nodes=60, num_edges=300, seed=1)[0]
    seen: list[list[int]] = []

    def train() -> None:
        seen.clear()
        torch.manual_seed(0)
        model = RotatE(60, kg.num_relations, 4)
        loss = model.loss
        model.loss = lambda h, r, t: seen.append(
            (h * 60 + t).tolist()) or loss(h, r, t)
        trainer = Trainer(model, kg, batch_size=8, epochs=2, valid_every=None,
                          triples_per_epoch=20, progress=False)
        assert len(trainer) == 3
        trainer.fit()

    train()
    assert [len(batch) for batch in seen] == [8, 8, 4] * 2
    first, second = sum(seen[:3], []), sum(seen[3:], [])
    known = set((kg.edge_index[0] * 60 + kg.edge_index[1]).tolist())
    assert set(first + second) <= known and set(first) != set(second)
    before = list(seen)
    train()
    assert seen == before
    with pytest.raises(ModelError, match='triples_per_epoch'):
        Trainer(RotatE(60, kg.num_relations, 4), kg, triples_per_epoch=0)
