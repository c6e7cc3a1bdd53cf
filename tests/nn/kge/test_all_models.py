"""Every public model passes every check."""

import inspect
from typing import Any

import pytest
import torch
import torch_geometric.nn.kge as pyg_kge
from torch import Tensor

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import kge
from pyg_mmkgc.testing import MODEL_CHECKS, check_model

from .cases import CASES, Case

PUBLIC = [name for name in kge.classes
          if name not in ('MMKGEModel', 'QueryModel')]


def test_every_public_model_has_a_case() -> None:
    without = set(PUBLIC) - {case.name for case in CASES}
    assert not without, (f'add a line to tests/nn/kge/cases.py for each of '
                         f'{sorted(without)}')


@pytest.mark.parametrize('name', ['TransE', 'DistMult', 'ComplEx', 'RotatE'])
def test_one_import_line_switches_from_pyg(name: str) -> None:
    """PyG's arguments come first, in its order, with its defaults."""
    theirs, ours = (list(inspect.signature(cls).parameters.values())
                    for cls in (getattr(pyg_kge, name), getattr(kge, name)))
    assert [(p.name, p.default) for p in ours[:len(theirs)]] == [
        (p.name, p.default) for p in theirs]


@pytest.mark.parametrize('kwargs', [
    {'num_negatives': 0}, {'hidden_channels': 0}, {'hidden_channels': 4.0},
    {'hidden_channels': '4'}], ids=str)
@pytest.mark.parametrize('name', PUBLIC)
def test_bad_sizes(name: str, kwargs: dict[str, Any]) -> None:
    data = FakeMMKG(num_nodes=9, num_relations=2, num_edges=9,
                    modalities={'text': 3})[0]
    (key, value), = kwargs.items()
    with pytest.raises(ModelError, match=f'{key}.*[ (]got {value!r}|halves'):
        getattr(kge, name).from_data(data, **{'hidden_channels': 4, **kwargs})


@pytest.mark.parametrize('case', [
    # MMKRL projects relations, in half precision, when it scores.
    pytest.param(case, id=str(case)) for case in CASES
    if case.name != 'MMKRL'])
def test_scores_in_full_precision_under_autocast(case: Case) -> None:
    """All forms of a score return the same values as without autocast."""
    data = FakeMMKG(num_nodes=40, num_relations=3, num_edges=90,
                    modalities={'visual': 6, 'text': 5})[0]
    model = getattr(kge, case.name).from_data(data, hidden_channels=8,
                                              **case.kwargs)
    model.prepare(data.edge_index, data.edge_type)
    (head, tail), rel = data.edge_index[:, :9], data.edge_type[:9]
    index, side = torch.randint(40, (9, 5)), torch.rand(9, 5) < 0.5

    def scores() -> list[Tensor]:
        torch.manual_seed(0)  # Dropout differs from call to call.
        return [model.score(table[head], rel, table[tail]),
                model.score_candidates(table, table[head], rel, table[tail],
                                       index, side),
                model.score_tails(head, rel, table),
                model.score_heads(rel, tail, table)]

    with torch.no_grad():
        table = model.encode()
        expected = scores()
        with torch.autocast('cpu', torch.bfloat16):
            got = scores()
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b)


@pytest.mark.parametrize('case, check', [
    pytest.param(case, check, id=f'{case}-{check}', marks=[
        pytest.mark.slow] * (check == 'overfits'))  # A whole training.
    for case in CASES for check in MODEL_CHECKS if check not in case.skip])
def test_model(case: Case, check: str) -> None:
    check_model(getattr(kge, case.name), checks=[check], **case.kwargs,
                **case.hints)
