"""Every public model passes every check."""

import pytest

from pyg_mmkgc.nn import kge
from pyg_mmkgc.testing import MODEL_CHECKS, check_model

from .cases import CASES, Case

PUBLIC = [name for name in kge.classes if name != 'MMKGEModel']


def test_every_public_model_has_a_case() -> None:
    without = set(PUBLIC) - {case.name for case in CASES}
    assert not without, (f'add a line to tests/nn/kge/cases.py for each of '
                         f'{sorted(without)}')


@pytest.mark.parametrize('case, check', [
    pytest.param(case, check, id=f'{case}-{check}') for case in CASES
    for check in MODEL_CHECKS if check not in case.skip])
def test_model(case: Case, check: str) -> None:
    check_model(getattr(kge, case.name), checks=[check], **case.kwargs,
                **case.hints)
