from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Optional

from pyg_mmkgc.errors import ModelError, check_not_negative, check_whole

if TYPE_CHECKING:
    from pyg_mmkgc.training.trainer import Trainer


class Callback:
    r"""The base class of callbacks, which a trainer calls at certain points of
    a training. The methods do nothing by default.

    .. code-block:: python

        class Print(Callback):
            def on_validation(self, trainer, epoch, metrics):
                print(epoch, metrics['hits@1'])

        Trainer(model, kg, callbacks=[Print()]).fit()

    :obj:`trainer.history` holds the epochs so far, and
    :meth:`trainer.stop() <pyg_mmkgc.training.Trainer.stop>` ends the training
    after the current epoch. Callbacks are not part of a checkpoint: a callback
    with a state restores it from the history in :meth:`on_fit_begin`.
    """
    #: If :obj:`True`, the callback runs in the first of several processes
    #: only. It must not rank or score then, which all processes do together.
    main_only = False

    def on_fit_begin(self, trainer: Trainer) -> None:
        r"""Called before the first epoch. The history of a resumed training
        has the earlier epochs.
        """

    def on_validation(self, trainer: Trainer, epoch: int,
                      metrics: dict[str, float]) -> None:
        r"""Called after a validation, with all metrics of
        :meth:`~pyg_mmkgc.evaluation.RankingResult.metrics`.
        """

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        r"""Called after an epoch and its validation, with the entry of the
        epoch in the history.
        """

    def on_fit_end(self, trainer: Trainer) -> None:
        r"""Called when the training ends, even if an error or a signal ends
        it.
        """


class EarlyStopping(Callback):
    r"""Stops the training when a metric no longer improves. Regardless of the
    metric, the trainer then restores the weights with the best validation MRR.

    .. code-block:: python

        Trainer(model, kg, callbacks=[EarlyStopping('hits@1', patience=5)])

    Args:
        metric (str, optional): A validation metric, such as :obj:`"mrr"`,
            :obj:`"mr"` or :obj:`"hits@10"`, or a loss of the epochs, such as
            :obj:`"loss"`. (default: :obj:`"mrr"`)
        patience (int, optional): The number of values without improvement
            after which the training stops. (default: :obj:`3`)
        mode (str, optional): :obj:`"max"` if higher values are better, or
            :obj:`"min"` if lower values are better. (default: :obj:`None`,
            :obj:`"min"` for losses and the mean rank :obj:`"mr"`, and
            :obj:`"max"` for other metrics)
        min_delta (float, optional): The value that an improvement has to
            exceed. (default: :obj:`0.0`)

    Raises:
        ModelError: If an argument is out of range, or if the trainer does not
            record :obj:`metric`.
    """
    def __init__(self, metric: str = 'mrr', patience: int = 3,
                 mode: Optional[Literal['min', 'max']] = None,
                 min_delta: float = 0.0) -> None:
        check_whole(patience=patience)
        if mode not in ('min', 'max', None):
            raise ModelError("Expected 'mode' to be 'min' or 'max' (got "
                             f'{mode!r})')
        check_not_negative(min_delta=min_delta)
        self.metric, self.patience, self.min_delta = (metric, patience,
                                                      min_delta)
        smaller = metric.endswith('loss') or metric in ('mr', 'val_mr')
        self.mode = mode or ('min' if smaller else 'max')

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._best, self._since = -math.inf, 0
        for entry in trainer.history.epochs:
            self._look(entry)
        if self._since >= self.patience:
            trainer.stop()

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        if not self._look(entry):
            validated = any(key.startswith('val_') for key in entry)
            if validated or not trainer.validates:
                names = [key.removeprefix('val_') for key in entry
                         if key not in ('epoch', 'seconds')]
                raise ModelError("Expected 'metric' to be one of "
                                 f'{", ".join(names)} (got {self.metric!r})')
        elif self._since >= self.patience:
            trainer.stop()

    def _look(self, entry: dict[str, Any]) -> bool:
        value = entry.get(f'val_{self.metric}', entry.get(self.metric))
        if value is None:
            return False
        if self.mode == 'min':
            value = -value
        # The first value has nothing to improve on.
        if value > self._best + self.min_delta or self._best == -math.inf:
            self._best, self._since = value, 0
        else:
            self._since += 1
        return True
