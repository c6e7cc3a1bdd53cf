"""Fixtures of the tests of the benchmarks."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'
SCRIPTS = {path.stem for path in BENCHMARKS.glob('*.py')}


@pytest.fixture
def study(monkeypatch):
    """Imports the package of the runner from the folder of the scripts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import study.budgets
    import study.cells
    import study.features
    import study.figures
    import study.methods
    import study.queries
    import study.report
    import study.runner
    import study.search
    import study.stats
    yield study
    for name in [x for x in sys.modules if x.split('.')[0] == 'study'
                 or x in SCRIPTS]:
        del sys.modules[name]
