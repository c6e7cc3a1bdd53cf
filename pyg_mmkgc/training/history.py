from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from pyg_mmkgc.report import Report, Table


@dataclass(repr=False)
class History(Report):
    r"""The record of a training run, epoch by epoch.

    .. code-block:: python

        >>> history = History([{'epoch': 1, 'loss': 2.0, 'seconds': 0.5},
        ...                    {'epoch': 2, 'loss': 1.5, 'seconds': 0.4}])
        >>> print(history)
        2 epochs, loss 1.5000, 0.9 s
        >>> history
        History(epochs=2, loss=1.5000, best_epoch=None, stopped_early=False)

    Args:
        epochs (list[dict]): One entry per epoch, with its number
            :obj:`epoch`, the mean :obj:`loss` (and :obj:`generator_loss` for
            adversarial training), its duration in :obj:`seconds`, and
            :obj:`val_mrr`, :obj:`val_hits@1` and so on after epochs with a
            validation.
        best_epoch (int, optional): The epoch with the best validation MRR.
            (default: :obj:`None`)
        best_metrics (dict[str, float]): The validation metrics of the best
            epoch.
        stopped_early (bool): If :obj:`True`, the training stopped before its
            last epoch.
    """
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: Optional[int] = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    stopped_early: bool = False

    table_names = ('epochs', )

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the record as plain values, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        loss = {'loss': self.epochs[-1]['loss']} if self.epochs else {}
        best = {'best_mrr': self.best_metrics['mrr']} if (
            'mrr' in self.best_metrics) else {}
        return {'epochs': len(self.epochs), **loss,
                'best_epoch': self.best_epoch, **best,
                'stopped_early': self.stopped_early}

    def make_table(self, name: str) -> Table:
        columns = list(dict.fromkeys(
            key for entry in self.epochs for key in entry))
        return Table(columns, [[entry.get(key) for key in columns]
                               for entry in self.epochs])

    def __str__(self) -> str:
        text = f'{len(self.epochs)} epochs'
        if self.epochs:
            text += f", loss {self.epochs[-1]['loss']:.4f}"
            text += f", {sum(e['seconds'] for e in self.epochs):.1f} s"
        if self.best_epoch is not None:
            text += (f', best validation MRR {self.best_metrics["mrr"]:.4f} '
                     f'at epoch {self.best_epoch}')
        return text + (', stopped early' if self.stopped_early else '')
