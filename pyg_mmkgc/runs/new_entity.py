r"""Entities that are added after training, from their raw texts and images."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc.config.build import find_device
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation.score import graph_of
from pyg_mmkgc.features import Item, extract, make_encoder
from pyg_mmkgc.features.plan import as_json
from pyg_mmkgc.io.reading import user_path


def add_entity(model: Any, graph: KnowledgeGraph | None, name: str,
               texts: Sequence[str] = (), images: Sequence[str] = (),
               encoders: Sequence[str] = (),
               device: str | None = None) -> KnowledgeGraph:
    r"""Returns a graph with one more entity, whose features are computed by
    the encoders that computed the features of the graph.

    Args:
        model (Pretrained): The model, which knows the encoders.
        graph (KnowledgeGraph or None): The graph. If set to :obj:`None`, the
            labels and features of the model are used.
        name (str): The label of the entity.
        texts (list[str], optional): Its texts, each as :obj:`TEXT` or
            :obj:`MODALITY=TEXT`. (default: :obj:`()`)
        images (list[str], optional): The files of its images, each as
            :obj:`FILE` or :obj:`MODALITY=FILE`. (default: :obj:`()`)
        encoders (list[str], optional): The names of encoders that replace the
            stored names, each as :obj:`MODALITY=NAME`, for example if an
            encoder is in another folder. They have to be the same encoders.
            (default: :obj:`()`)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`, a GPU if there is one)

    Raises:
        ConfigError: If the modality or the encoder of an input is unknown or
            ambiguous, or if an encoder differs from the encoder of the graph.
        DataError: If an input is unusable.
    """
    if not texts and not images:
        raise ConfigError('Expected a text or an image of the new entity '
                          f'{name!r} (got none)')
    about: dict[str, Any] = getattr(model, 'feature_encoders', None) or (
        graph.get('feature_encoders') if graph is not None else None) or {}
    modalities = list(getattr(model, 'modalities', []))
    named = dict(_split(value, modalities) for value in encoders)
    if None in named:
        raise ConfigError('Expected an encoder as MODALITY=NAME with one of '
                          f'the modalities {modalities} (got '
                          f'{named[None]!r})')
    contents: dict[str, list[Item]] = {}
    for kind, values in (('text', texts), ('image', images)):
        for i, value in enumerate(values):
            modality, content = _split(value, modalities)
            modality = modality or _only(kind, modalities, about)
            contents.setdefault(modality, []).append(Item(
                name, user_path(content) if kind == 'image' else content,
                f'{kind} {i + 1}'))
    features = {modality: {name: _encode(
        modality, items, about.get(modality, {}), named.get(modality),
        device)} for modality, items in contents.items()}
    return _known(model, graph).add_nodes(name, features)


def _split(value: str, modalities: list[str]) -> tuple[str | None, str]:
    modality, equals, rest = value.partition('=')
    return (modality, rest) if equals and modality in modalities else (None,
                                                                       value)


def _only(kind: str, modalities: list[str], about: dict[str, Any]) -> str:
    fit = [name for name in modalities
           if about.get(name, {}).get('kind') == kind]
    if len(fit) != 1:
        known = {name: about[name]['kind'] for name in modalities
                 if 'kind' in about.get(name, {})}
        raise ConfigError(
            f'Expected exactly one modality of {kind}s (got {len(fit)} among '
            f'{modalities}, with the known kinds {known}). Write '
            f'MODALITY={kind.upper()} to name the modality.')
    return fit[0]


def _encode(modality: str, items: list[Item], about: dict[str, Any],
            given: str | None, device: str | None) -> Any:
    name = given or about.get('name')
    if name is None:
        raise ConfigError(f"Expected the encoder of modality '{modality}' to "
                          'be stored with the model (got none, since its '
                          "features do not come from 'mmkgc features'). Name "
                          f'it by --encoder {modality}=NAME.')
    revision = about.get('revision')
    encoder = make_encoder(
        name, revision if isinstance(revision, str) and given is None else
        None, find_device(device, '--device'))
    made = as_json(encoder.describe())
    for key in ('weights_sha256', 'revision', 'num_channels',
                'preprocessing'):
        # A folder has no revision, but its weights have a hash.
        if key == 'revision' and 'weights_sha256' in about:
            continue
        if key in about and made.get(key) != about[key]:
            raise ConfigError(
                f"Expected the encoder of modality '{modality}' of the "
                f"training, with {key} {about[key]!s:.80} (got "
                f'{made.get(key)!s:.80} of {name!r})')
    with tempfile.TemporaryDirectory() as folder:
        out = extract(items, encoder, pathlib.Path(folder), num_workers=0,
                      progress=False)
        unusable = out.manifest['entities'][items[0].entity]['unusable']
        if unusable:
            raise DataError(f'Expected usable texts and images (got '
                            f"{unusable[0]['key']}: "
                            f"{unusable[0]['reason']})")
        return out.x[0].clone()


def _known(model: Any, graph: KnowledgeGraph | None) -> KnowledgeGraph:
    if graph is not None:
        return graph
    out = graph_of(model)
    for modality, encoder in getattr(model, 'encoders', {}).items():
        out[f'x_{modality}'] = encoder.x.detach().cpu()
        out[f'mask_{modality}'] = encoder.mask.cpu()
    return out
