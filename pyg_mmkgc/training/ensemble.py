from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.errors import (
    DataError,
    ModelError,
    check_positive,
    check_whole,
)
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.evaluation.scorer import device_of, scoring
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.typing import Side

# The number of queries that are scored or trained on at once.
BATCH = 512


def fit_ensemble(model: MMKGEModel, data: Any, *, min_triples: int = 10,
                 num_candidates: int = 128, steps: int = 300,
                 lr: float = 0.01, seed: int = 0) -> None:
    r"""Fits the ensemble of a trained model, such as
    :class:`~pyg_mmkgc.nn.MoSE`, on the validation triples of a graph. The
    experts of the model are not modified.

    .. code-block:: python

        model = MoSE.from_data(data, 200, ensemble='boosted')
        Trainer(model, data, loss=OneVsAllLoss()).fit()
        fit_ensemble(model, data)

    * :obj:`"boosted"` runs `RankBoost
      <https://www.jmlr.org/papers/v4/freund03a.html>`_ over the experts,
      separately for each relation. The experts receive their weights one
      after the other, according to their ranks of the validation triples.
      Triples that earlier experts ranked badly count more. The ranks are the
      filtered ranks of :func:`~pyg_mmkgc.evaluate`.
    * :obj:`"learned"` trains the perceptron by the cross-entropy of the true
      node among random nodes that do not complete a training or validation
      triple.
    * :obj:`"mean"` has nothing to fit.

    Args:
        model (MMKGEModel): The model.
        data (KnowledgeGraph): The graph.
        min_triples (int, optional): The minimum number of validation triples
            for a relation to receive its own weights. (default: :obj:`10`)
        num_candidates (int, optional): The number of random nodes for each
            true node. (default: :obj:`128`)
        steps (int, optional): The number of Adam steps for the perceptron.
            (default: :obj:`300`)
        lr (float, optional): The learning rate of the perceptron.
            (default: :obj:`0.01`)
        seed (int, optional): The seed. (default: :obj:`0`)

    Raises:
        DataError: If the graph has no validation split, or a validation split
            that must not be used for selection.
        ModelError: If the model has no ensemble, or an argument is out of
            range.
    """
    check_whole(min_triples=min_triples, num_candidates=num_candidates,
                steps=steps)
    check_whole(at_least=0, seed=seed)
    check_positive(lr=lr)
    combine = combiner_of(model)
    if combine is None:
        raise ModelError('Expected a model with an ensemble, such as MoSE '
                         f"(got '{type(model).__name__}')")
    if not isinstance(data, KnowledgeGraph):
        data = KnowledgeGraph.from_pyg(data)
    reason = getattr(data, 'selection_refused', '')
    if reason:
        raise DataError('Expected a validation split that may fit an ensemble '
                        f"(got 'val' with a known leak). {reason}")
    if combine.mode == 'mean':
        return
    data.split('val')  # Raises before the weights change.
    before = copy.deepcopy(combine.state_dict())
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] * (device.type == 'cuda')):
        torch.manual_seed(seed)
        try:
            combine.reset_parameters()
            if combine.mode == 'boosted':
                combine.weight.copy_(_boost(model, combine, data,
                                            min_triples))
            else:
                _learn(model, combine, data, num_candidates, steps, lr)
        except BaseException:
            combine.load_state_dict(before)
            raise


def combiner_of(model: Module) -> Optional[Any]:
    r"""Returns the module that combines the scores of a model's experts, or
    :obj:`None` if the model has no ensemble, see
    :meth:`~pyg_mmkgc.nn.MMKGEModel.combiner`.
    """
    form = triple_model(model)
    return None if form is None else form.combiner()


def _experts(combine: Any) -> Iterator[int]:
    # A one-hot weight makes the model score with a single expert.
    num_experts = combine.weight.size(1)
    for m in range(num_experts):
        combine.weight.zero_()[:, m] = 1.0
        yield m
    combine.weight.fill_(1 / num_experts)


