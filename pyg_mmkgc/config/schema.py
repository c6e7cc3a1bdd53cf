r"""The configuration of a run as dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pyg_mmkgc.config.coerce import check_keys, coerce, located
from pyg_mmkgc.config.components import (
    Component,
    Names,
    read_component,
    read_options,
    valid_names,
)
from pyg_mmkgc.errors import ConfigError, check_whole

Tracker = Literal['csv', 'tensorboard', 'wandb']


@dataclass(frozen=True)
class TrainingConfig:
    r"""The training of a model. Each field but :obj:`track` is a keyword of
    :class:`~pyg_mmkgc.training.Trainer`, which checks it.

    Args:
        lr (float, optional): The learning rate of Adam.
            (default: :obj:`1e-3`)
        batch_size (int, optional): The number of positives in each step.
            (default: :obj:`1024`)
        epochs (int, optional): The number of passes over the training triples.
            (default: :obj:`100`)
        triples_per_epoch (int, optional): The number of training triples that
            are drawn for each epoch. (default: :obj:`None`, all)
        valid_every (int, optional): The number of epochs between validations.
            The weights with the best validation MRR are kept, or the last
            weights if set to :obj:`None`. (default: :obj:`10`)
        patience (int, optional): The number of validations without improvement
            after which the training stops. (default: :obj:`None`)
        grad_clip (float, optional): The maximum norm of the gradient.
            (default: :obj:`None`)
        lr_schedule (str, optional): The decay of the learning rate to zero,
            either :obj:`"linear"` or :obj:`"cosine"`. (default: :obj:`None`)
        subsampling (bool, optional): If set to :obj:`True`, frequent queries
            have less weight in the loss. (default: :obj:`False`)
        autocast (bool or str, optional): If set to :obj:`True`, projections,
            generators and the layers of path models multiply in bfloat16. If
            set to :obj:`"auto"`, they do so where the hardware supports it.
            (default: :obj:`False`)
        seed (int, optional): The seed of weights, batches, negatives and
            dropped features. (default: :obj:`0`)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`, a GPU if there is one)
        features_on (str, optional): If set to :obj:`"cpu"`, the features of
            modalities stay in the memory of the host if :obj:`device` is a
            GPU, for tables that do not fit into its memory.
            (default: :obj:`None`, on the device)
        track (str or list[str], optional): The records of the training in the
            folder of the run, any of :obj:`"csv"`, :obj:`"tensorboard"` and
            :obj:`"wandb"`. (default: :obj:`None`)
    """

    lr: float = 1e-3
    batch_size: int = 1024
    epochs: int = 100
    triples_per_epoch: int | None = None
    valid_every: int | None = 10
    patience: int | None = None
    grad_clip: float | None = None
    lr_schedule: Literal['linear', 'cosine'] | None = None
    subsampling: bool = False
    autocast: bool | Literal['auto'] = False
    seed: int = 0
    device: str | None = None
    features_on: Literal['cpu'] | None = None
    track: Tracker | list[Tracker] | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    r"""The evaluation of a model.

    Args:
        ties (str, optional): The rank of a target among candidates with the
            same score, as for :func:`~pyg_mmkgc.evaluation.evaluate`.
            (default: :obj:`"realistic"`)
        batch_size (int, optional): The number of queries in each block.
            (default: :obj:`None`, as many as fit)
    """

    ties: Literal['realistic', 'optimistic', 'pessimistic'] = 'realistic'
    batch_size: int | None = None

    def __post_init__(self) -> None:
        # The evaluation checks it as well, but only after the training.
        check_whole(optional=True, batch_size=self.batch_size)


@dataclass(frozen=True)
class Config:
    r"""The configuration of a run, with a section per field.

    Without a sampler, a model is trained with its own loss and negatives, or
    with a loss on the scores of all nodes.
    """

    dataset: Component
    model: Component
    sampler: Component | None = None
    loss: Component | None = None
    adversary: Component | None = None
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @classmethod
    def from_dict(cls, values: Any, names: Names = valid_names) -> Config:
        r"""Builds a configuration from the plain values of a YAML file. Names,
        keys and types are checked here, while values are checked by the
        constructors that receive them.

        Args:
            values (Any): The plain values.
            names (Callable, optional): As for
                :func:`~pyg_mmkgc.config.components.read_component`.

        Raises:
            ConfigError: If a key or name is unknown, or a type is wrong. The
                message contains the path of the key.
        """
        given = {key: value for key, value in coerce(
            values, dict, 'configuration').items() if value is not None}
        check_keys(given, cls.sections(), '')
        for key in ('dataset', 'model'):
            if key not in given:
                raise ConfigError(f"Expected the section '{key}' (got none)")
        out: dict[str, Any] = {
            key: read_component(key, given[key], names=names)
            for key in ('dataset', 'model', 'sampler', 'loss')
            if key in given}
        if 'adversary' in given:
            # The keywords of a model's own generators are in its section.
            skip = [key for key in ('noise_channels', 'generator_channels')
                    if key in out['model'].options]
            out['adversary'] = read_component('adversary', given['adversary'],
                                              skip, names)
        if 'loss' in out and getattr(names('loss')[out['loss'].name],
                                     'takes_all_nodes', False):
            if 'sampler' in out:
                raise ConfigError(
                    f"Expected no section 'sampler' for {out['loss'].name}, "
                    'which takes the scores of all nodes (got '
                    f'{out["sampler"].name})')
        elif 'sampler' not in out and ('loss' in out or 'adversary' in out):
            key = 'loss' if 'loss' in out else 'adversary'
            raise ConfigError(f"Expected the section 'sampler', which '{key}' "
                              'requires (got none)')
        fields: dict[str, Any] = {'training': TrainingConfig,
                                  'evaluation': EvaluationConfig}
        for key, section in fields.items():
            options = read_options(key, given.get(key, {}), section)
            with located(key, options):
                out[key] = section(**options)
        return cls(**out)

    @classmethod
    def sections(cls) -> list[str]:
        r"""Returns the names of the sections in their order."""
        return [field.name for field in dataclasses.fields(cls)]

    def to_dict(self) -> dict[str, Any]:
        r"""Returns plain values with every default."""
        values = {key: getattr(self, key) for key in self.sections()}
        out = {key: value.to_dict() if isinstance(value, Component)
               else dataclasses.asdict(value)
               for key, value in values.items() if value is not None}
        if self.training.track is None:  # It does not affect the result.
            del out['training']['track']
        return out
