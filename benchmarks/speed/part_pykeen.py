"""RotatE of PyKEEN 1.11.1 against ours: training and ranking of MKG-W.

PyKEEN draws Bernoulli negatives without filtering known triples, which is
its faster option; ours are filtered. A few of its steps and queries are
measured and extrapolated linearly to an epoch and to all test triples.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exact_ranks import bounds
from part_ranking import compared, with_test
from peer import Peer
from protocol import Row, Setup, ratio, row
from torch_geometric.nn import RotatE
from workloads import Size, build, epoch, mkg_w, trainer

from pyg_mmkgc import KnowledgeGraph, evaluate

STEPS = 5


def _prepare(folder: Path, kg: KnowledgeGraph, model: RotatE, size: Size,
             sample: torch.Tensor, setup: Setup) -> None:
    def triples(edge_index: torch.Tensor, kind: torch.Tensor) -> np.ndarray:
        return torch.stack([edge_index[0], kind, edge_index[1]], 1).numpy()

    train, test = kg.split('train'), kg.split('test')
    perm = torch.randperm(train.num_edges)
    theta = model.rel_emb.weight.detach()
    tables = {
        'train': triples(train.edge_index[:, perm], train.edge_type[perm]),
        'known': triples(*kg.known_triples()),
        'sample': triples(test.edge_index[:, sample], test.edge_type[sample]),
        'nodes': torch.cat([model.node_emb.weight, model.node_emb_im.weight],
                           dim=-1).detach().numpy(),
        'relations': torch.cat([theta.cos(), theta.sin()], dim=-1).numpy(),
    }
    for name, table in tables.items():
        np.save(folder / f'{name}.npy', table)
    (folder / 'spec.json').write_text(json.dumps({
        'num_entities': kg.num_nodes, 'num_relations': kg.num_relations,
        'channels': size.channels, 'batch_size': size.batch_size,
        'num_negatives': size.num_negatives, 'steps': STEPS + 1,
        'device': str(setup.device), 'threads': torch.get_num_threads()}))


def rotate(setup: Setup) -> list[Row]:
    """RotatE, NSSA, 128 Bernoulli negatives, d=200, B=1024. PyKEEN has its
    own process, which waits while ours works. Ranks are compared with the
    same weights and the distance of PyKEEN, which is also PyG's.
    """
    if setup.pykeen is None:
        if setup.quick:
            return []
        raise ValueError('Expected --pykeen PYTHON (got none). See README.md.')
    kg, size = mkg_w(setup), Size.of(setup)
    torch.manual_seed(0)
    model = RotatE(kg.num_nodes, kg.num_relations, size.channels)
    total = kg.split('test').num_edges
    sample = torch.randperm(total)[:min(total, 8 if setup.quick else 128)]
    _prepare(setup.scratch, kg, model, size, sample, setup)
    runs = {name: trainer(setup, build('RotatE', kg, size.channels), kg, name,
                          size) for name in ('bernoulli', 'pooled')}
    own = build('RotatE', kg, size.channels).to(setup.device)
    model = model.to(setup.device)
    with Peer(str(setup.pykeen), 'peer_pykeen.py', str(setup.scratch),
              log=setup.scratch / 'pykeen.log') as peer:
        tasks: dict[str, Callable[[], Any]] = {
            'train': lambda: peer.ask('train'),
            **{name: epoch(run) for name, run in runs.items()},
            'one': lambda: peer.ask('rank', count=1)['seconds'],
            'many': lambda: peer.ask('rank',
                                     count=sample.numel())['seconds'],
            'same': lambda: evaluate(model, kg),
            'own': lambda: evaluate(own, kg)}
        found = setup.interleave(tasks)
        theirs = peer.ask('rank', count=sample.numel())['ranks']
        version = peer.ask('version')
    num_steps = len(runs['pooled'])
    epochs = [x * num_steps for x in found['train']]
    # Costs that do not grow with the number of triples are counted once.
    once = statistics.median(found['one'])
    ranking = [once + max(x - once, 0.0) * (total - 1) / (sample.numel() - 1)
               for x in found['many']]
    out = [row('PyKEEN: epoch', epochs, extrapolated_from=f'{STEPS} steps of '
               f'{num_steps}, as often as there are rounds', **version)]
    for name in runs:
        out.append(row(f'ours, {name}: epoch', found[name]))
        out.append(ratio(f'PyKEEN / ours, {name}: epoch', epochs, found[name],
                         setup.bar(('>=', 35.0))))
    out.append(row('PyKEEN: full ranking', ranking,
                   extrapolated_from=f'{sample.numel()} triples of {total}'))
    for name, label in (('same', "ours, the same weights and PyKEEN's form"),
                        ('own', 'ours, RotatE of the paper')):
        out.append(row(f'{label}: full ranking', found[name]))
        out.append(ratio(f'PyKEEN / {label}: full ranking', ranking,
                         found[name], setup.bar(('>=', 60.0))))
    return out + _compare(model, kg, sample, theirs, setup)


def _compare(model: RotatE, kg: KnowledgeGraph, sample: torch.Tensor,
             theirs: dict[str, list[float]], setup: Setup) -> list[Row]:
    part = evaluate(model, with_test(kg, sample)).ranks
    limits = [bounds(model, kg, sample, side, filtered=True)
              for side in ('head', 'tail')]  # The order of `evaluate`.
    return compared(
        {'PyKEEN': torch.tensor(theirs['head'] + theirs['tail']),
         'ours': part.by_ties('realistic')},
        (torch.cat([x[0] for x in limits]), torch.cat([x[1] for x in limits])),
        setup)


GROUPS = {'rotate': rotate}
