from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

import torch
from torch import Tensor
from torch_geometric.nn import kge as pyg_kge

from pyg_mmkgc.errors import (
    CheckpointError,
    FormatError,
    MMKGCError,
    ModelError,
)
from pyg_mmkgc.io import strings
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.io.atomic import temporary_folder, write_json
from pyg_mmkgc.io.manifest import SealedFolder, seal, unseal
from pyg_mmkgc.io.reading import as_path
from pyg_mmkgc.io.tensors import load_tensors, save_tensors

T = TypeVar('T', bound='Pretrained')
TENSORS = ('modalities', 'masks')
LABELS = ('labels.json', 'labels.safetensors')
# The file that names the files of the tensors that several processes wrote.
INDEX = 'model.safetensors.index.json'
# The files of a saved model. A run adds a `graph.json`.
FILES = ('config.json', 'model.safetensors', INDEX, *LABELS)
VERSION = 2
MEMBER_SCHEMA = {'class': str, 'arguments': {str: object},
                 'modalities': {str: int}, 'modules?': {str: object},
                 'feature_encoders?': {str: {str: object}}}
CONFIG_SCHEMA = {'version?': int, **MEMBER_SCHEMA,
                 'members?': [MEMBER_SCHEMA]}
NAMES_SCHEMA = (None, [str])
LABELS_SCHEMA = {'nodes?': NAMES_SCHEMA, 'relations?': NAMES_SCHEMA,
                 'node_ids?': NAMES_SCHEMA}
SHARD = re.compile(r'model-[0-9]{5}-of-[0-9]{5}\.safetensors')
MEMBER = re.compile(r'members\.[0-9]+\.')
INDEX_SCHEMA = {'weight_map': {str: [str]}, 'rows': {str: int}}
Names = Optional[list[str]]
KINDS = ('nodes', 'relations', 'node_ids')


def read_labels(folder: Union[str, Path, SealedFolder],
                ) -> tuple[Names, Names, Names]:
    r"""Returns the names of nodes and relations and the identifiers of nodes
    in the folder of a model. Each is :obj:`None` if the folder lacks it.
    """
    if not isinstance(folder, SealedFolder):
        folder = SealedFolder(folder)
    labels: dict[str, Names] = {}
    if folder.has('labels.safetensors'):
        path = folder.folder / 'labels.safetensors'
        tensors, _ = load_tensors(path, folder.expected(path.name))
        for kind in KINDS:
            if f'ends of {kind}' in tensors:
                labels[kind] = strings.unpack_strings(
                    tensors.get(f'bytes of {kind}', torch.empty(0)),
                    tensors[f'ends of {kind}'], f"'{path}'")
    elif folder.has('labels.json'):
        labels = folder.read_json('labels.json', LABELS_SCHEMA)
    names, relations, ids = (labels.get(kind) for kind in KINDS)
    return names, relations, ids


def write_labels(folder: Path, source: Any) -> None:
    r"""Writes the names of nodes and relations, and the identifiers of nodes
    if there are any, of a graph or a model: to :obj:`labels.json`, or to
    :obj:`labels.safetensors` as tables of bytes if there are many.
    """
    labels: dict[str, Names] = {
        kind: getattr(source, name, None) for kind, name in zip(
            KINDS, ('node_names', 'relation_names', 'node_ids'), strict=True)}
    if labels['node_ids'] is None:
        del labels['node_ids']
    if not any(x and len(x) >= strings.MANY for x in labels.values()):
        write_json(folder / 'labels.json', labels)
        return
    tensors: dict[str, Tensor] = {}
    for kind, names in labels.items():
        if names is not None:
            tensors[f'bytes of {kind}'], tensors[f'ends of {kind}'] = (
                strings.pack_strings(names))
    save_tensors(folder / 'labels.safetensors', tensors)


def load_weights(model: torch.nn.Module, state: dict[str, Tensor],
                 where: Union[str, Path], assign: bool = False) -> None:
    r"""Loads weights into a model.

    Raises:
        CheckpointError: If the weights do not fit the model.
    """
    try:
        model.load_state_dict(state, assign=assign)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _no_fit(where, ' '.join(str(error).split())[:500]) from error