def _boost(model: Module, combine: Any, data: KnowledgeGraph,
           min_triples: int) -> Tensor:
    results = [evaluate(model, data, 'val') for _ in _experts(combine)]
    ranks = torch.stack([result.ranks.realistic for result in results])
    other = (results[0].ranks.num_candidates - 1).clamp_min(1)
    gains = 1 - 2 * (ranks - 1) / other  # [M, Q], zero for a random rank.
    rel_type = results[0].rel_type
    out = combine.weight.cpu().clone()
    for rel in rel_type.unique().tolist():
        which = rel_type == rel
        if int(which.sum()) >= 2 * min_triples:  # Each triple has two ranks.
            out[rel] = rank_boost(gains[:, which]).to(out)
    return out


def rank_boost(gains: Tensor) -> Tensor:
    r"""Returns the weights :obj:`[M]` of experts, which sum to one, given
    their gains :obj:`[M, Q]` in :math:`[-1, 1]`.
    """
    num_experts, num_queries = gains.shape
    alpha = gains.new_zeros(num_experts)
    weight = gains.new_full((num_queries, ), 1 / num_queries)
    left = list(range(num_experts))
    while left:
        mean = gains @ weight
        best = max(left, key=lambda m: float(mean[m]))
        left.remove(best)
        gain = mean[best].clamp(0.0, 1 - 1e-6)  # A useless expert gets zero.
        alpha[best] = 0.5 * torch.log((1 + gain) / (1 - gain))
        weight = weight * torch.exp(-alpha[best] * gains[best])
        weight = weight / weight.sum()
    total = alpha.sum()
    return alpha / total if total > 0 else torch.full_like(
        alpha, 1 / num_experts)


def _learn(model: Module, combine: Any, data: KnowledgeGraph,
           num_candidates: int, steps: int, lr: float) -> None:
    data = data.cpu()  # Random nodes are drawn on the CPU.
    train, val = data.split('train'), data.split('val')
    index = TripleIndex(torch.cat([train.edge_index, val.edge_index], dim=1),
                        torch.cat([train.edge_type, val.edge_type]),
                        data.num_nodes, data.num_relations)
    rel, sides = val.edge_type, []
    targets: list[tuple[Side, tuple[Tensor, Tensor]]] = [
        ('head', (val.edge_index[0], val.edge_index[1])),
        ('tail', (val.edge_index[1], val.edge_index[0]))]
    for side, (target, given) in targets:
        node = torch.cat([target[:, None], torch.randint(
            data.num_nodes, (rel.numel(), num_candidates))], dim=1)
        pair = (node, given[:, None])
        head, tail = pair if side == 'head' else pair[::-1]
        known = index.contains(head, rel[:, None], tail)
        known[:, 0] = False  # The true node comes first.
        sides.append((side, given, node, known))
    device = device_of(model)
    scores = torch.stack([torch.cat([
        _scores(model, data, side, given, rel, node)
        for side, given, node, _ in sides])
        for _ in _experts(combine)], dim=-1)
    known = torch.cat([side[3] for side in sides]).to(device)
    rel = rel.repeat(2).to(device)

    learned = copy.deepcopy(combine)
    learned.mlp.requires_grad_(True)
    optimizer = torch.optim.Adam(learned.mlp.parameters(), lr)
    for _ in range(steps):
        i = torch.randint(rel.numel(), (min(BATCH, rel.numel()), )).to(device)
        logits = learned(scores[i], rel[i].unsqueeze(-1))
        logits = logits.masked_fill(known[i], -torch.inf)
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.zeros_like(i)).backward()
        optimizer.step()
    combine.load_state_dict(learned.state_dict())


def _scores(model: Module, data: KnowledgeGraph, side: Side, given: Tensor,
            rel: Tensor, node: Tensor) -> Tensor:
    device, out = device_of(model), []
    with scoring(model, data) as scorer:
        for part in torch.arange(rel.numel()).split(BATCH):
            scores = scorer(given[part].to(device), rel[part].to(device),
                            side)
            out.append(scores.gather(1, node[part].to(device)))
    return torch.cat(out)
