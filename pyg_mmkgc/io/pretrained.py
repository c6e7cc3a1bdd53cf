from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

import torch
from torch import Tensor
from torch_geometric.nn import kge as pyg_kge

from pyg_mmkgc.errors import CheckpointError, MMKGCError, ModelError
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.io.atomic import write_json
from pyg_mmkgc.io.manifest import SealedFolder, seal
from pyg_mmkgc.io.reading import as_path
from pyg_mmkgc.io.tensors import Rows, load_tensors, save_tensors

T = TypeVar('T', bound='Pretrained')
TENSORS = ('modalities', 'masks')
# The files of a saved model. Only a run has a `graph.json`.
FILES = ('config.json', 'graph.json', 'labels.json', 'model.safetensors')
VERSION = 2
MEMBER_SCHEMA = {'class': str, 'arguments': {str: object},
                 'modalities': {str: int}, 'modules?': {str: object},
                 'feature_encoders?': {str: {str: object}}}
CONFIG_SCHEMA = {'version?': int, **MEMBER_SCHEMA,
                 'members?': [MEMBER_SCHEMA]}
NAMES_SCHEMA = (None, [str])
LABELS_SCHEMA = {'nodes?': NAMES_SCHEMA, 'relations?': NAMES_SCHEMA,
                 'node_ids?': NAMES_SCHEMA}
Names = Optional[list[str]]


def read_labels(folder: Union[str, Path, SealedFolder],
                ) -> tuple[Names, Names, Names]:
    r"""Returns the names of nodes and relations and the identifiers of nodes
    in the folder of a model. Each is :obj:`None` if the folder lacks it.
    """
    if not isinstance(folder, SealedFolder):
        folder = SealedFolder(folder)
    if not folder.has('labels.json'):
        return None, None, None
    labels = folder.read_json('labels.json', LABELS_SCHEMA)
    return (labels.get('nodes'), labels.get('relations'),
            labels.get('node_ids'))


def write_labels(folder: Path, source: Any) -> None:
    r"""Writes the names of nodes and relations, and the identifiers of nodes
    if there are any, of a graph or a model.
    """
    ids = getattr(source, 'node_ids', None)
    write_json(folder / 'labels.json', {
        'nodes': getattr(source, 'node_names', None),
        'relations': getattr(source, 'relation_names', None),
        **({} if ids is None else {'node_ids': ids})})


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
               data: Optional[Any] = None,
               rows: Optional[dict[str, Rows]] = None) -> None:
    r"""Writes a model to a folder, as :func:`save_pretrained` does.

    Args:
        model (torch.nn.Module): The model.
        folder (str or pathlib.Path): The folder, created if missing.
        data (KnowledgeGraph, optional): The graph whose labels are saved.
            (default: :obj:`None`, the labels of the model)
        rows (dict, optional): The rows of tables that replace tensors of the
            model, by name. (default: :obj:`None`)
    """
    described, state = _describe(model)  # It may raise, so it comes first.
    tensors: dict[str, Union[Tensor, Rows]] = {**state, **(rows or {})}
    if any(hasattr(x, 'to_local') for x in tensors.values()):
        raise ModelError(
            f"Expected a model with all rows of its tables (got "
            f"'{type(model).__name__}', whose rows are distributed over "
            'processes). Call pyg_mmkgc.distributed.save_over_ranks in all '
            'processes.')
    folder = as_path(folder)
    labels = model if data is None else data
    check_numbering(model, labels)
    # Removes the files of an earlier model, which do not fit this model.
    for file in ('manifest.json', 'config.json', 'labels.json'):
        (folder / file).unlink(missing_ok=True)
    save_tensors(folder / 'model.safetensors', tensors, {})
    write_labels(folder, labels)
    write_json(folder / 'config.json', {'version': VERSION, **described})
    # A manifest marks a complete folder, so it is written last.
    seal(folder, FILES)


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
    if not sealed.has('model.safetensors'):
        raise CheckpointError(f"Expected 'model.safetensors' in "
                              f"'{folder}' (got none)")
    labels = read_labels(sealed)
    state, _ = load_tensors(
        folder / 'model.safetensors',
        sealed.expected('model.safetensors'))
    return _restore(saved, known, state, labels, folder).eval()


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
        for i, part in enumerate(saved['members']):
            prefix = f'members.{i}.'
            own = {key.removeprefix(prefix): state.pop(key)
                   for key in list(state) if key.startswith(prefix)}
            member = _restore(part, {**every, **_pyg_models()}, own, labels,
                              folder)
            members.append(member)
            state |= {prefix + key: x for key, x
                      in member.state_dict().items()}
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
        if list(arguments['modalities'][m].shape[1:2]) != [width]:
            raise _no_fit(folder, f'{m!r:.80} does not have {width} channels')

    # The shapes of this library's models are checked against the file before
    # memory is allocated. Other classes may need real values in between.
    ours = cls.__module__.partition('.')[0] == __name__.partition('.')[0]
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
        names = model.state_dict()
        for m in saved['modalities']:
            if f'encoders.{m}.x' not in names:
                state.pop(f'encoders.{m}.x', None)
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
