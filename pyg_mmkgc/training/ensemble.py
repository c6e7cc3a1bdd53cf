from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.errors import DataError, ModelError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.evaluation.scorer import device_of, scoring
from pyg_mmkgc.nn.kge import MoSE

# Queries that are scored, or learnt from, at once.
BATCH = 512


def fit_ensemble(model: MoSE, data: Any, *, min_triples: int = 10,
                 num_candidates: int = 128, steps: int = 300,
                 lr: float = 0.01, seed: int = 0) -> None:
    r"""Fits the ensemble of a trained :class:`~pyg_mmkgc.nn.MoSE` on the
    validation triples of a graph; its experts stay as they are.

    .. code-block:: python

        model = MoSE.from_data(data, 200, ensemble='boosted')
        Trainer(model, data, loss=OneVsAllLoss()).fit()
        fit_ensemble(model, data)

    :obj:`"boosted"` runs `RankBoost
    <https://www.jmlr.org/papers/v4/freund03a.html>`_ over the experts, one
    relation at a time: each in turn gets the weight that its ranks deserve
    on the validation triples, weighed by how badly the ones before ranked
    them; the ranks are those of :func:`~pyg_mmkgc.evaluate`, which leaves out
    all known triples. :obj:`"learned"` trains the perceptron by cross-entropy
    of the true node among random nodes that make no triple of training or
    validation.
    :obj:`"mean"` has nothing to fit.

    Args:
        model (MoSE): The model.
        data (KnowledgeGraph): The graph.
        min_triples (int, optional): Validation triples that a relation needs
            to have weights of its own. (default: :obj:`10`)
        num_candidates (int, optional): The random nodes beside each true one.
            (default: :obj:`128`)
        steps (int, optional): Steps of Adam for the perceptron.
            (default: :obj:`300`)
        lr (float, optional): Its learning rate. (default: :obj:`0.01`)
        seed (int, optional): The seed. (default: :obj:`0`)

    Raises:
        DataError: If the graph has no validation split, or one that must not
            select anything.
        ModelError: If the model is no MoSE.
    """
    if not isinstance(model, MoSE):
        raise ModelError(f'expected a MoSE, got {type(model).__name__}')
    if not isinstance(data, KnowledgeGraph):
        data = KnowledgeGraph.from_pyg(data)
    reason = getattr(data, 'selection_refused', '')
    if reason:
        raise DataError('this validation split must not fit an ensemble: '
                        f'{reason}')
    if model.ensemble == 'mean':
        return
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] * (device.type == 'cuda')):
        torch.manual_seed(seed)
        model.combine.reset_parameters()
        if model.ensemble == 'boosted':
            model.combine.weight.copy_(_boost(model, data, min_triples))
        else:
            _learn(model, data, num_candidates, steps, lr)


def _experts(model: MoSE) -> Iterator[int]:
    # Scores are those of one expert at a time; the mean at the end.
    try:
        for m in range(model.blocks):
            model.combine.weight.zero_()[:, m] = 1.0
            yield m
    finally:
        model.combine.weight.fill_(1 / model.blocks)


def _boost(model: MoSE, data: KnowledgeGraph, min_triples: int) -> Tensor:
    results = [evaluate(model, data, 'val') for _ in _experts(model)]
    ranks = torch.stack([result.ranks.realistic for result in results])
    other = (results[0].ranks.num_candidates - 1).clamp_min(1)
    gains = 1 - 2 * (ranks - 1) / other  # [M, Q], zero for a random rank.
    rel_type = results[0].rel_type
    out = model.combine.weight.cpu().clone()
    for rel in rel_type.unique().tolist():
        which = rel_type == rel
        if int(which.sum()) >= 2 * min_triples:  # Each has two ranks.
            out[rel] = rank_boost(gains[:, which]).to(out)
    return out


def rank_boost(gains: Tensor) -> Tensor:
    r"""Weights :obj:`[M]`, which sum to one, of experts with gains
    :obj:`[M, Q]` in :math:`[-1, 1]`.
    """
    num_experts, num_queries = gains.shape
    alpha = gains.new_zeros(num_experts)
    weight = gains.new_full((num_queries, ), 1 / num_queries)
    left = list(range(num_experts))
    while left:
        mean = gains @ weight
        best = max(left, key=lambda m: float(mean[m]))
        left.remove(best)
        gain = mean[best].clamp(0.0, 1 - 1e-6)  # A useless one gets nothing.
        alpha[best] = 0.5 * torch.log((1 + gain) / (1 - gain))
        weight = weight * torch.exp(-alpha[best] * gains[best])
        weight = weight / weight.sum()
    total = alpha.sum()
    return alpha / total if total > 0 else torch.full_like(
        alpha, 1 / num_experts)


def _learn(model: MoSE, data: KnowledgeGraph, num_candidates: int, steps: int,
           lr: float) -> None:
    data = data.cpu()  # As what is drawn.
    train, val = data.split('train'), data.split('val')
    index = TripleIndex(torch.cat([train.edge_index, val.edge_index], dim=1),
                        torch.cat([train.edge_type, val.edge_type]),
                        data.num_nodes, data.num_relations)
    rel, sides = val.edge_type, []
    for side, (target, given) in (('head', val.edge_index),
                                  ('tail', val.edge_index.flip(0))):
        node = torch.cat([target[:, None], torch.randint(
            data.num_nodes, (rel.numel(), num_candidates))], dim=1)
        pair = (node, given[:, None])
        head, tail = pair if side == 'head' else pair[::-1]
        known = index.contains(head, rel[:, None], tail)
        known[:, 0] = False  # The true one, at the front.
        sides.append((side, given, node, known))
    device = device_of(model)
    scores = torch.stack([torch.cat([
        _scores(model, data, side, given, rel, node)
        for side, given, node, _ in sides]) for _ in _experts(model)], dim=-1)
    known = torch.cat([side[3] for side in sides]).to(device)
    rel = rel.repeat(2).to(device)

    combine = copy.deepcopy(model.combine)
    combine.mlp.requires_grad_(True)
    optimizer = torch.optim.Adam(combine.mlp.parameters(), lr)
    for _ in range(steps):
        i = torch.randint(rel.numel(), (min(BATCH, rel.numel()), )).to(device)
        logits = combine(scores[i], rel[i].unsqueeze(-1))
        logits = logits.masked_fill(known[i], -torch.inf)
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.zeros_like(i)).backward()
        optimizer.step()
    model.combine.load_state_dict(combine.state_dict())


def _scores(model: MoSE, data: KnowledgeGraph, side: str, given: Tensor,
            rel: Tensor, node: Tensor) -> Tensor:
    device, out = device_of(model), []
    with scoring(model, data) as scorer:
        for part in torch.arange(rel.numel()).split(BATCH):
            scores = scorer(given[part].to(device), rel[part].to(device),
                            side)
            out.append(scores.gather(1, node[part].to(device)))
    return torch.cat(out)
