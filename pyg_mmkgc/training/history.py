from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Optional


@dataclass
class History:
    r"""What a training did, epoch by epoch.

    Args:
        epochs (list[dict]): One entry an epoch: :obj:`epoch`, the mean
            :obj:`loss` (and :obj:`generator_loss` of adversarial training),
            :obj:`seconds`, and :obj:`val_mrr` where it was measured.
        best_epoch (int, optional): The epoch of the best validation MRR.
        best_metrics (dict[str, float]): The validation metrics of that epoch.
        stopped_early (bool): Whether patience ran out.
    """
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: Optional[int] = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    stopped_early: bool = False

    def to_dict(self) -> dict[str, Any]:
        r"""Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        text = f'{len(self.epochs)} epochs'
        if self.epochs:
            text += f", loss {self.epochs[-1]['loss']:.4f}"
            text += f", {sum(e['seconds'] for e in self.epochs):.1f} s"
        if self.best_epoch is not None:
            text += (f', best validation MRR {self.best_metrics["mrr"]:.4f} '
                     f'at epoch {self.best_epoch}')
        return text + (', stopped early' if self.stopped_early else '')
