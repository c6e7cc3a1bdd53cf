"""The methods of table 2 and their search spaces."""

from __future__ import annotations

from study.search import Method

#: Margin, temperature and learning rate, for models of distances.
DISTANCE = {'model.margin': (3.0, 4.0, 6.0, 9.0, 12.0),
            'loss.temperature': (0.5, 1.0, 2.0),
            'training.lr': (1e-3, 2e-3, 5e-3)}
#: The same settings for models that add up the distances of several views.
SUMS = {**DISTANCE, 'model.margin': (6.0, 12.0, 18.0, 24.0, 36.0)}
#: The space DISTANCE with the weight of the adversary.
ADVERSARIAL = {**DISTANCE, 'adversary.weight': (1e-1, 1e-2, 1e-3)}
#: TransD, KBGAN and MANS use a hinge loss with its own margin. The order
#: keeps the trials from the time when 12 was the largest margin.
HINGE = {'loss.margin': (1.0, 12.0, 6.0, 3.0, 24.0, 48.0),
         'training.lr': (1e-3, 3e-3)}
#: Products against all nodes with the N3 regularizer.
PRODUCT = {'model.n3': (0.005, 0.02, 0.05, 0.1, 0.2),
           'training.lr': (2e-3, 5e-3, 1e-2)}
#: Core tensors against all nodes, which need dropout.
TUCKER = {'model.dropout': (0.1, 0.3, 0.5),
          'training.lr': (5e-4, 1e-3, 2e-3)}
#: PyG's own losses.
PLAIN = {'model.margin': (1.0, 3.0, 6.0, 9.0, 12.0),
         'training.lr': (1e-3, 3e-3, 1e-2)}

STRUCTURAL = [
    Method('TransE', 'transe', DISTANCE),
    Method('TransD', 'transd', HINGE),
    Method('DistMult', 'distmult', PRODUCT),
    Method('ComplEx', 'complex', PRODUCT),
    Method('RotatE', 'rotate', DISTANCE),
    Method('PairRE', 'pairre', DISTANCE),
    Method('OTE', 'ote', DISTANCE),
    Method('GC-OTE', 'gc_ote', DISTANCE),
]
MULTI_MODAL = [
    Method('IKRL', 'ikrl', SUMS),
    Method('TBKGC', 'tbkgc', SUMS),
    Method('TransAE', 'transae', DISTANCE),
    Method('MMKRL', 'mmkrl', DISTANCE),
    Method('RSME', 'rsme', PRODUCT),
    Method('VBKGC', 'vbkgc', SUMS),
    Method('OTKGE', 'otkge', PRODUCT),
    Method('MoSE', 'mose', PRODUCT),
    Method('NativE', 'native', ADVERSARIAL),
    Method('MoMoK', 'momok', TUCKER),
    Method('MyGO', 'mygo', {
        **TUCKER, 'model.structure_dropout': (0.3, 0.6, 0.9)}),
]
NEGATIVES = [
    Method('KBGAN(TransE)', 'kbgan_transe', HINGE),
    Method('KBGAN(TransD)', 'kbgan_transd', HINGE),
    Method('MANS', 'mans', HINGE),
    Method('MMRNS(RotatE)', 'mmrns_rotate', DISTANCE),
]
OURS = [
    Method('AdaMF', 'adamf', DISTANCE),
    Method('AdaMF-MAT', 'adamf_mat', ADVERSARIAL),
]
#: PyG's models with their own loss on one negative.
PYG = [
    Method('PyG TransE', 'pyg_transe', PLAIN),
    Method('PyG DistMult', 'pyg_distmult', PLAIN),
    Method('PyG ComplEx', 'pyg_complex',
           {'training.lr': PLAIN['training.lr']}),
    Method('PyG RotatE', 'pyg_rotate', PLAIN),
]
METHODS = {x.row: x for x in (*STRUCTURAL, *MULTI_MODAL, *NEGATIVES, *OURS,
                              *PYG)}
