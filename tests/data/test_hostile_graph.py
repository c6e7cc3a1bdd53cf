"""Hostile graph files with a valid hash, and the printing of their text."""

import json
import re

import pytest
import safetensors.torch
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import (
    DataError,
    FormatError,
    MMKGCError,
    printable,
)
from pyg_mmkgc.evaluation import predict
from pyg_mmkgc.io.openke import read_triples
from pyg_mmkgc.io.tensors import digest, load_tensors, save_tensors
from pyg_mmkgc.nn import TransE

EDGES = {'edge_index': torch.tensor([[0, 1], [1, 2]]),
         'edge_type': torch.tensor([0, 1])}


def graph(**kwargs):
    return KnowledgeGraph(**EDGES, num_nodes=3, node_names=['a', 'b', 'c'],
                          x_visual=torch.ones(3, 2), **kwargs)


@pytest.mark.parametrize('text', [
    '[' * 100_000, '[]', '"x"', 'null', 'x', '', '{', '{"a": NaN}',
    '{"a": 1e999}', '{"format": 1, "format": 2}', '{"format": "x"}',
    '{"format": "pyg_mmkgc.KnowledgeGraph", "version": 1}',
    json.dumps({'format': ['x'] * 100_000}),
])
def test_metadata_that_is_none(text, tmp_path):
    """The first file that safetensors accepts, with a valid hash."""
    path = tmp_path / 'x.safetensors'
    safetensors.torch.save_file(EDGES, path, {
        'format': 'pt', 'metadata': text, 'sha256': digest(EDGES, text)})
    with pytest.raises(FormatError, match=r'x\.safetensors') as info:
        KnowledgeGraph.load(path)
    assert len(str(info.value)) < 1000


def change(path, attributes=None, drop=(), **values):
    tensors, metadata = load_tensors(path)
    metadata['attributes'] |= attributes or {}
    metadata['keys'] = [key for key in metadata['keys'] if key not in drop]
    metadata['keys'] += [key for key in attributes or {}
                         if key not in metadata['keys']]
    save_tensors(path, tensors, {**metadata, **values})


@pytest.mark.parametrize('changes', [
    {'keys': ['none']}, {'keys': 5}, {'keys': [5]},
    {'drop': ['edge_index']}, {'more': 1}, {'version': True},
    {'attributes': {'num_nodes': 'x'}}, {'attributes': {'num_nodes': [3]}},
    {'attributes': {'node_names': 5}}, {'attributes': {'node_names': [5]}},
    {'attributes': {'edge_index': [[0], [1]]}},
    {'attributes': {'x_other': [[0.0]]}}, {'attributes': {'mask_other': 1}},
    {'attributes': {'_store': {}}}, {'attributes': {'__class__': 'x'}},
    {'attributes': {'validate': 1}}, {'attributes': {'to_dict': 'x'}},
    {'attributes': {'x_\x1b[2J': 1}}, {'attributes': {'train_mask': True}},
])
def test_attributes_that_are_none(changes, tmp_path):
    graph().save(tmp_path / 'x')
    change(tmp_path / 'x', **changes)
    with pytest.raises(FormatError, match="x'"):
        KnowledgeGraph.load(tmp_path / 'x')


def test_other_attributes_still_load(tmp_path):
    kg = graph(note='x', table=torch.ones(2), train_mask=torch.ones(
        2).bool(), nested={'a': [1, None]}, selection_refused='why')
    kg.save(tmp_path / 'x')
    loaded = KnowledgeGraph.load(tmp_path / 'x')
    assert set(loaded.keys()) == set(kg.keys())
    assert loaded.nested == kg.nested


def test_a_line_of_tabs(tmp_path, in_a_fork):
    """Memory is limited to five times the size, not forty times."""
    line = b'a\tb\tc' + b'\t' * (50 << 20)
    (tmp_path / 'x.tsv').write_bytes(line + b'\n')
    message = in_a_fork(limited, KnowledgeGraph.from_tsv, tmp_path / 'x.tsv')
    assert 'got 52428803 columns' in message


def test_a_line_of_ids(tmp_path, in_a_fork):
    line = b'1\n0 0 0' + b' 0' * (25 << 20)
    (tmp_path / 'x').write_bytes(line + b'\n')
    message = in_a_fork(limited, lambda path: read_triples(path, 5, 5),
                        tmp_path / 'x')
    assert "Expected 'head tail relation' in " in message
    assert 'row 2 (got' in message


def limited(read, path, pipe):
    import resource
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), ) * 2)
    try:
        read(path)
    except DataError as error:
        pipe.send(str(error))
    except BaseException as error:
        pipe.send(f'{type(error).__name__} instead: {error}')


# Clears the screen, hides or reverses the following text, ends the line.
EVIL = 'x\x1b[2J\x1b[8m\x9b0m\u202e\x07\r\ny'
ACTS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]')


def test_labels_are_printed_as_text():
    kg = KnowledgeGraph(**EDGES, num_nodes=3, node_names=[EVIL, 'b', 'c'],
                        relation_names=['r', EVIL + 's'])
    model = TransE.from_data(kg, 4)
    text = str(predict(model, kg, head=0, rel_type=1, k=3, self_loops=True))
    assert not ACTS.search(text)
    assert len(text.split('\n')) == 4  # No label ends a line.
    assert r'\x1b[2J' in text and r'\u202e' in text


@pytest.mark.parametrize('read', [
    KnowledgeGraph.from_tsv, KnowledgeGraph.load])
def test_errors_are_printed_as_text(read, tmp_path):
    folder = tmp_path / 'a\x1b[2J\u202eb'
    folder.mkdir()
    (folder / 'x').write_text('no \x1b[2J triples\n')
    with pytest.raises(MMKGCError) as info:
        read(folder / 'x')
    assert r'a\x1b[2J\u202eb' in str(info.value)
    assert not ACTS.search(str(info.value))


def test_printable():
    assert printable('ä €\u4e2d 😀') == 'ä €\u4e2d 😀'
    assert printable('a\tb\n') == r'a\x09b\x0a'
    assert printable('a\tb\n\x1b', lines=True) == 'a\tb\n\\x1b'
    assert printable('\ud800') == r'\ud800'
