r"""Checks of a model that train it."""
from __future__ import annotations

from typing import Any

import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn.encoder import MISSING
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.testing.adversary import expect_sides
from pyg_mmkgc.testing.subject import (
    Subject,
    expect,
    small_graph,
    tree_graph,
    triples,
)
from pyg_mmkgc.training import MAT
from pyg_mmkgc.transforms import DropModality


@torch.no_grad()
def _gap(model: MMKGEModel, data: KnowledgeGraph) -> float:
    head, rel, tail = triples(data)
    other = torch.randint(model.num_nodes, (20, tail.numel()),
                          generator=torch.Generator().manual_seed(0))
    model.eval()
    neg = [model(head, rel, row) for row in other]
    return float(model(head, rel, tail).mean() - torch.stack(neg).mean())


def check_higher_is_better(subject: Subject) -> None:
    r"""Checks that training triples score higher than the same triples with
    other tails after 20 steps.
    """
    data = small_graph()
    model = subject.model(data)
    before = _gap(model, data)
    after = _gap(subject.fit(model, data, steps=20), data)
    expect(after > max(before, 0.0),
           'Expected higher scores of training triples than of other triples '
           f'after 20 steps (got a difference of {after:.4g}, and '
           f'{before:.4g} before)')


def check_overfits(subject: Subject) -> None:
    r"""Checks that a model memorizes 50 training triples, with a filtered MRR
    of more than 0.95.
    """
    data = tree_graph()
    model = subject.fit(subject.model(data), data, steps=subject.epochs)
    mrr = evaluate(model, data, 'train').mrr
    expect(mrr > 0.95, 'Expected a training MRR of more than 0.95 on 50 '
           f'triples (got {mrr:.3f} after {subject.epochs} steps)')


def check_modality_dropped(subject: Subject) -> None:
    r"""Checks that a model without one or without all modalities either can be
    trained, or is rejected with a clear error.
    """
    names = subject.model().modalities
    for drop in [[name] for name in names] + [names] * (len(names) > 1):
        data = DropModality(*drop)(small_graph())
        _expect_trains_or_refuses(subject, data, f'without {drop}')


def check_modality_missing(subject: Subject) -> None:
    r"""Checks that a model can be trained with every policy for missing rows,
    and with modalities of all nodes or of a single node. The values of missing
    rows must have no effect.
    """
    names = subject.model().modalities
    if not names:
        return
    for policy in MISSING if subject.takes('missing') else ():
        _expect_trains_or_refuses(subject, small_graph(),
                                  f'with missing={policy!r}', missing=policy)
    for what, mask in (('all nodes', torch.ones(24, dtype=torch.bool)),
                       ('one node', torch.arange(24) == 7)):
        data = small_graph()
        for name in names:
            data[f'mask_{name}'] = mask.clone()
        _expect_trains_or_refuses(subject, data, f'with features of {what}')
    if not subject.takes('masks'):
        return
    data, scores = small_graph(), []
    for _ in range(2):
        scores.append(subject.model(data).eval()(*triples(data)))
        for name in names:
            data[f'x_{name}'][~data[f'mask_{name}']] = 50.0
    expect(torch.equal(*scores), 'Expected the features of masked nodes to '
           'have no effect (got different scores)')


def _expect_trains_or_refuses(subject: Subject, data: KnowledgeGraph,
                              what: str, **kwargs: Any) -> None:
    try:
        model = subject.model(data, **kwargs)
    except ModelError as error:
        expect(len(str(error)) > 20, f'Expected a ModelError with a reason '
               f'{what} (got {str(error)!r})')
        return
    model = subject.fit(model, data)
    expect(model(*triples(data)).isfinite().all(),
           f'Expected finite scores {what} (got NaN or infinity)')


def check_mat(subject: Subject) -> None:
    r"""Checks that the two steps of modality adversarial training change only
    their own side, if the model has a structure and modalities.
    """
    data = small_graph()
    model = subject.model(data)
    if not model.modalities or model.node_emb.num_embeddings == 0:
        return
    small = {} if model.generator_modules() is not None else {
        'noise_channels': 3, 'generator_channels': 8}
    adversary = MAT.from_model(model, weight=0.5, **small)
    # Models with reciprocal relations only support a loss on all nodes.
    loss = subject.loss if subject.sampler is None else None
    expect_sides(model, adversary, lr=subject.lr, loss=loss)
