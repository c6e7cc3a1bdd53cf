from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import ModuleDict
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.encoder import ModalityEncoder, check_masks
from pyg_mmkgc.nn.functional import complex_product
from pyg_mmkgc.nn.kge.bilinear import Bilinear


class BilinearViews(Bilinear):
    r"""An abstract base class of multi-modal models with the score of
    ComplEx, in the tradition of `facebookresearch/kbc
    <https://github.com/facebookresearch/kbc>`_: projections without bias of
    frozen features, beside a structural embedding; tables that start almost
    at zero.

    Args:
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): Who has it, :obj:`[N]`.
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"zeros"`)
        **kwargs (optional): Arguments of :class:`Bilinear`.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 missing: str = 'zeros', **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         2 * hidden_channels, modalities, **kwargs)
        self.missing = missing
        if not modalities:
            raise ModelError(f'{type(self).__name__} needs at least one '
                             'modality; ComplEx is the model without')
        check_masks(masks, self.modalities)
        for name, x in modalities.items():
            if x.dim() != 2:
                raise ModelError(f'{type(self).__name__} takes one feature '
                                 f'row per node, expected [{num_nodes}, F] '
                                 f'for {name!r}, got {list(x.shape)}')
        self.encoders = ModuleDict({
            name: ModalityEncoder(x, 2 * hidden_channels,
                                  (masks or {}).get(name), missing, bias=False)
            for name, x in modalities.items()})

    def reset_parameters(self) -> None:
        for table in (self.node_emb, self.rel_emb):
            torch.nn.init.normal_(table.weight, std=1e-3)
        for encoder in self.encoders.values():
            reset(encoder)
            torch.nn.init.xavier_uniform_(encoder.get_parameter('lin.weight'))

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def query(self, x: Tensor, rel_type: Tensor,
              adjoint: bool = False) -> Tensor:
        # As many products of ComplEx as there are blocks, side by side.
        x, rel = (y.unflatten(-1, (self.blocks, -1))
                  for y in (x, self.rel_emb(rel_type)))
        return complex_product(x, rel, conjugate=adjoint).flatten(-2)


def side_by_side(*parts: Tensor) -> Tensor:
    r"""Concatenates rows :obj:`[*, C_i]` whose leading shapes broadcast."""
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in parts))
    return torch.cat([x.expand(*shape, -1) for x in parts], dim=-1)
