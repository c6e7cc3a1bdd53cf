from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch_geometric.nn.kge import KGEModel
from tqdm import tqdm

from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.distributed.group import (
    any_over_ranks,
    is_main,
    rank,
    world_size,
)
from pyg_mmkgc.distributed.table import candidates, shard
from pyg_mmkgc.errors import (
    CheckpointError,
    DataError,
    ModelError,
    Terminated,
    check_positive,
    check_whole,
)
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn.encoder import keep_features_on_host
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.nn.loss import AllNodesLoss, SelfAdversarialLoss
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.nn.share import Share, sharing
from pyg_mmkgc.sampler import NegativeSampler
from pyg_mmkgc.termination import catch_signals
from pyg_mmkgc.training.batch import Batch, complete
from pyg_mmkgc.training.callbacks import Callback, EarlyStopping
from pyg_mmkgc.training.checkpoint import CHECKPOINT as CHECKPOINT
from pyg_mmkgc.training.checkpoint import (
    State,
    copy_state,
    find_checkpoint,
    load_checkpoint,
    restore,
    restore_optimizer,
    save_checkpoint,
)
from pyg_mmkgc.training.epoch_part import EpochPart
from pyg_mmkgc.training.history import History
from pyg_mmkgc.training.inputs import (
    as_graph,
    check_loss,
    digests,
    plain_options,
    subsampling_weight,
)
from pyg_mmkgc.training.step import (
    FiniteChecks,
    adam,
    learning_rate_factor,
    minimize,
    multiplies_bfloat16,
)

# The number of epochs between checkpoints. Validations write one as well.
CHECKPOINT_EVERY = 10
# The suffixes of metrics that the history omits.
OTHER_TIES = ('_optimistic', '_pessimistic')
# With fewer validations, there is hardly a choice of epochs.
FEW_VALIDATIONS = 3


