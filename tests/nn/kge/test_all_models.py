"""Every public model passes every check."""

import inspect
import statistics

import pytest
import torch_geometric.nn.kge as pyg_kge

from pyg_mmkgc.nn import kge
from pyg_mmkgc.testing import MODEL_CHECKS, check_model

from .cases import CASES, Case

PUBLIC = [name for name in kge.classes if name != 'MMKGEModel']


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


def test_a_model_is_a_page() -> None:
    lines = [len(inspect.getsource(inspect.getmodule(getattr(kge, name))
                                   ).splitlines()) for name in PUBLIC]
    assert statistics.median(lines) < 120


@pytest.mark.parametrize('case, check', [
    pytest.param(case, check, id=f'{case}-{check}') for case in CASES
    for check in MODEL_CHECKS if check not in case.skip])
def test_model(case: Case, check: str) -> None:
    check_model(getattr(kge, case.name), checks=[check], **case.kwargs,
                **case.hints)
