from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError

ENSEMBLES = ('mean', 'boosted', 'learned')
# Scores that the hidden layer sees at once: 64 MiB of its activations.
BLOCK = 1 << 19


class Ensemble(torch.nn.Module):
    r"""Makes one score of those of :math:`M` experts, in the three ways of
    `MoSE <https://arxiv.org/abs/2210.08821>`_. It is not trained with them,
    but fitted on validation triples by
    :func:`~pyg_mmkgc.training.fit_ensemble`; until then, each is the mean.

    .. math::
        s = \sum_m w_{m,r} \, s_m + \mathrm{MLP}(s_1, \ldots, s_M)

    Args:
        mode (str): :obj:`"mean"`; :obj:`"boosted"`, with weights
            :math:`w_{m,r}` of each relation; :obj:`"learned"`, with a
            perceptron of one hidden layer. The paper's has a ReLU on its
            output too, under which many nodes tie at zero; here, it corrects
            the mean.
        num_relations (int): The number of relations :obj:`R`.
        num_experts (int): :math:`M`.
        hidden_channels (int, optional): The width of the hidden layer.
            (default: :obj:`32`)
    """
    weight: Tensor

    def __init__(self, mode: str, num_relations: int, num_experts: int,
                 hidden_channels: int = 32) -> None:
        super().__init__()
        if mode not in ENSEMBLES:
            raise ModelError(f'expected an ensemble of {ENSEMBLES}, got '
                             f'{mode!r}')
        self.mode = mode
        self.register_buffer('weight', torch.empty(num_relations, num_experts))
        self.mlp = Sequential() if mode != 'learned' else Sequential(
            Linear(num_experts, hidden_channels), ReLU(),
            Linear(hidden_channels, 1))
        self.mlp.requires_grad_(False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Back to the mean."""
        self.weight.fill_(1 / self.weight.size(1))
        if len(self.mlp) > 0:
            reset(self.mlp)
            for param in self.mlp[2].parameters():
                param.zero_()

    def forward(self, scores: Tensor, rel_type: Tensor) -> Tensor:
        r"""The scores :obj:`[*]` of scores :obj:`[*, M]` of the experts, for
        relations :obj:`[*]`, which broadcast.
        """
        # A reciprocal relation has the weights of the relation.
        out = (scores * self.weight[rel_type % self.weight.size(0)]).sum(-1)
        if len(self.mlp) == 0:
            return out
        flat = scores.reshape(-1, scores.size(-1))
        more = torch.cat([self.mlp(part) for part in flat.split(BLOCK)])
        return out + more.view(scores.shape[:-1])

    def extra_repr(self) -> str:
        return f'mode={self.mode!r}'
