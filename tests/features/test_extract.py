import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data.alignment import align_features
from pyg_mmkgc.errors import DataError, MMKGCError
from pyg_mmkgc.features import (
    FeatureFolder,
    Item,
    extract,
    load_feature_folder,
    read_folder,
)
from pyg_mmkgc.features.reading import read_item

from .tiny import CharacterEncoder, ConvEncoder, draw, texts

COUNTS = {'c': 3, 'a': 1, 'd': 7, 'b': 2}
LABELS = ['x', 'd', 'c', 'a', 'y', 'b']


def run(items: list[Item], folder: Path, encoder: Any = None,
        **kwargs: Any) -> FeatureFolder:
    encoder = encoder or ConvEncoder()
    kwargs = {'num_workers': 0, 'progress': False, **kwargs}
    return extract(items, encoder, folder, **kwargs)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def images(tmp_path: Path) -> list[Item]:
    pytest.importorskip('PIL')
    draw(tmp_path / 'images', COUNTS)
    return read_folder(tmp_path / 'images')


def one_by_one(items: list[Item]) -> dict[str, list[Tensor]]:
    """Returns the vectors of each entity, encoded one by one."""
    encoder, out = ConvEncoder(), {}
    for item in items:
        x = encoder.prepare(read_item(item, 'image').value)
        out.setdefault(item.entity, []).append(encoder.encode(x[None])[0])
    return out


