"""Tests of row-wise Adagrad against its formula and a step by hand."""

import copy

import torch
from torch.nn import Embedding, Linear

from pyg_mmkgc.nn import RotatE
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.training import RowAdagrad, Trainer


def test_a_step_by_hand() -> None:
    table = Embedding(3, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = RowAdagrad(table.parameters(), lr=0.5)
    # The gradients are (3, 4) for row 1: the mean of squares is 12.5.
    (table(torch.tensor([1])) * torch.tensor([3.0, 4.0])).sum().backward()
    optimizer.step()
    expected = before.clone()
    expected[1] -= 0.5 / 12.5**0.5 * torch.tensor([3.0, 4.0])
    torch.testing.assert_close(table.weight.detach(), expected)
    assert optimizer.state[table.weight]['sum'].tolist() == [0, 12.5, 0]


def test_sparse_equals_dense() -> None:
    tables = [Embedding(7, 3, sparse=True, dtype=torch.double)]
    tables.append(Embedding.from_pretrained(
        tables[0].weight.detach().clone(), freeze=False))
    for table in tables:
        optimizer = RowAdagrad(table.parameters())
        for i in range(5):
            optimizer.zero_grad()
            table(torch.tensor([i, 2, 2])).sin().sum().backward()
            optimizer.step()
    torch.testing.assert_close(tables[0].weight, tables[1].weight, rtol=0,
                               atol=1e-14)


def test_rows_of_equal_gradients_follow_adagrad() -> None:
    """If all channels of a row have one gradient, rows are no different."""
    ours = Linear(4, 3, dtype=torch.double)
    theirs = copy.deepcopy(ours)
    for module, optimizer in (
            (ours, RowAdagrad([ours.weight], lr=0.1)),
            (theirs, torch.optim.Adagrad([theirs.weight], lr=0.1))):
        for i in range(4):
            optimizer.zero_grad()
            (module.weight.sum(dim=1) * (torch.arange(3) + i)).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_resumes_bit_for_bit(kg, tmp_path, same, state) -> None:
    def make(epochs: int, **kwargs) -> Trainer:
        torch.manual_seed(0)
        return Trainer(
            RotatE.from_data(kg, 4, sparse=True), kg, epochs=epochs,
            sampler=PooledSampler(5), valid_every=None, progress=False,
            batch_size=50, optimizer=lambda p: RowAdagrad(p, lr=0.1), **kwargs)

    whole = make(4)
    whole.fit()
    make(2, folder=tmp_path).fit()
    resumed = make(4)
    resumed.fit(resume=tmp_path)
    same(state(resumed), state(whole))
    table = whole.optimizers['model'].state[whole.model.node_emb.weight]
    assert table['sum'].shape == (kg.num_nodes, )
