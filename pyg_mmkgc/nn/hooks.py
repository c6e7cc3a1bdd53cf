from __future__ import annotations

from typing import Optional

from torch import Tensor


class TrainingHooks:
    r"""What a model may add to its training; nothing by default.
    :class:`~pyg_mmkgc.training.Trainer` calls all of it.
    """
    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        r"""Reads the training triples :obj:`[2, E]` and :obj:`[E]`, once,
        before the first step.
        """

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        r"""Called with the positives :obj:`[B]` of a step, before any node is
        embedded.
        """

    def after_step(self) -> None:
        r"""Called after the optimizer has stepped: constraints on norms."""

    def regularization(self, views: dict[str, Tensor], table: Tensor,
                       head: Tensor, rel_type: Tensor,
                       tail: Tensor) -> Optional[Tensor]:
        r"""A scalar that is added to the loss of the scores.

        Args:
            views (dict[str, torch.Tensor]): The views :obj:`[U, C]` of the
                distinct nodes of the step.
            table (torch.Tensor): Their representations, :obj:`[U, C]`.
            head (torch.Tensor): The heads of the positives as rows of the
                table, :obj:`[B]`.
            rel_type (torch.Tensor): The relations, :obj:`[B]`.
            tail (torch.Tensor): The tails as rows of the table, :obj:`[B]`.
        """
        return None