class Trainer:
    r"""Trains any :class:`torch_geometric.nn.kge.KGEModel`, including the
    models of :pyg:`PyG`, or :class:`~pyg_mmkgc.nn.path.PathModel`, on any
    knowledge graph.

    All random numbers come from generators that are seeded by
    :obj:`(seed, epoch)`. The same seed leads to the same weights, and a
    resumed training equals an uninterrupted training bit for bit.

    If :mod:`torch.distributed` is initialized, the processes of its group
    train together. Each of them has some rows of the structural embeddings
    and computes a part of each batch, see :mod:`pyg_mmkgc.distributed`. The
    result equals the result of one process, up to rounding.

    Args:
        model (KGEModel or PathModel): The model.
        data (KnowledgeGraph): The graph. A :pyg:`PyG` :obj:`Data` object or
            dataset is converted by
            :meth:`~pyg_mmkgc.data.KnowledgeGraph.from_pyg`. Only the triples
            are taken from a
            :class:`~torch_geometric.nn.kge.loader.KGTripletLoader`.
        sampler (NegativeSampler, optional): The negative sampler. If set to
            :obj:`None`, the model's own :obj:`loss` is minimized unless
            :obj:`loss` takes all nodes. (default: :obj:`None`)
        loss (torch.nn.Module, optional): The loss of the scores of positives
            :obj:`[B]` and negatives :obj:`[B, K]`, or an
            :class:`~pyg_mmkgc.nn.AllNodesLoss` if there is no sampler.
            (default: :class:`~pyg_mmkgc.nn.SelfAdversarialLoss`)
        lr (float, optional): The learning rate. (default: :obj:`1e-3`)
        batch_size (int, optional): The number of positives in each step.
            (default: :obj:`1024`)
        epochs (int, optional): The number of passes over the training triples.
            (default: :obj:`100`)
        triples_per_epoch (int, optional): The number of training triples that
            are drawn for each epoch. (default: :obj:`None`, all)
        optimizer (callable, optional): A function that maps parameters to an
            optimizer. (default: Adam, or sparse Adam for sparse embeddings)
        lr_schedule (str, optional): The decay of the learning rate to zero
            over the whole training, either :obj:`"linear"` or :obj:`"cosine"`.
            (default: :obj:`None`, no decay)
        grad_clip (float, optional): The maximum norm of the gradient.
            (default: :obj:`None`)
        subsampling (bool, optional): If set to :obj:`True`, weights positives
            in the loss by
            :func:`~pyg_mmkgc.training.inputs.subsampling_weight`.
            (default: :obj:`False`)
        autocast (bool or str, optional): If set to :obj:`True`, projections,
            generators and the layers of path models multiply in bfloat16,
            while scores, losses and rankings stay in full precision. Hardware
            that does not multiply bfloat16 matrices keeps full precision and
            issues a warning. If set to :obj:`"auto"`, there is no warning.
            (default: :obj:`False`)
        valid_every (int, optional): The number of epochs between validations.
            A checkpoint is written with each validation and every ten epochs.
            At the end, the weights with the best filtered validation MRR are
            restored. The last weights are kept if set to :obj:`None`, or if
            there is no validation split. (default: :obj:`10`)
        patience (int, optional): The number of validations without improvement
            of the MRR after which the training stops. It has no effect without
            validations. (default: :obj:`None`)
        seed (int, optional): The seed. (default: :obj:`0`)
        device (torch.device, optional): The device to train on.
            (default: the device of the model)
        features_on (str, optional): If set to :obj:`"cpu"`, the features of
            modalities stay in the memory of the host, which gathers the rows
            of each batch and copies them to :obj:`device`. This supports
            tables that do not fit on the device. (default: :obj:`None`, on the
            device)
        folder (str or pathlib.Path, optional): The folder to write checkpoints
            to. (default: :obj:`None`)
        progress (bool, optional): If set to :obj:`False`, shows no progress
            bar. (default: :obj:`True`)
        callbacks (list[Callback], optional): The callbacks that follow the
            training, such as :class:`~pyg_mmkgc.training.EarlyStopping` and
            :class:`~pyg_mmkgc.training.TensorBoard`. (default: :obj:`()`)

    Raises:
        DataError: If the graph is broken, or if its validation split must not
            be used to select weights.
        ModelError: If an argument is out of range or does not fit the others.
        NonFiniteError: If a loss or a gradient is not finite. The parameters
            keep the values from before the step.
    """
    def __init__(
        self,
        model: KGEModel | PathModel,
        data: Any,
        *,
        sampler: Optional[NegativeSampler] = None,
        loss: Optional[torch.nn.Module] = None,
        lr: float = 1e-3,
        batch_size: int = 1024,
        epochs: int = 100,
        triples_per_epoch: Optional[int] = None,
        optimizer: Optional[Callable[[list[Parameter]], Optimizer]] = None,
        lr_schedule: Optional[str] = None,
        grad_clip: Optional[float] = None,
        subsampling: bool = False,
        autocast: Union[bool, Literal['auto']] = False,
        valid_every: Optional[int] = 10,
        patience: Optional[int] = None,
        seed: int = 0,
        device: Union[str, torch.device, None] = None,
        features_on: Optional[str] = None,
        folder: Union[str, Path, None] = None,
        progress: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        check_positive(lr=lr)
        if grad_clip is not None:
            check_positive(grad_clip=grad_clip)
        check_whole(batch_size=batch_size, epochs=epochs)
        check_whole(optional=True, valid_every=valid_every, patience=patience,
                    triples_per_epoch=triples_per_epoch)
        check_whole(at_least=0, seed=seed)
        if not isinstance(model, (KGEModel, PathModel)):
            raise ModelError("Expected 'model' to be a PathModel or a "
                             'torch_geometric.nn.kge.KGEModel (got '
                             f"'{type(model).__name__}')")
        check_loss(model, sampler, loss)
        self.data = as_graph(data, model)
        self.validates = (valid_every is not None
                          and 'val' in self.data.splits())
        reason = getattr(self.data, 'selection_refused', '')
        if self.validates and reason:
            raise DataError('Expected a validation split that may select '
                            f"weights (got 'val' with a known leak). {reason} "
                            'Pass valid_every=None to keep the last weights.')
        self.device = torch.device(device or next(model.parameters()).device)
        if features_on not in (None, 'cpu'):
            raise ModelError("Expected 'features_on' to be None or 'cpu' (got "
                             f'{features_on!r})')
        if features_on == 'cpu':
            if isinstance(model, PathModel) and model.modalities:
                raise ModelError(
                    'Expected a model that looks up the features of a batch '
                    f"for features_on='cpu' (got '{type(model).__name__}', "
                    'which takes the features of all nodes)')
            keep_features_on_host(model)
        self.features_on = features_on
        self.model = model.to(self.device)
        train = self.data.split('train')
        # Batches are drawn on the host, which then knows their nodes.
        head, tail = train.edge_index.cpu()
        self.triples = (head, train.edge_type.cpu(), tail)
        self.sampler = sampler
        if sampler is not None:
            sampler.check(model)
            sampler.prepare(torch.stack([head, tail]), self.triples[1],
                            self.data.num_nodes, self.data.num_relations)
        self.loss = loss or SelfAdversarialLoss()
        self.weight = None
        if subsampling:
            if sampler is None:
                raise ModelError('Expected a sampler for subsampling=True, '
                                 'which weighs the loss of positives and '
                                 'negatives (got none)')
            self.weight = subsampling_weight(*self.triples)
        self.index = None
        if isinstance(loss, AllNodesLoss) and loss.needs_labels:
            self.index = TripleIndex(torch.stack([head, tail]),
                                     self.triples[1], self.data.num_nodes,
                                     self.data.num_relations)
        #: The extended interface of the model, if it has more than PyG's.
        self.form = triple_model(self.model)
        if self.form is not None:
            self.form.prepare(train.edge_index.to(self.device),
                              train.edge_type.to(self.device))
        self.lr, self.batch_size, self.epochs = lr, batch_size, epochs
        self.lr_schedule, self.grad_clip = lr_schedule, grad_clip
        self.valid_every, self.patience = valid_every, patience
        self.seed, self.progress = seed, progress
        if not isinstance(autocast, bool) and autocast != 'auto':
            raise ModelError("Expected 'autocast' to be a boolean or 'auto' "
                             f'(got {autocast!r})')
        self.autocast = bool(autocast) and multiplies_bfloat16(self.device)
        if autocast is True and not self.autocast:
            warnings.warn('Autocast is off, since this hardware does not '
                          "multiply bfloat16 matrices. Pass autocast='auto' "
                          'to follow the hardware without this warning.',
                          stacklevel=2)
        self.folder = None if folder is None else Path(folder)
        if world_size() > 1:
            self._join_ranks()
        self.params = self.model_parameters()
        self.optimizers = {'model': (
            adam(model, self.params, lr) if optimizer is None else
            optimizer(self.params))}
        learned = None if sampler is None else sampler.module
        self.sampler_module = learned and learned.to(self.device)
        if sampler is not None and learned is not None:
            theirs = list(learned.parameters())
            self.params += theirs
            self.optimizers['model'].add_param_group(
                {'params': theirs, 'lr': sampler.lr})
        self.checks = FiniteChecks()
        self.triples_per_epoch = triples_per_epoch
        wrong = [callbacks] if not isinstance(callbacks, Sequence) else [
            x for x in callbacks if not isinstance(x, Callback)]
        if wrong:
            raise ModelError("Expected 'callbacks' to be a list of Callback "
                             f'(got {wrong[0]!r:.80})')
        self.callbacks = list(callbacks)
        #: The record of the training so far.
        self.history = History()
        self.num_steps = len(self) * epochs
        learning_rate_factor(lr_schedule, 0, self.num_steps)  # Raises early.

    def _join_ranks(self) -> None:
        r"""Prepares the training of the processes of a group."""
        if self.sampler is not None and self.sampler.module is not None:
            raise ModelError(
                f'Expected a sampler without weights for {world_size()} '
                f'processes (got {self.sampler!r}). Train in one process.')
        shard(self.model)
        if not self.splits_batch() and is_main():
            warnings.warn(
                'Each process computes the whole batch, since the loss of '
                f"'{type(self.model).__name__}' is not a mean over the "
                'positives of a batch, or its adversary or its loss is not '
                'declared to be one.', stacklevel=4)

    def splits_batch(self) -> bool:
        r"""Returns :obj:`True` if processes may compute parts of a batch."""
        if self.sampler is None and not isinstance(self.loss, AllNodesLoss):
            return getattr(self.model, 'splits_loss', False)
        parts = type(self.loss).part is not AllNodesLoss.part if isinstance(
            self.loss, AllNodesLoss) else getattr(self.loss, 'splits_batch',
                                                  False)
        return parts and getattr(self.form, 'splits_batch', False)

    def own_part(self, batch: Batch) -> Batch:
        r"""Returns the part of a batch that this process computes."""
        size, k, K = batch.head_index.numel(), rank(), world_size()
        if K == 1:
            return batch
        whole = Share(0, size, size, 1 / K)
        if not self.splits_batch():
            return batch.part(whole)
        if isinstance(self.loss, AllNodesLoss):
            assert self.form is not None
            nodes = candidates(self.model, self.form.num_nodes)
            return replace(batch.part(whole), nodes=nodes)
        first, last = size * k // K, size * (k + 1) // K
        # A process without a triple computes one that does not count.
        return batch.part(Share(first, last - first, size,
                                (last - first) / size)
                          if last > first else Share(0, 1, size, 0.0))

    def model_parameters(self) -> list[Parameter]:
        r"""Returns the parameters that are trained by the model's loss."""
        generators = self.form and self.form.generator_modules()
        if generators is not None and (
                self.sampler or isinstance(self.loss, AllNodesLoss)):
            raise ModelError(
                'Expected an AdversarialTrainer, which trains the generators, '
                f"for '{type(self.model).__name__}' with a sampler or a loss "
                f"on all nodes (got '{type(self).__name__}'). Use AdaMF to "
                'train without MAT.')
        return [p for p in self.model.parameters() if p.requires_grad]

    def fit(self, resume: Union[bool, str, Path, None] = None) -> History:
        r"""Trains the model, and leaves it with the best weights.

        SIGTERM and SIGHUP, by which clusters stop jobs, end the training after
        the current step: a checkpoint is written, from which the training can
        be resumed bit for bit, and :class:`~pyg_mmkgc.errors.Terminated` is
        raised.

        Args:
            resume (bool or str or pathlib.Path, optional): If set to
                :obj:`True`, resumes from the checkpoint in :obj:`folder`. If
                set to a path, resumes from this file or folder. If
                :obj:`epochs` was increased, the best epoch may be the last
                epoch of the earlier training, which an uninterrupted training
                would not validate. (default: :obj:`None`, a new training)
        """
        with catch_signals() as self._signals:
            history = self._fit(resume)
            self._signals.check()
        return history

    def stop(self) -> None:
        r"""Ends the training after the current epoch. Callbacks may call this
        method.
        """
        self.history.stopped_early = True

    def _fit(self, resume: Union[bool, str, Path, None]) -> History:
        self.history, best = History(), None
        self._part: Optional[EpochPart] = None
        path = None if self.folder is None else find_checkpoint(self.folder)
        source = path if resume is True else Path(resume) if resume else None
        if source is not None and source.is_dir():
            source = find_checkpoint(source)
        if resume and source is None:
            raise CheckpointError('Expected a folder or a path to resume from '
                                  '(got none)')
        if path is not None and path.exists() and (
                source is None or source.resolve() != path.resolve()):
            raise CheckpointError('Expected a folder without a checkpoint '
                                  f"(got '{path}'). Pass resume=True or "
                                  'another folder.')
        if source is not None:
            self.history, best = self._restore(source)
        self._warn_of_few_validations()
        callbacks = [x for x in self.callbacks
                     if is_main() or not x.main_only]
        if self.patience is not None and self.validates:
            callbacks.append(EarlyStopping('mrr', self.patience))
        begun: list[Callback] = []
        try:
            for callback in callbacks:
                begun.append(callback)
                callback.on_fit_begin(self)
            best = self._epochs(best, callbacks)
        finally:
            for callback in begun:
                callback.on_fit_end(self)
        if best is not None:
            self.model.load_state_dict(best)
        return self.history

    def _epochs(self, best: Optional[State],
                callbacks: list[Callback]) -> Optional[State]:
        r"""Trains the epochs that are left, and returns the best weights."""
        history = self.history
        first = len(history.epochs) + 1
        if first > self.epochs:  # Callbacks may stop a complete training.
            history.stopped_early = False
        bar = tqdm(range(first, self.epochs + 1), initial=first - 1,
                   total=self.epochs, unit='epoch',
                   disable=not self.progress or not is_main())
        for epoch in () if history.stopped_early else bar:
            due = epoch == self.epochs or (
                self.valid_every is not None and epoch % self.valid_every == 0)
            try:
                entry: dict[str, Any] = {'epoch': epoch,
                                         **self._train_epoch(epoch)}
                # Processes only stop together, between two steps.
                with (self._signals.at_once() if world_size() == 1 else
                      nullcontext()):
                    metrics = (evaluate(self.model, self.data, 'val').metrics()
                               if due and self.validates else {})
            except Terminated:
                if self.folder is not None:
                    path = self._save(self.folder, best, self._part)
                    if is_main():
                        print(f'\nTerminated in epoch {epoch}. The checkpoint '
                              f"'{path}' resumes it.", file=sys.stderr)
                bar.close()
                raise
            self._part = None
            history.epochs.append(entry)
            if metrics:
                entry |= {f'val_{name}': value for name, value
                          in metrics.items() if not name.endswith(OTHER_TIES)}
                if metrics['mrr'] > history.best_metrics.get('mrr', -1.0):
                    history.best_epoch = epoch
                    history.best_metrics = metrics
                    best = copy_state(self.model, self.folder)
                for callback in callbacks:
                    callback.on_validation(self, epoch, metrics)
            for callback in callbacks:
                callback.on_epoch_end(self, entry)
            # A stop after the last epoch is not early.
            history.stopped_early = any_over_ranks(
                history.stopped_early) and epoch < self.epochs
            if self.folder is not None and (
                    due or history.stopped_early
                    or epoch % CHECKPOINT_EVERY == 0):
                self._save(self.folder, best)
            bar.set_postfix({key: f'{value:.4g}' for key, value
                             in entry.items()
                             if key.endswith(('loss', 'val_mrr'))})
            if history.stopped_early:
                break
        bar.close()
        return best

    def _warn_of_few_validations(self) -> None:
        if (not self.validates or self.valid_every is None
                or not is_main()):
            return
        count = -(-self.epochs // self.valid_every)
        if count < min(FEW_VALIDATIONS, self.epochs):
            warnings.warn(
                f'Expected {FEW_VALIDATIONS} or more validations to choose '
                f"the best weights from (got {count} in {self.epochs} epochs "
                f'with valid_every={self.valid_every}). Pass a smaller '
                "'valid_every'.", stacklevel=4)

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.model.train()
        start = time.perf_counter()
        part = self._part
        if part is None:  # A resumed epoch has already begun.
            self.begin_epoch(epoch)
            part = self._part = EpochPart()
        start -= part.seconds  # Includes the steps before a termination.
        # A model may draw from the global generator, for example its
        # negatives.
        devices = [self.device] if self.device.type == 'cuda' else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self._seed(epoch, 3))
            batches = self._batches(epoch, part)
            for step, batch in enumerate(batches, start=part.steps + 1):
                done = (epoch - 1) * len(self) + step - 1
                # A device computes the last step while this batch is drawn.
                self.checks.settle()
                self._schedule(done)
                where = f'epoch {epoch}, step {step}'
                with sharing(batch.share):
                    losses = self.train_step(batch, where)
                whole = batch if batch.whole is None else batch.whole
                part.add(losses, whole.head_index.numel())
                if any_over_ranks(self._signals.received is not None):
                    self.checks.settle()
                    if self._signals.received is None:  # Another process did.
                        self._signals.received = signal.SIGTERM
                    part.keep(time.perf_counter() - start, self.device)
                    self._signals.check()
            self.checks.settle()
        part.seconds = time.perf_counter() - start
        return {**part.means(), 'seconds': part.seconds}

    def begin_epoch(self, epoch: int) -> None:
        r"""Prepares the sampler for an epoch, counted from 1. Called before
        the first step of the epoch.
        """
        if self.sampler is not None:
            self.sampler.begin_epoch(self.model, epoch, self.epochs)

    def train_step(self, batch: Batch, where: str) -> dict[str, Tensor]:
        r"""Takes a step on a batch and returns its losses."""
        with self.precision():
            loss = complete(self.model, self.loss, batch).loss
        total = minimize(loss, self.params, self.optimizers['model'],
                         self.grad_clip, f'the loss at {where}', self.model,
                         self.checks)
        if self.form is not None:
            self.form.after_step()
        return {'loss': total}

    def precision(self) -> torch.autocast:
        r"""Returns the autocast context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16,
                              enabled=self.autocast)

    def __len__(self) -> int:
        r"""Returns the number of steps in an epoch."""
        size = self.triples[0].numel()
        return -(-min(size, self.triples_per_epoch or size)
                 // self.batch_size)

    def _batches(self, epoch: int,
                 part: Optional[EpochPart] = None) -> Iterator[Batch]:
        # Drawing on the CPU yields the same numbers for every device.
        order, draw, noise = (
            torch.Generator().manual_seed(self._seed(epoch, stream))
            for stream in range(3))
        perm = torch.randperm(self.triples[0].numel(), generator=order)
        perm = perm[:self.triples_per_epoch]
        if part is not None:
            part.take(draw, noise, self.device)
        done = 0 if part is None else part.steps
        for index in perm.split(self.batch_size)[done:]:
            head, rel, tail = (x[index] for x in self.triples)
            negatives = (None if self.sampler is None else
                         self.sampler.sample(head, rel, tail, draw))
            weight = None if self.weight is None else self.weight[index]
            batch = Batch(head, rel, tail, noise, negatives, self.index,
                          weight)
            yield self.own_part(batch).to(self.device)

    def _seed(self, epoch: int, stream: int) -> int:
        sequence = np.random.SeedSequence([self.seed, epoch, stream])
        return int(sequence.generate_state(1)[0])

    def _schedule(self, step: int) -> None:
        factor = learning_rate_factor(self.lr_schedule, step, self.num_steps)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault('initial_lr', group['lr'])
                group['lr'] = group['initial_lr'] * factor

    def settings(self) -> dict[str, Any]:
        r"""Returns the settings of the training as plain values, for
        experiment trackers.
        """
        found = self.fingerprint()
        return {key: value for key, value in found.items()
                if key not in ('shapes', *self._digests)} | {
                    'epochs': self.epochs, 'valid_every': self.valid_every,
                    'patience': self.patience}

    def fingerprint(self) -> dict[str, Any]:
        r"""Returns the settings that must not change when resuming."""
        shapes = {name: list(x.shape)
                  for name, x in self.model.state_dict().items()}
        return {
            'model': type(self.model).__name__,
            'options': plain_options(self.model), 'shapes': shapes,
            **self._digests, 'seed': self.seed, 'lr': self.lr,
            'batch_size': self.batch_size, 'sampler': repr(self.sampler),
            'loss': repr(self.loss), 'grad_clip': self.grad_clip,
            'autocast': self.autocast,
            'subsampling': self.weight is not None,
            'lr_schedule': self.lr_schedule,
            'steps': self.num_steps if self._scheduled() else None,
            'optimizer': type(self.optimizers['model']).__name__,
            'torch': torch.__version__.split('+')[0],
            # Earlier versions always trained on all triples.
            **({} if self.triples_per_epoch is None else
               {'triples_per_epoch': self.triples_per_epoch}),
        }

    @cached_property  # Hashing is slow, and every checkpoint needs these.
    def _digests(self) -> dict[str, Any]:
        return digests(self.data, self.triples)

    def _scheduled(self) -> bool:
        return self.lr_schedule is not None or (
            self.sampler is not None and self.sampler.scheduled)

    def _save(self, folder: Path, best: Optional[State],
              part: Optional[EpochPart] = None) -> Path:
        states = {'model': self.model.state_dict(), **self.extra_states()}
        if best is not None:
            states['best'] = best
        if part is not None:
            states['part'] = part.state_dict()
        return save_checkpoint(folder, states, self.optimizers, {
            'fingerprint': self.fingerprint(),
            'history': self.history.to_dict()}, self.model)

    def _restore(self, path: Path) -> tuple[History, Optional[State]]:
        states, optimizers, metadata = load_checkpoint(path,
                                                       self.fingerprint())
        if 'part' in states:
            self._part = EpochPart.from_state(states['part'], self.device,
                                              path)
            self.begin_epoch(len(metadata['history']['epochs']) + 1)
        best = None
        if 'best' in states:
            restore(self.model, states, 'best', path)
            del states['best']
            best = copy_state(self.model, self.folder)
        restore(self.model, states, 'model', path)
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, optimizers.get(name), name, path,
                              self.model)
        self.load_extra_states(states, path)
        history = History(**metadata['history'])
        # Callbacks decide, since their patience may have been increased.
        history.stopped_early = False
        return history, best

    def extra_states(self) -> dict[str, State]:
        r"""Returns the weights outside of the model that checkpoints hold."""
        module = self.sampler_module
        return {} if module is None else {'sampler': module.state_dict()}

    def load_extra_states(self, states: dict[str, State], path: Path) -> None:
        r"""Loads the weights that :meth:`extra_states` returned."""
        if self.sampler_module is not None:
            restore(self.sampler_module, states, 'sampler', path)
