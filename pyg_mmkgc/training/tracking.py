r"""Callbacks that record a training in files or in a service."""
from __future__ import annotations

import csv
import io
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from pyg_mmkgc.errors import MMKGCError, ModelError
from pyg_mmkgc.io.atomic import read_json, write_atomic, write_json
from pyg_mmkgc.io.schema import check_schema
from pyg_mmkgc.training.callbacks import Callback

if TYPE_CHECKING:
    from pyg_mmkgc.training.trainer import Trainer


class CSVLogger(Callback):
    r"""Writes the losses and validation metrics of all epochs to a
    :obj:`.csv` file, which is replaced after every epoch.

    Args:
        path (str or pathlib.Path, optional): The file.
            (default: :obj:`history.csv` in the folder of the trainer)
    """
    main_only = True

    def __init__(self, path: Union[str, Path, None] = None) -> None:
        self.path = None if path is None else Path(path)

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._path = self.path or _folder(trainer, 'path') / 'history.csv'

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        table = trainer.history.make_table('epochs')
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(table.columns)
        writer.writerows(table.rows)  # Missing values are empty.
        write_atomic(self._path, text.getvalue())


class TensorBoard(Callback):
    r"""Writes the losses, seconds and validation metrics of every epoch for
    `TensorBoard <https://www.tensorflow.org/tensorboard>`_, under names such
    as :obj:`train/loss` and :obj:`val/mrr` (extra :obj:`tracking`).

    Args:
        folder (str or pathlib.Path, optional): The folder of the event files.
            (default: :obj:`tensorboard` in the folder of the trainer)

    Raises:
        MMKGCError: If :obj:`tensorboard` is not installed.
    """
    main_only = True

    def __init__(self, folder: Union[str, Path, None] = None) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise _missing('tensorboard') from error
        self.folder = None if folder is None else Path(folder)
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = self.folder or _folder(trainer, 'folder') / 'tensorboard'
        # Epochs after the resumed checkpoint are repeated.
        done = len(trainer.history.epochs)
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        for name, value in _named(entry).items():
            self._writer.add_scalar(name, value, entry['epoch'])
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()


class WandB(Callback):
    r"""Records the losses, seconds and validation metrics of every epoch as
    a run of `Weights & Biases <https://wandb.ai>`_ (extra :obj:`tracking`).
    A resumed training continues its run.

    Args:
        project (str, optional): The project. (default: :obj:`"pyg_mmkgc"`)
        **kwargs (optional): Additional arguments of :obj:`wandb.init`, such
            as :obj:`name` or :obj:`mode="offline"`.

    Raises:
        MMKGCError: If :obj:`wandb` is not installed.
    """
    main_only = True

    def __init__(self, project: str = 'pyg_mmkgc', **kwargs: Any) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing('wandb') from error
        self._wandb = wandb
        self.options = {'project': project, **kwargs}
        self._run: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        options: dict[str, Any] = {'config': trainer.settings()}
        if trainer.folder is not None:
            # The id that continues the run is kept with the checkpoint.
            path = trainer.folder / 'wandb.json'
            if trainer.history.epochs and path.is_file():
                saved = read_json(path)
                check_schema(saved, {'id': str}, f"'{path}'")
            else:
                trainer.folder.mkdir(parents=True, exist_ok=True)
                saved = {'id': secrets.token_hex(8)}
                write_json(path, saved)
            options |= {'id': saved['id'], 'resume': 'allow',
                        'name': trainer.folder.name,
                        'dir': str(trainer.folder)}
        self._run = self._wandb.init(**{**options, **self.options})

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        self._run.log(_named(entry), step=entry['epoch'])

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._run is not None:
            best = trainer.history.best_metrics
            for name, value in best.items():
                self._run.summary[f'best/{name}'] = value
            self._run.finish()


def _named(entry: dict[str, Any]) -> dict[str, float]:
    return {f'val/{key[4:]}' if key.startswith('val_') else f'train/{key}':
            value for key, value in entry.items() if key != 'epoch'}


def _folder(trainer: Trainer, argument: str) -> Path:
    if trainer.folder is None:
        raise ModelError(f"Expected '{argument}', since the trainer has no "
                         'folder (got none)')
    return trainer.folder


def _missing(package: str) -> MMKGCError:
    return MMKGCError(f"Expected '{package}' to be installed for this "
                      'callback. Run: pip install "pyg_mmkgc[tracking]"')