@pytest.mark.parametrize('dtype, tolerance', [
    (torch.float, 1e-5), (torch.half, 1e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_mean_over_the_images_of_an_entity(
        images: list[Item], tmp_path: Path, dtype: torch.dtype,
        tolerance: float, num_workers: int) -> None:
    features = run(images, tmp_path / 'out', labels=LABELS, dtype=dtype,
                   batch_size=4, num_workers=num_workers)
    assert features.labels == ['d', 'c', 'a', 'b']
    assert features.ptr is None and features.x.dtype == dtype
    vectors = one_by_one(images)
    expected = torch.stack([torch.stack(vectors[label]).mean(0)
                            for label in features.labels])
    torch.testing.assert_close(features.x.float(), expected, rtol=tolerance,
                               atol=tolerance)
    manifest = features.manifest
    assert manifest['without'] == ['x', 'y']
    assert manifest['unknown'] == []
    assert manifest['entities']['d'] == {'used': 7, 'unusable': []}
    assert (manifest['num_items'], manifest['num_used']) == (13, 13)
    assert sorted(files(tmp_path / 'out')) == [
        'features.safetensors', 'labels.txt', 'manifest.json']


def test_all_vectors(images: list[Item], tmp_path: Path) -> None:
    features = run(images, tmp_path / 'out', labels=LABELS, pool='all',
                   batch_size=4)
    assert features.labels == ['d', 'c', 'a', 'b']
    assert features.ptr is not None
    assert features.ptr.tolist() == [0, 7, 10, 11, 13]
    vectors = one_by_one(images)
    expected = torch.stack([x for label in features.labels
                            for x in vectors[label]])
    torch.testing.assert_close(features.x, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('pool', ['mean', 'all'])
def test_blocks_are_no_matter(images: list[Item], tmp_path: Path, pool: str,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(images, tmp_path / 'out', pool=pool)
    module = sys.modules['pyg_mmkgc.features.extract']
    for block in (1, 12, 18, 30):
        monkeypatch.setattr(module, 'BLOCK', block)
        found = run(images, tmp_path / f'{block}', pool=pool)
        assert files(tmp_path / f'{block}') == files(tmp_path / 'out')
        assert torch.equal(found.x, expected.x)


def test_order_and_batch_size_are_no_matter(images: list[Item],
                                            tmp_path: Path) -> None:
    expected = run(images, tmp_path / 'out')
    shuffled = random.sample(images, len(images))
    run(shuffled, tmp_path / 'shuffled')
    assert files(tmp_path / 'shuffled') == files(tmp_path / 'out')
    for batch_size in (1, 2, 5, 13, 100):
        found = run(images, tmp_path / f'{batch_size}', batch_size=batch_size)
        assert found.labels == expected.labels
        torch.testing.assert_close(found.x, expected.x, rtol=0, atol=1e-5)


def test_goes_straight_into_a_graph(images: list[Item],
                                    tmp_path: Path) -> None:
    features = run(images, tmp_path / 'out', labels=LABELS)
    x, mask = align_features('visual',
                             str(tmp_path / 'out' / 'features.safetensors'),
                             LABELS)
    assert mask.tolist() == [False, True, True, True, False, True]
    assert torch.equal(mask, features.mask(LABELS))
    assert torch.equal(x[mask], features.x)


def test_a_function_is_an_encoder(images: list[Item], tmp_path: Path) -> None:
    features = extract(
        images, lambda batch: torch.tensor([[float(image.width), image.height]
                                            for image in batch]),
        tmp_path / 'out', pool='all', num_workers=1, progress=False)
    sizes = [read_item(item, 'image').value.size for item in images]
    assert features.x.tolist() == [list(map(float, size)) for size in sizes]


def test_unusable_items_are_left_out(tmp_path: Path) -> None:
    items = texts(('a', 'aab'), ('b', ' '), ('a', '\udcff'), ('c', 'c'),
                  ('no', 'a'), ('a', 'b' * 1_000_000))
    items.append(Item('c', tmp_path / 'gone', 'gone'))
    features = run(items, tmp_path / 'out', CharacterEncoder(),
                   labels=['a', 'b', 'c'], batch_size=2)
    assert features.labels == ['a', 'c']
    assert features.x.tolist() == [[1, 500_000.5, 0], [0, 0, 1]]
    manifest = features.manifest
    assert manifest['entities'] == {
        'a': {'used': 2, 'unusable': [
            {'key': 'row 3', 'reason': 'Expected text in UTF-8 '
                                       '(got invalid bytes)'}]},
        'b': {'used': 0, 'unusable': [
            {'key': 'row 2', 'reason': 'Expected a text that is not blank '
                                       '(got a blank text)'}]},
        'c': {'used': 1, 'unusable': [
            {'key': 'gone', 'reason': 'FileNotFoundError: No such file or '
             'directory'}]},
    }
    assert manifest['without'] == ['b']
    assert manifest['unknown'] == ['no']
    assert (manifest['num_items'], manifest['num_used']) == (6, 3)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    items = texts(('a', 'a' * 70_000), ('a', 'b'), ('b', 'c'))
    features = run(items, tmp_path / 'half', CharacterEncoder(), pool='all',
                   dtype=torch.half)
    assert features.x.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert features.manifest['entities']['a']['unusable'] == [
        {'key': 'row 1', 'reason': 'the encoder returned values that are '
         'not finite in float16'}]
    with pytest.raises(DataError, match='finite means in float16'):
        run(texts(('a', 'a' * 70_000)), tmp_path / 'mean', CharacterEncoder(),
            dtype=torch.half)


def test_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='one usable item .got 2 .*a blank te'):
        run(texts(('a', ' '), ('b', ' ')), tmp_path / 'out',
            CharacterEncoder())
    assert list((tmp_path / 'out').iterdir()) == []


@pytest.mark.parametrize('kwargs', [
    {'pool': 'max'}, {'dtype': torch.double}, {'batch_size': 0},
    {'num_workers': -1}])
def test_wrong_options(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    (value, ) = kwargs.values()
    with pytest.raises(DataError, match=f'Expected .* .got .*{value}'):
        run(texts(('a', 'a')), tmp_path / 'out', CharacterEncoder(), **kwargs)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['labels.txt', 'features.safetensors',
                                  'source.json'])
def test_files_of_the_user_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('mine')
    (tmp_path / 'notes.txt').write_text('in nobodys way')
    with pytest.raises(DataError, match=f"separate folder.*{name}', which ex"):
        run(texts(('a', 'a')), tmp_path, CharacterEncoder())
    assert files(tmp_path) == {name: b'mine', 'notes.txt': b'in nobodys way'}
    (tmp_path / name).unlink()
    assert run(texts(('a', 'a')), tmp_path, CharacterEncoder()).labels == ['a']


def test_number_of_channels_must_not_change(tmp_path: Path) -> None:
    def function(batch: list[str]) -> Tensor:
        return torch.ones(len(batch), len(batch[0]))

    with pytest.raises(DataError, match='1 channels, as before .got 2'):
        run(texts(('a', 'a'), ('b', 'bb')), tmp_path, function, batch_size=1)


class Stop(Exception):
    pass


class StoppingEncoder(CharacterEncoder):
    """Fails at its n-th batch, and counts the batches."""
    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.count = 0

    def encode(self, batch: list[str]) -> Tensor:
        self.count += 1
        if self.count == self.stop_at:
            raise Stop
        return super().encode(batch)


TEXTS = texts(*[(f'e{i % 5}', 'abc' * i if i % 4 else ' ') for i in range(20)])


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Path]:
    with pytest.raises(Stop):
        run(TEXTS, tmp_path / 'out', StoppingEncoder(4), batch_size=3)
    assert not (tmp_path / 'out' / 'manifest.json').exists()
    yield tmp_path / 'out'


def test_goes_on_where_it_was(stopped: Path, tmp_path: Path) -> None:
    encoder = StoppingEncoder(100)
    run(TEXTS, stopped, encoder, batch_size=3)
    assert encoder.count == 7 - 3
    run(TEXTS, tmp_path / 'at_once', CharacterEncoder(), batch_size=3)
    assert files(stopped) == files(tmp_path / 'at_once')


def test_complete_features_are_returned(tmp_path: Path) -> None:
    first = run(TEXTS, tmp_path, CharacterEncoder())
    before = files(tmp_path)
    encoder = StoppingEncoder(1)
    second = run(TEXTS, tmp_path, encoder)
    assert encoder.count == 0
    assert torch.equal(first.x, second.x)
    assert files(tmp_path) == before


@pytest.mark.parametrize('complete', [False, True])
@pytest.mark.parametrize('change, message', [
    ('encoder', r'encoder.alphabet is "abc" there, "xyz" now'),
    ('batch_size', 'options.batch_size is 3 there, 4 now'),
    ('pool', 'options.pool is "mean" there, "all" now'),
    ('dtype', 'options.dtype is "float32" there, "float16" now'),
    ('labels', 'items_sha256'),
    ('fewer', 'items_sha256'),
    ('content', 'other content|have changed since'),
])
def test_something_else_is_refused(stopped: Path, complete: bool, change: str,
                                   message: str) -> None:
    if complete:
        run(TEXTS, stopped, CharacterEncoder(), batch_size=3)
    before = files(stopped) if complete else files(stopped / '.partial')
    items, encoder = list(TEXTS), CharacterEncoder()
    kwargs: dict[str, Any] = {'batch_size': 3}
    if change == 'encoder':
        encoder = CharacterEncoder('xyz')
    elif change == 'labels':
        kwargs['labels'] = ['new', *sorted({item.entity for item in TEXTS})]
    elif change == 'fewer':
        items.pop()
    elif change == 'content':
        # The position in the order stays, so that nothing else changes.
        items[5] = items[5]._replace(content=items[5].content + ' ')
    else:
        kwargs[change] = {'batch_size': 4, 'pool': 'all',
                          'dtype': torch.half}[change]
    with pytest.raises(DataError, match=message):
        run(items, stopped, encoder, **kwargs)
    after = files(stopped) if complete else files(stopped / '.partial')
    assert before == after


def test_size_that_fitted_is_kept(tmp_path: Path) -> None:
    """Batches encoded in pieces are encoded in pieces after a restart, too."""
    class Small(StoppingEncoder):
        def encode(self, batch: list[str]) -> Tensor:
            sizes.append(len(batch))
            if len(batch) > 2 and self.limited:
                raise torch.OutOfMemoryError
            return super().encode(batch)

    sizes: list[int] = []
    encoder = Small(5)
    encoder.limited = True
    with pytest.raises(Stop):
        run(TEXTS, tmp_path, encoder, batch_size=6)
    assert sizes[0] == 4 and max(sizes[1:]) == 2
    encoder.limited = False
    sizes.clear()
    run(TEXTS, tmp_path, encoder, batch_size=6)
    assert max(sizes) == 2


def test_what_a_kill_leaves_at_the_very_end(tmp_path: Path) -> None:
    """A kill between the manifest and the removal of partial files."""
    run(TEXTS, tmp_path, CharacterEncoder())
    before = files(tmp_path)
    (tmp_path / '.partial').mkdir()
    (tmp_path / '.partial' / 'rows.bin').write_bytes(b'x')
    run(TEXTS, tmp_path, CharacterEncoder())
    assert files(tmp_path) == before


def test_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(TEXTS, tmp_path / 'out', CharacterEncoder(), progress=True)
    assert '20/20' in capsys.readouterr().err
    run(TEXTS, tmp_path / 'quiet', CharacterEncoder())
    assert capsys.readouterr().err == ''


def test_features_are_mapped(tmp_path: Path) -> None:
    """Rows are read from the file on demand, not before."""
    features = run(TEXTS, tmp_path, CharacterEncoder())
    path = tmp_path / 'features.safetensors'
    with open('/proc/self/maps') as file:
        assert any(os.fspath(path) in line for line in file)
    assert torch.equal(load_feature_folder(tmp_path).x, features.x)
    manifest = json.loads((tmp_path / 'manifest.json').read_text())
    assert manifest == features.manifest


class Deadly(CharacterEncoder):
    """Kills the process that prepares the second text."""
    def prepare(self, value: Any) -> Any:
        if value == 'b' and torch.utils.data.get_worker_info() is not None:
            os._exit(9)
        return super().prepare(value)


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    items = texts(('x', 'a'), ('y', 'b'), ('z', 'c'))
    with pytest.raises(MMKGCError, match='was killed.*same call continues'):
        run(items, tmp_path, Deadly(), batch_size=1, num_workers=1)
    assert run(items, tmp_path, Deadly(), batch_size=1).labels == ['x', 'y',
                                                                   'z']


def test_other_runtime_errors_are_left_alone(tmp_path: Path) -> None:
    class Broken(CharacterEncoder):
        def encode(self, batch: Any) -> Tensor:
            raise RuntimeError('shapes do not fit')

    with pytest.raises(RuntimeError, match='^shapes do not fit$'):
        run(texts(('x', 'a')), tmp_path, Broken())
