from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.encoder import have_features
from pyg_mmkgc.nn.hooks import TrainingHooks


class UnseenNodes(TrainingHooks, torch.nn.Module):
    r"""What :obj:`drop_unseen` does: nodes that no training triple holds lose
    their structural view, which nothing has taught them, unless nothing else
    would stand for them.

    A subclass has :obj:`drop_unseen`, :obj:`missing` and :obj:`encoders`.
    """
    drop_unseen: bool
    missing: str
    encoders: torch.nn.ModuleDict
    seen: Tensor  # [N]; none is until the model is prepared.
    _prepared = False

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        r"""Takes the training triples, as a trainer gives them."""
        if not self.drop_unseen:
            return
        self.seen.fill_(False)[edge_index.flatten()] = True
        if self.missing == 'drop':  # Something has to stand for a node.
            self.seen |= ~have_features(self.encoders)
        self._prepared = True

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        if self.drop_unseen and not self._prepared:
            raise ModelError("expected 'prepare(edge_index, edge_type)' with "
                             f'the training triples before '
                             f'{type(self).__name__}(drop_unseen=True) trains')

    def hide_unseen(self, view: Tensor, index: Tensor) -> Tensor:
        r"""The structural view :obj:`[*, C]` of nodes :obj:`[*]`, zero where
        it is left out.
        """
        if not self._prepared:
            return view
        return view.masked_fill(~self.seen[index].unsqueeze(-1), 0.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if prefix + 'seen' in state_dict:
            self._prepared = bool(state_dict[prefix + 'seen'].any())
