from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

import torch

from pyg_mmkgc.errors import CheckpointError, ModelError
from pyg_mmkgc.io.atomic import read_json, write_json
from pyg_mmkgc.io.tensors import load_tensors, save_tensors

T = TypeVar('T', bound='Pretrained')
TENSORS = ('modalities', 'masks')


def arguments_of(cls: type) -> list[str]:
    r"""The names of a constructor's arguments, with those of the bases that
    :obj:`*args` or :obj:`**kwargs` are passed on to.
    """
    names: dict[str, None] = {}
    for base in cls.__mro__:
        params = inspect.signature(base).parameters.values()
        passed_on = [param for param in params if param.kind in (
            param.VAR_KEYWORD, param.VAR_POSITIONAL)]
        names |= dict.fromkeys(param.name for param in params
                               if param not in passed_on)
        if not passed_on:
            break
    return list(names)


def read_labels(folder: Path) -> tuple[Optional[list[str]],
                                       Optional[list[str]]]:
    r"""The names of nodes and relations in the folder of a model, if any."""
    path = folder / 'labels.json'
    labels = read_json(path) if path.is_file() else {}
    if not isinstance(labels, dict):
        raise CheckpointError(f"'{path}': expected the labels of nodes and "
                              f'relations, got {type(labels).__name__}')
    return labels.get('nodes'), labels.get('relations')


def write_labels(folder: Path, source: Any) -> None:
    r"""Writes the names of a graph or model for :func:`read_labels`."""
    write_json(folder / 'labels.json', {
        'nodes': getattr(source, 'node_names', None),
        'relations': getattr(source, 'relation_names', None)})


def check_numbering(model: Any, kg: Any) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if a label of the graph
    has no or another id in the labels that the model keeps, if any.
    """
    for kind in ('node', 'relation'):
        theirs = getattr(kg, f'{kind}_names', None)
        ours = getattr(model, f'{kind}_names', None)
        if ours is None or theirs is None or ours is theirs or ours == theirs:
            continue
        place = {name: i for i, name in enumerate(ours)}
        for i, name in enumerate(theirs):
            if name not in place:
                raise ModelError(
                    f"'{type(model).__name__}' has no {kind} {name!r}, which "
                    f'the graph has as {kind} {i}: it is of another graph; '
                    'if only the labels are others, give the graph the '
                    f"model's {kind}_names")
            if place[name] != i:
                raise ModelError(
                    f"'{type(model).__name__}' has {name!r} as {kind} "
                    f'{place[name]}, but the graph as {kind} {i}: '
                    'pyg_mmkgc.data.renumber(kg, model.node_names, '
                    'model.relation_names) numbers it as the model')


class Pretrained(torch.nn.Module):
    r"""Saving to and loading from a folder: :obj:`config.json` holds the
    class and its arguments, :obj:`model.safetensors` weights and features,
    :obj:`labels.json` the names of nodes and relations. Nothing is pickled.

    A model that was built from a graph or loaded keeps its
    :obj:`node_names` and :obj:`relation_names`: a graph that numbers them
    otherwise is refused, see :func:`~pyg_mmkgc.data.renumber`.
    """
    node_names: Optional[list[str]] = None
    relation_names: Optional[list[str]] = None

    def config(self) -> dict[str, Any]:
        r"""The constructor's arguments, less the tensors, as plain values."""
        names = [name for name in arguments_of(type(self))
                 if name not in TENSORS]
        for name in names:
            if not hasattr(self, name):
                raise ModelError(f'expected {type(self).__name__} to keep the '
                                 f"argument '{name}' of its constructor as "
                                 'the attribute of that name, to save it')
        return {name: getattr(self, name) for name in names}

    def save_pretrained(self, folder: Union[str, Path],
                        data: Optional[Any] = None) -> None:
        r"""Writes the model to a folder.

        Args:
            folder (str or pathlib.Path): The folder, made if missing.
            data (KnowledgeGraph, optional): Where the labels come from.
                (default: :obj:`None`, those that the model keeps, if any)

        Raises:
            ModelError: If an argument of the constructor is no attribute, or
                the graph numbers the labels of the model otherwise.
        """
        config = self.config()  # Before anything is written.
        folder = Path(folder)
        state = self.state_dict()
        # A model may take modalities and encode none of them.
        names = [name for name in getattr(self, 'modalities', [])
                 if name in getattr(self, 'encoders', {})]
        for name in names:
            # Features that are the graph's are in no state.
            state.setdefault(f'encoders.{name}.x',
                             self.get_submodule(f'encoders.{name}').x)
        widths = {name: state[f'encoders.{name}.x'].size(1)
                  for name in names}
        labels = self if data is None else data
        check_numbering(self, labels)
        # What an earlier model has left there does not fit this one.
        for name in ('config.json', 'labels.json'):
            (folder / name).unlink(missing_ok=True)
        save_tensors(folder / 'model.safetensors', state, {})
        write_labels(folder, labels)
        # Written last: a folder with a config is a whole one.
        write_json(folder / 'config.json', {
            'class': type(self).__name__, 'arguments': config,
            'modalities': widths})

    @classmethod
    def from_pretrained(cls: type[T], folder: Union[str, Path]) -> T:
        r"""Loads a model that :meth:`save_pretrained` wrote, in evaluation
        mode. Called on a base class, it gives the class that was saved.

        Raises:
            CheckpointError: If the folder holds no model, or one of another
                class.
        """
        folder = Path(folder)
        if not (folder / 'config.json').is_file():
            hint = (f"; the model of this run is in '{folder / 'model'}'"
                    if (folder / 'model' / 'config.json').is_file() else '')
            raise CheckpointError(f"expected 'config.json' in '{folder}', as "
                                  f'save_pretrained writes it, got none{hint}')
        saved = read_json(folder / 'config.json')
        known = {c.__name__: c for c in (cls, *_subclasses(cls))}
        name = saved.get('class') if isinstance(saved, dict) else None
        if name not in known:
            raise CheckpointError(f"expected one of {sorted(known)} in "
                                  f"'{folder}', got {name!r}; a class of your "
                                  'own has to be imported first')
        if not (folder / 'model.safetensors').is_file():
            raise CheckpointError(f"expected 'model.safetensors' in "
                                  f"'{folder}', got none")
        state, _ = load_tensors(folder / 'model.safetensors')
        try:
            arguments = dict(saved['arguments'])
            if saved['modalities']:
                arguments['modalities'] = {
                    m: state[f'encoders.{m}.x'] for m in saved['modalities']}
                arguments['masks'] = {
                    m: state[f'encoders.{m}.mask']
                    for m in saved['modalities']}
            with torch.random.fork_rng(devices=[]):
                model = known[name](**arguments)
            for name in saved['modalities']:
                if f'encoders.{name}.x' not in model.state_dict():
                    del state[f'encoders.{name}.x']
            # Assigned, not copied: a model in double precision stays so.
            model.load_state_dict(state, assign=True)
        except (KeyError, RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"the weights in '{folder}' do not fit its config: {error}"
            ) from error
        model.set_labels(*read_labels(folder))
        return model.eval()

    def set_labels(self, nodes: Optional[list[str]],
                   relations: Optional[list[str]]) -> None:
        r"""Takes the names of nodes and relations that the model was trained
        with.
        """
        self.node_names, self.relation_names = nodes, relations


def _subclasses(cls: type[T]) -> list[type[T]]:
    return [c for child in cls.__subclasses__()
            for c in (child, *_subclasses(child))]