def _no_fit(where: Union[str, Path], reason: Any) -> CheckpointError:
    return CheckpointError(f"Expected the weights in '{where}' to fit its "
                           f'config (got an error: {reason})')


def check_numbering(model: Any, kg: Any) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if a label of the graph
    has another id, or none, in a model that keeps labels.
    """
    for kind in ('node', 'relation'):
        theirs = getattr(kg, f'{kind}_names', None)
        ours = getattr(model, f'{kind}_names', None)
        if ours is None or theirs is None or ours is theirs or ours == theirs:
            continue
        place = {name: i for i, name in enumerate(ours)}
        for i, name in enumerate(theirs):
            if ours[i:i + 1] == [name]:  # Nodes may share a label.
                continue
            if name not in place:
                raise ModelError(
                    f"Expected a graph with the {kind}s of "
                    f"'{type(model).__name__}' (got {name!r} as {kind} {i}, "
                    'which the model does not have). The model was trained '
                    'on another graph. If only the labels differ, give the '
                    f"graph the model's {kind}_names.")
            raise ModelError(
                f'Expected {name!r} to be {kind} {place[name]} of the graph, '
                f"as in '{type(model).__name__}' (got {kind} {i}). Call "
                'pyg_mmkgc.data.renumber(kg, model.node_names, '
                'model.relation_names, model.node_ids) to number the graph '
                'like the model.')


class Pretrained(torch.nn.Module):
    r"""The base class of modules that can be saved to and loaded from a
    folder.

    In the folder, :obj:`config.json` holds the class and its arguments,
    :obj:`model.safetensors` the weights and features, :obj:`labels.json` the
    names of nodes and relations, and :obj:`manifest.json` the SHA-256 of each
    of these files, which loading verifies. Nothing is pickled. After changing
    a file by hand, call :func:`pyg_mmkgc.io.seal` to update the manifest.

    A model that was loaded or built from a graph keeps its :obj:`node_names`
    and :obj:`relation_names`. A graph that numbers them differently is
    rejected (see :func:`~pyg_mmkgc.data.renumber`).
    """
    node_names: Names = None
    relation_names: Names = None
    node_ids: Names = None
    #: The encoder that computed the features of each modality, if known.
    feature_encoders: Optional[dict[str, Any]] = None

    def config(self) -> dict[str, Any]:
        r"""Returns the constructor's arguments as plain values, without
        tensors.
        """
        names = [name for name in arguments_of(type(self))
                 if name not in TENSORS]
        for name in names:
            if not hasattr(self, name):
                raise ModelError(f'Expected {type(self).__name__} to keep the '
                                 f"argument '{name}' of its constructor as "
                                 'an attribute of the same name (got none)')
        return {name: getattr(self, name) for name in names}

    def module_configs(self) -> dict[str, Any]:
        r"""Returns the arguments of modules that replaced modules of the
        constructor, as plain values.
        """
        return {}

    def replace_modules(self, configs: dict[str, Any],
                        state: dict[str, Tensor]) -> None:
        r"""Replaces modules by the modules that :meth:`module_configs`
        described, before the weights are loaded.

        Args:
            configs (dict): The result of :meth:`module_configs`.
            state (dict): The weights of the model.
        """

    def save_pretrained(self, folder: Union[str, Path],
                        data: Optional[Any] = None) -> None:
        r"""Writes the model to a folder.

        Args:
            folder (str or pathlib.Path): The folder, created if missing.
            data (KnowledgeGraph, optional): The graph whose labels are saved.
                (default: :obj:`None`, the labels of the model)

        Raises:
            ModelError: If an argument of the constructor is not an attribute,
                or the graph numbers the labels differently from the model.
        """
        save_model(self, folder, data)

    @classmethod
    def from_pretrained(cls: type[T], folder: Union[str, Path]) -> T:
        r"""Loads a model that :meth:`save_pretrained` wrote, in evaluation
        mode. Called on a base class, it returns the class that was saved.

        Args:
            folder (str or pathlib.Path): The folder of the model.

        Raises:
            CheckpointError: If the folder does not contain a model, or if the
                model has another class.
            FormatError: If a file is damaged or was changed.
        """
        known = {c.__name__: c for c in (cls, *_subclasses(cls))}
        return _load(folder, known)

    def set_labels(self, nodes: Names, relations: Names,
                   node_ids: Names = None) -> None:
        r"""Sets the names of nodes and relations, and the identifiers of
        nodes, that the model was trained with.
        """
        self.node_names, self.relation_names = nodes, relations
        self.node_ids = node_ids


def save_pretrained(model: torch.nn.Module, folder: Union[str, Path],
                    data: Optional[Any] = None) -> None:
    r"""Writes a model to a folder, which :func:`load_pretrained` reads. Unlike
    the method of the same name, it also supports the models of :pyg:`PyG`.

    Args:
        model (torch.nn.Module): The model.
        folder (str or pathlib.Path): The folder, created if missing.
        data (KnowledgeGraph, optional): The graph whose labels are saved.
            (default: :obj:`None`, the labels of the model)

    Raises:
        ModelError: If the model is neither of this library nor one of
            :pyg:`PyG`'s knowledge graph embeddings.
    """
    if isinstance(model, Pretrained):
        model.save_pretrained(folder, data)
    else:
        save_model(model, folder, data)


def load_pretrained(folder: Union[str, Path]) -> Any:
    r"""Loads a model that :func:`save_pretrained` or a model's own method
    wrote, in evaluation mode.

    Args:
        folder (str or pathlib.Path): The folder of the model.

    Raises:
        CheckpointError: If the folder does not contain a model.
        FormatError: If a file is damaged or was changed.
    """
    known = {c.__name__: c for c in _subclasses(Pretrained)}
    return _load(folder, {**known, **_pyg_models()})


def _pyg_models() -> dict[str, Any]:
    return {f'PyG.{name}': getattr(pyg_kge, name)
            for name in pyg_kge.classes if name != 'KGEModel'}


def _describe(model: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    r"""Returns the configuration of a model and its tensors."""
    extra: dict[str, Any] = {}
    if isinstance(model, Pretrained):
        name, arguments = type(model).__name__, model.config()
        extra = {'modules': model.module_configs(),
                 'feature_encoders': model.feature_encoders}
    else:
        name, arguments = _describe_pyg(model)
    state = model.state_dict()
    # Some models accept modalities without encoding them.
    encoded = [x for x in getattr(model, 'modalities', [])
               if x in getattr(model, 'encoders', {})]
    for modality in encoded:
        # Features that are shared with the graph are not in the state.
        state.setdefault(f'encoders.{modality}.x',
                         model.get_submodule(f'encoders.{modality}').x)
    if hasattr(model, 'members'):
        extra['members'] = []
        for i, member in enumerate(model.members):
            described, tensors = _describe(member)
            extra['members'].append(described)
            state |= {f'members.{i}.{key}': x for key, x in tensors.items()}
    return {'class': name, 'arguments': arguments, 'modalities': {
        modality: state[f'encoders.{modality}.x'].size(1)
        for modality in encoded},
        **{key: value for key, value in extra.items() if value}}, state


def _describe_pyg(model: Any) -> tuple[str, dict[str, Any]]:
    name = next((name for name, cls in _pyg_models().items()
                 if type(model) is cls), None)
    if name is None:
        raise ModelError("Expected a model of this library or of PyG (got "
                         f"'{type(model).__name__}')")
    arguments = {argument: getattr(model, argument, None)
                 for argument in arguments_of(type(model))}
    if 'sparse' in arguments:  # Kept by the embedding only.
        arguments['sparse'] = model.node_emb.sparse
    return name, arguments


def save_model(model: Any, folder: Union[str, Path],
               data: Optional[Any] = None) -> None:
    r"""Writes a model to a folder, as :func:`save_pretrained` does.

    Args:
        model (torch.nn.Module): The model.
        folder (str or pathlib.Path): The folder, created if missing.
        data (KnowledgeGraph, optional): The graph whose labels are saved.
            (default: :obj:`None`, the labels of the model)
    """
    folder = as_path(folder)
    _, state = _describe(model)  # It may raise, so it comes first.
    if any(hasattr(x, 'to_local') for x in state.values()):
        raise ModelError(
            f"Expected a model with all rows of its tables (got "
            f"'{type(model).__name__}', whose rows are distributed over "
            'processes). Call pyg_mmkgc.distributed.save_over_ranks in all '
            'processes.')
    num_nodes = getattr(model, 'num_nodes', None) or 0
    rows = state.get('node_emb.weight', torch.empty(0)).size(0)
    if 0 < rows < num_nodes:
        raise ModelError(
            f"Expected a model with the nodes of its training (got "
            f"'{type(model).__name__}' with {num_nodes - rows} nodes that "
            'were added by extend). Save the model that was extended. '
            'Functions that take a graph extend it again.')
    with new_files(model, folder, data) as place:
        save_tensors(place / 'model.safetensors', state, {})
        finish_saving(model, place, folder, data)


@contextmanager
def new_files(model: Any, folder: Path,
              data: Optional[Any]) -> Iterator[Path]:
    r"""Context manager that checks a model and its labels, and yields a
    temporary folder for the files that :func:`finish_saving` moves to
    :obj:`folder`. If an error occurs before, an earlier model remains.
    """
    _describe(model)
    check_numbering(model, model if data is None else data)
    with temporary_folder(folder / 'model') as place:
        yield place


def save_shard(model: Any, place: Path, rows: dict[str, Tensor],
               ids: dict[str, Tensor], rank: int, world_size: int) -> None:
    r"""Writes the rows of one process, and all other tensors of the model in
    the first process.

    Args:
        model (torch.nn.Module): The model.
        place (pathlib.Path): The folder of :func:`new_files`.
        rows (dict): The rows of each table by name.
        ids (dict): The ids of these rows.
        rank (int): The number of this process.
        world_size (int): The number of processes.
    """
    tensors = {**rows, **{f'ids of {name}': x for name, x in ids.items()}}
    if rank == 0:
        tensors = {**_describe(model)[1], **tensors}
    save_tensors(place / _shard(rank, world_size), tensors)


def _shard(rank: int, world_size: int) -> str:
    return f'model-{rank + 1:05d}-of-{world_size:05d}.safetensors'


def finish_saving(model: Any, place: Path, folder: Path, data: Optional[Any],
                  rows: Optional[dict[str, int]] = None,
                  world_size: int = 1) -> None:
    r"""Writes the files next to the tensors of a model, and replaces the files
    of an earlier model.

    Args:
        model (torch.nn.Module): The model.
        place (pathlib.Path): The folder of :func:`new_files`.
        folder (pathlib.Path): The folder of the model.
        data (KnowledgeGraph or None): The graph whose labels are saved.
        rows (dict, optional): The number of rows of each table that
            :func:`save_shard` wrote in parts. (default: :obj:`None`)
        world_size (int, optional): The number of processes.
            (default: :obj:`1`)
    """
    described, state = _describe(model)
    write_labels(place, model if data is None else data)
    if rows is not None:
        shards = [_shard(k, world_size) for k in range(world_size)]
        write_json(place / INDEX, {'weight_map': {
            name: shards if name in rows else shards[:1]
            for name in sorted(state)}, 'rows': rows})
    write_json(place / 'config.json', {'version': VERSION, **described})
    # A manifest marks a complete folder, so it is removed first and written
    # last.
    unseal(folder)
    names = {path.name for path in place.iterdir()}
    for path in folder.iterdir():
        if path.name not in names and (path.name in FILES
                                       or SHARD.fullmatch(path.name)):
            path.unlink()
    for name in names:
        os.replace(place / name, folder / name)
    seal(folder, (*names, 'graph.json'))


def _load(folder: Union[str, Path], known: dict[str, Any]) -> Any:
    folder = as_path(folder)
    if not (folder / 'config.json').is_file():
        hint = (f" The model of this run is in '{folder / 'model'}'."
                if (folder / 'model' / 'config.json').is_file() else '')
        raise CheckpointError(f"Expected 'config.json' in '{folder}', as "
                              'save_pretrained writes it (got none).'
                              f'{hint}')
    sealed = SealedFolder(folder)
    saved = sealed.read_json('config.json', CONFIG_SCHEMA)
    if saved.get('version', 1) > VERSION:
        raise CheckpointError(f'Expected a model of version {VERSION} or '
                              f"earlier in '{folder}' (got version "
                              f"{saved['version']})")
    if saved.get('version', 1) > 1 and sealed.sha256 is None:
        raise CheckpointError(f"Expected 'manifest.json' in '{folder}', "
                              'which is written last (got none). '
                              f'{sealed.advice}')
    sealed.warn_if_unsealed(stacklevel=3)
    _class_of(saved, known, folder)  # Before the weights are read.
    labels = read_labels(sealed)
    state = _read_shards(sealed) if sealed.has(INDEX) else _read_state(sealed)
    return _restore(saved, known, state, labels, folder).eval()


def _read_state(sealed: SealedFolder) -> dict[str, Tensor]:
    if not sealed.has('model.safetensors'):
        raise CheckpointError("Expected 'model.safetensors' in "
                              f"'{sealed.folder}' (got none)")
    return load_tensors(sealed.folder / 'model.safetensors',
                        sealed.expected('model.safetensors'))[0]


def _read_shards(sealed: SealedFolder) -> dict[str, Tensor]:
    r"""Returns the tensors of the files that several processes wrote. Only
    one of the files is in memory next to them.
    """
    index = sealed.read_json(INDEX, INDEX_SCHEMA)
    state: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    files = {file: None for some in index['weight_map'].values()
             for file in some}
    for file in files:  # A name may lead to another folder.
        if SHARD.fullmatch(file) is None:
            raise FormatError("Expected names like 'model-00001-of-00002"
                              f".safetensors' in '{sealed.folder / INDEX}' "
                              f'(got {file!r:.80})')
    # All rows of all tables are in the files.
    left = sum((sealed.folder / file).stat().st_size for file in files
               if sealed.has(file))
    for file in files:
        tensors, _ = load_tensors(sealed.folder / file, sealed.expected(file))
        for name in [x for x in tensors if not x.startswith('ids of ')]:
            rows, ids = tensors.pop(name), tensors.get(f'ids of {name}')
            if ids is None:
                state[name] = rows
                continue
            count = index['rows'].get(name, 0)
            needed = count * rows[:1].nbytes if rows.dim() > 0 else 0
            if name not in state and 0 < needed <= left:
                left -= needed
                state[name] = rows.new_empty(count, *rows.shape[1:])
                seen[name] = torch.zeros(count, dtype=torch.bool)
            if (name not in state or ids.dtype != torch.long
                    or ids.shape != rows.shape[:1]
                    or rows.dtype != state[name].dtype
                    or rows.shape[1:] != state[name].shape[1:]
                    or bool(((ids < 0) | (ids >= count)).any())):
                raise FormatError(f"Expected rows of '{name:.200}' and their "
                                  f"ids in '{sealed.folder / file}' (got "
                                  f'others). {sealed.advice}')
            state[name][ids] = rows
            seen[name][ids] = True
    complete = all(bool(x.all()) for x in seen.values())
    if not complete or not set(index['weight_map']) <= set(state):
        raise FormatError(f"Expected all tensors of '{INDEX}' in "
                          f"'{sealed.folder}' (got others)")
    return state


def _class_of(saved: dict[str, Any], known: dict[str, Any],
              folder: Path) -> Any:
    name = saved['class']
    if name not in known:
        raise CheckpointError(f"Expected one of {sorted(known)} in "
                              f"'{folder}' (got {name!r:.80}). Import a "
                              'class of your own before loading it.')
    return known[name]


def _restore(saved: dict[str, Any], known: dict[str, Any],
             state: dict[str, Tensor], labels: tuple[Names, Names, Names],
             folder: Path) -> Any:
    r"""Builds a model with its members, weights and labels."""
    cls = _class_of(saved, known, folder)
    if 'members' in saved:
        every = {c.__name__: c for c in _subclasses(Pretrained)}
        members = []
        own: dict[str, dict[str, Tensor]] = {}
        for key in [key for key in state if MEMBER.match(key)]:
            _, number, name = key.split('.', 2)
            own.setdefault(number, {})[name] = state.pop(key)
        for i, part in enumerate(saved['members']):
            member = _restore(part, {**every, **_pyg_models()},
                              own.pop(str(i), {}), labels, folder)
            members.append(member)
            state |= {f'members.{i}.{key}': x for key, x
                      in member.state_dict().items()}
        for number, rest in own.items():  # The model will reject these.
            state |= {f'members.{number}.{key}': x for key, x in rest.items()}
        saved = {**saved, 'arguments': {**saved['arguments'],
                                        'members': members}}
    model = _build(cls, saved, state, folder)
    _check_labels(model, labels, folder)
    if isinstance(model, Pretrained):
        model.set_labels(*labels)
        model.feature_encoders = saved.get('feature_encoders')
    else:  # A model of PyG.
        model.node_names, model.relation_names, model.node_ids = labels
    return model


def _build(cls: type[T], saved: dict[str, Any], state: dict[str, Tensor],
           folder: Path) -> T:
    r"""Builds a model with its weights, and drops features that it does not
    use.
    """
    arguments = dict(saved['arguments'])
    for kind, part in (('modalities', 'x'), ('masks', 'mask')):
        if saved['modalities']:
            arguments[kind] = {m: _tensor(state, f'encoders.{m}.{part}',
                                          folder)
                               for m in saved['modalities']}
    for m, width in saved['modalities'].items():
        # For several rows per node, the file holds their number instead.
        x, mask = arguments['modalities'][m], arguments['masks'][m]
        if list(x.shape[1:2]) != [width] or x.numel() == 0:
            raise _no_fit(folder, f'{m!r:.80} has shape {list(x.shape)} for '
                          f'{width} channels')
        if mask.shape != x.shape[:-1]:
            raise _no_fit(folder, f'the mask of {m!r:.80} has shape '
                          f'{list(mask.shape)}')

    # The shapes of this library's and PyG's models are checked against the
    # file before memory is allocated. Other classes may need real values in
    # between.
    ours = cls.__module__.partition('.')[0] in (
        __name__.partition('.')[0], 'torch_geometric')
    for device in ('meta', 'cpu') if ours else ('cpu', ):
        model = cls.__new__(cls)
        if device == 'meta':  # Parameters have shapes, but no values.
            model.__dict__['reset_parameters'] = lambda: None
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]):
                cls.__init__(model, **arguments)
                if 'modules' in saved:
                    model.replace_modules(saved['modules'], state)
        except MMKGCError:
            raise
        except Exception as error:  # Constructors can raise any error.
            raise _no_fit(folder, f'{type(error).__name__}: '
                          f'{error!s:.500}') from error
        # Assigning instead of copying keeps double precision.
        load_weights(model, state, folder, assign=True)
        if device == 'meta':
            del model.__dict__['reset_parameters']
            if not any(_lacks_values(x) for module in model.modules()
                       for x in vars(module).values()):
                break  # All tensors came from the file.
    return model


def _lacks_values(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_meta
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, (list, tuple, set)) and any(
        _lacks_values(x) for x in value)


def _tensor(state: dict[str, Tensor], name: str, folder: Path) -> Tensor:
    if name not in state:
        raise _no_fit(folder, f"there is no tensor '{name:.200}'")
    return state[name]


def _check_labels(model: Any, labels: Sequence[Optional[list[str]]],
                  folder: Path) -> None:
    for kind, names in zip(('nodes', 'relations'), labels[:2], strict=True):
        size = getattr(model, f'num_{kind}', None)
        if names is not None and size is not None and len(names) > size:
            raise CheckpointError(f'Expected at most {size} {kind} in '
                                  f"'{folder / 'labels.json'}' (got "
                                  f'{len(names)})')


def _subclasses(cls: type[T]) -> list[type[T]]:
    return [c for child in cls.__subclasses__()
            for c in (child, *_subclasses(child))]
