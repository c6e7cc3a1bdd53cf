"""The examples in docstrings run with the stated results."""

import doctest
import importlib
import inspect

import pytest

from pyg_mmkgc import evaluation, visualization

MODULES = ['evaluation.compare', 'evaluation.embeddings',
           'evaluation.evaluate', 'evaluation.explain', 'evaluation.predict',
           'evaluation.records', 'evaluation.score', 'data.audit',
           'training.history', 'visualization.plots', 'report']


@pytest.mark.filterwarnings('ignore:Many candidates share the score')
@pytest.mark.parametrize('name', MODULES)
def test_examples(name: str) -> None:
    if name == 'visualization.plots':
        pytest.importorskip('matplotlib')
    module = importlib.import_module(f'pyg_mmkgc.{name}')
    failed, tried = doctest.testmod(
        module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0 and tried > 0


def test_every_public_function_has_one() -> None:
    functions = [getattr(package, name)
                 for package in (evaluation, visualization)
                 for name in package.__all__]
    finder = doctest.DocTestFinder(recurse=False)
    lacking = [function.__name__ for function in functions
               if inspect.isfunction(function)
               and function.__name__ != 'plot_history'
               and not any(test.examples for test in finder.find(function))]
    assert lacking == []
    modules = {inspect.getmodule(function).__name__ for function in functions
               if inspect.isfunction(function)}
    assert modules <= {f'pyg_mmkgc.{name}' for name in MODULES}
