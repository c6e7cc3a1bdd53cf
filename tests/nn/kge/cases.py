"""The cases in which each public model is checked, at least one per class.

A case is a class name, the arguments of its constructor in addition to
``hidden_channels=8``, and hints for ``check_model`` (``lr``, ``epochs``,
``sampler`` as a callable or None, ``loss``). Give a model one case for each
option that changes what is computed. To run the checks of one model:

    pytest tests/nn/kge/test_all_models.py -k AdaMF
"""

from typing import Any, NamedTuple

from pyg_mmkgc.nn import KvsAllLoss, MarginRankingLoss, OneVsAllLoss


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
PROBABILITIES = {'sampler': None, 'loss': KvsAllLoss()}

CASES = [
    Case('AdaMF', {'margin': 3.0}),
    Case('AdaMF', {'margin': 3.0, 'missing': 'drop'}),
    Case('AdaMF', {'margin': 3.0, 'drop_unseen': True}),
    Case('AdaMF', {'margin': 3.0, 'drop_unseen': True,
                   'structure_dropout': 0.3}),
    Case('AdaMF', {'margin': 3.0, 'missing': 'learned', 'fusion': 'shared',
                   'trainable_features': True}),
    Case('AdaMF', {'margin': 3.0, 'structure': False, 'fusion': 'mean'},
         skip=('overfits', )),  # Nodes without features are all alike.
    Case('AdaMF', {'margin': 3.0, 'encoder_channels': {'text': 7}}),
    Case('NativE', {'margin': 3.0, 'drop_unseen': True}),
    Case('AdaMFMAT', {'margin': 3.0, 'noise_channels': 3,
                      'generator_channels': 8}),
    *(Case('TransE', {'margin': 3.0, 'norm': norm})
      for norm in ('none', 'score', 'constraint')),
    Case('TransE', {'p_norm': 2.0, 'norm': 'none'},
         {'loss': MarginRankingLoss()}),
    *(Case(name, kwargs, hints) for name in ('TransH', 'TransD')
      for kwargs, hints in (({'margin': 3.0}, {}),
                            ({'p_norm': 2.0}, {'loss': MarginRankingLoss()}))),
    Case('RotatE', {'margin': 3.0}),
    Case('PairRE', {'margin': 3.0}),
    *(Case(name, {'margin': 3.0, 'block_size': size})
      for name in ('OTE', 'GCOTE') for size in (2, 4)),
    *(Case(name, kwargs, hints) for name in ('DistMult', 'ComplEx')
      for kwargs, hints in (({}, {}), ({'n3': 1e-3, 'l3': 1e-4}, {}),
                            ({'reciprocal': True}, ALL_NODES))),
    Case('SimplE'),
    Case('SimplE', {'n3': 1e-3, 'l3': 1e-4}),
    Case('IKRL', {'margin': 20.0}),
    Case('IKRL', {'margin': 20.0, 'missing': 'drop'}),
    Case('IKRL', {'margin': 20.0, 'trainable_features': True}),
    Case('TBKGC', {'margin': 6.0}),
    Case('TBKGC', {'margin': 6.0, 'encoder_channels': {'text': 7}}),
    Case('MMKRL', {'margin': 3.0}),
    Case('VBKGC', {'margin': 6.0}),
    Case('VBKGC', {'margin': 6.0, 'distance': 'rotation'}),
    Case('NativE', {'margin': 3.0}),
    Case('NativE', {'margin': 3.0, 'missing': 'drop', 'fusion': 'adaptive'}),
    # Dropout at a width of 8 keeps both from memorizing.
    Case('MoMoK', {}, PROBABILITIES, skip=('overfits', )),
    Case('MoMoK', {'dropout': 0.0, 'num_experts': 2, 'missing': 'drop',
                   'encoder_channels': {'text': 7}},
         {**PROBABILITIES, 'epochs': 800}),
    Case('MyGO', {}, ALL_NODES, skip=('overfits', )),
    Case('MyGO', {'dropout': 0.0, 'structure_dropout': 0.0, 'num_heads': 4,
                  'num_layers': 2, 'contrast': 0.0},
         {**ALL_NODES, 'lr': 0.005, 'epochs': 400}),
    Case('TransAE', {'margin': 1.0, 'reconstruction_weight': 0.01},
         {'lr': 0.02, 'epochs': 800}),
    *(Case(name, {**kwargs, 'n3': 1e-3, 'reciprocal': True}, ALL_NODES)
      for name, kwargs in (
               ('RSME', {}), ('RSME', {'form': 'port'}),
               ('OTKGE', {'scale': 1.0}), ('MoSE', {}))),
    Case('RSME'),
    Case('RSME', {'alpha': None, 'forget': 0.5, 'n3': 1e-3}),
    Case('RSME', {'form': 'port'}),
    # With few features, a smaller scale transports values of usual size.
    Case('OTKGE', {'scale': 1.0, 'refresh': 3}),
    Case('MoSE', {'encoder_channels': {'text': 7}}),
    *(Case('MoSE', {'ensemble': mode})
      for mode in ('mean', 'boosted', 'learned')),
]
