r"""The configuration of a run as dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pyg_mmkgc.config.coerce import Range, check_keys, coerce
from pyg_mmkgc.config.components import (
    Component,
    Option,
    model_rules,
    read_component,
    takes_all_nodes,
)
from pyg_mmkgc.errors import ConfigError

T = TypeVar('T')

_AT_LEAST_ONE = Range(ge=1)
_POSITIVE = Range(gt=0)
_RATIO = Annotated[float, Range(ge=0, lt=1)]

#: The arguments of :func:`read_component`, section by section.
_SECTIONS: dict[str, dict[str, Any]] = {
    'dataset': dict(
        skip=['transform', 'pre_transform', 'force_reload'],
        extra={'root': Option(str | None, None),
               'modalities': Option(list[str] | None, None),
               'drop_features': Option(dict[str, _RATIO] | None, None)}),
    'model': {},
    'sampler': {},
    'loss': {},
}


@dataclass(frozen=True)
class TrainingConfig:
    r"""How a model is trained.

    Args:
        lr (float): Adam's learning rate.
        batch_size (int): Positive triples per step.
        epochs (int): Passes over the training triples.
        triples_per_epoch (int, optional): Draws this many of them for each
            epoch instead of all.
        valid_every (int, optional): Epochs between two validations and
            checkpoints; the best weights are kept. Without it, the last.
        patience (int, optional): Validations without a better MRR after
            which training stops.
        grad_clip (float, optional): Largest norm of the gradient.
        lr_schedule (str, optional): How the learning rate falls to zero
            over all epochs.
        subsampling (bool): Whether frequent queries weigh less in the loss.
        autocast (bool or str): Whether projections and generators multiply
            in bfloat16; by :obj:`"auto"`, where the hardware does.
        seed (int): Seed of weights, batches, negatives and dropped features.
        device (str, optional): As for :class:`torch.device`; by default
            a GPU where there is one.
    """

    lr: Annotated[float, _POSITIVE] = 1e-3
    batch_size: Annotated[int, _AT_LEAST_ONE] = 1024
    epochs: Annotated[int, _AT_LEAST_ONE] = 100
    triples_per_epoch: Annotated[int | None, _AT_LEAST_ONE] = None
    valid_every: Annotated[int | None, _AT_LEAST_ONE] = 10
    patience: Annotated[int | None, _AT_LEAST_ONE] = None
    grad_clip: Annotated[float | None, _POSITIVE] = None
    lr_schedule: Literal['linear', 'cosine'] | None = None
    subsampling: bool = False
    autocast: bool | Literal['auto'] = False
    seed: Annotated[int, Range(ge=0, lt=2**63)] = 0
    device: str | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    r"""How a model is evaluated.

    Args:
        ties (str): The rank of a target among rivals of the same score.
        batch_size (int, optional): Queries per block; by default what fits.
    """

    ties: Literal['realistic', 'optimistic', 'pessimistic'] = 'realistic'
    batch_size: Annotated[int | None, _AT_LEAST_ONE] = None


@dataclass(frozen=True)
class Config:
    r"""The whole configuration of a run: one section per field.

    Without a sampler, a model is trained on its own loss, with the negatives
    that it draws itself, or on a loss of the scores of all nodes.
    """

    dataset: Component
    model: Component
    sampler: Component | None = None
    loss: Component | None = None
    adversary: Component | None = None
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @classmethod
    def from_dict(cls, values: Any) -> Config:
        r"""Checks plain values, as read from a YAML file.

        Raises:
            ConfigError: On an unknown key, a wrong type, a value out of
                range or an unknown name, with the key's path.
        """
        if not isinstance(values, Mapping):
            raise ConfigError('expected a mapping of the sections '
                              f'{", ".join(cls.sections())}, got {values!r}')
        check_keys(values, cls.sections(), '')
        for key in ('dataset', 'model'):
            if values.get(key) is None:
                raise ConfigError(f"the section '{key}' is missing")
        out: dict[str, Any] = {}
        for key, more in _SECTIONS.items():
            if values.get(key) is not None:
                if key == 'model' and isinstance(values[key], Mapping):
                    more = model_rules(str(values[key].get('name')))
                out[key] = read_component(key, values[key], **more)
        # A loss on the scores of all nodes replaces a sampler.
        sampled = 'loss' not in out or not takes_all_nodes(out['loss'])
        if not sampled and 'sampler' in out:
            raise ConfigError(f"'loss.name': {out['loss'].name} takes the "
                              "scores of all nodes: remove the section "
                              "'sampler'")
        for key in ('loss', 'adversary'):
            if sampled and 'sampler' not in out and (
                    values.get(key) is not None):
                raise ConfigError(f"the section '{key}' needs the section "
                                  "'sampler', as in sampler: {name: "
                                  'PooledSampler}')
        if values.get('adversary') is not None:
            # Keywords of generators that the model has are set there.
            out['adversary'] = read_component(
                'adversary', values['adversary'],
                skip=[key for key in ('noise_channels', 'generator_channels')
                      if key in out['model'].options],
                extra={'lr': Option(Annotated[float, _POSITIVE], 1e-4)})
        out['training'] = read_fields(TrainingConfig, values, 'training')
        out['evaluation'] = read_fields(EvaluationConfig, values,
                                         'evaluation')
        return cls(**out)

    @classmethod
    def sections(cls) -> list[str]:
        r"""The names of the sections, in order."""
        return [field.name for field in dataclasses.fields(cls)]

    def to_dict(self) -> dict[str, Any]:
        r"""Returns plain values, every default written out."""
        out: dict[str, Any] = {}
        for key in self.sections():
            value = getattr(self, key)
            if isinstance(value, Component):
                out[key] = value.to_dict()
            elif value is not None:
                out[key] = dataclasses.asdict(value)
        return out


def read_fields(cls: type[T], values: Mapping[str, Any], section: str) -> T:
    r"""Checks plain values against the fields of a dataclass.

    Args:
        cls (type): The dataclass.
        values (dict): Plain values, with those of the fields under
            :obj:`section`.
        section (str): Their key, also for errors.
    """
    given = values.get(section)
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ConfigError(f"'{section}': expected a mapping, got {given!r}")
    hints = get_type_hints(cls, include_extras=True)
    check_keys(given, hints, section)
    return cls(**{key: coerce(value, hints[key], f'{section}.{key}')
                  for key, value in given.items()})
