"""How each public model is checked: at least one line per class.

A case is a class name, arguments of its constructor beside
``hidden_channels=8``, and hints for ``check_model`` (``lr``, ``epochs``,
``sampler`` as a callable or None, ``loss``). Give a model one case for each
option that changes what is computed. To run the checks of one model:

    pytest tests/nn/kge/test_all_models.py -k AdaMF
"""

from typing import Any, NamedTuple

from pyg_mmkgc.nn import OneVsAllLoss


class Case(NamedTuple):
    name: str
    kwargs: dict[str, Any] = {}
    hints: dict[str, Any] = {}
    skip: tuple[str, ...] = ()  # Checks that cannot hold; say why.

    def __str__(self) -> str:
        options = '-'.join(f'{key}={value}' for key, value in
                           self.kwargs.items())
        return f'{self.name}-{options}'.rstrip('-')


# Relations that are reciprocal refuse a sampler.
ALL_NODES = {'sampler': None, 'loss': OneVsAllLoss()}

CASES = [
    Case('AdaMF', {'margin': 3.0}),
    Case('AdaMF', {'margin': 3.0, 'missing': 'drop'}),
    Case('AdaMF', {'margin': 3.0, 'missing': 'learned', 'fusion': 'shared',
                   'trainable_features': True}),
    Case('AdaMF', {'margin': 3.0, 'structure': False, 'fusion': 'mean'},
         skip=('overfits', )),  # Nodes without features are all alike.
    Case('AdaMFMAT', {'margin': 3.0, 'noise_channels': 3,
                      'generator_channels': 8}),
    *(Case(name, kwargs, hints) for name in ('DistMult', 'ComplEx')
      for kwargs, hints in (({}, {}), ({'n3': 1e-3, 'l3': 1e-4}, {}),
                            ({'reciprocal': True}, ALL_NODES))),
]
