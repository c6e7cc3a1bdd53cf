import os
from pathlib import Path

import pytest

from pyg_mmkgc.features import Item, reading
from pyg_mmkgc.features.reading import content_digest, read_item

from .tiny import draw


def test_text() -> None:
    item = Item('a', 'Grüße', 'row 1')
    sample = read_item(item, 'text')
    assert (sample.value, sample.reason) == ('Grüße', '')
    assert sample.digest == content_digest(item) != ''


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_bytes('\ufeffGrüße'.encode())
    sample = read_item(Item('a', path, 'a.txt'), 'text')
    assert (sample.value, sample.reason) == ('Grüße', '')
    # The same bytes have the same digest in any place.
    assert sample.digest == content_digest(Item('b', '\ufeffGrüße', ''))


def test_image(tmp_path: Path) -> None:
    pytest.importorskip('PIL')
    draw(tmp_path, {'a': 1})
    item = Item('a', tmp_path / 'a/0.png', 'a/0.png')
    sample = read_item(item, 'image')
    assert sample.value.mode == 'RGB'
    assert sample.digest == content_digest(item) != ''


@pytest.mark.parametrize('content, reason', [
    ('caf\udce9', 'Expected text in UTF-8 (got invalid bytes)'),
    (' \n', 'Expected a text that is not blank (got a blank text)'),
    ('', 'Expected a text that is not blank (got a blank text)'),
])
def test_bad_text(content: str, reason: str) -> None:
    item = Item('a', content, 'row 1')
    sample = read_item(item, 'text')
    assert (sample.value, sample.reason) == (None, reason)
    assert sample.digest == content_digest(item)


def test_bad_files(tmp_path: Path) -> None:
    for name, content in [('latin', b'caf\xe9'), ('empty', b'')]:
        (tmp_path / name).write_bytes(content)
    reasons = {
        'latin': "Expected text in UTF-8 (got an error: 'utf-8' codec can't "
                 'decode byte 0xe9',
        'empty': 'Expected a file with content (got an empty file)',
        'gone': 'FileNotFoundError: No such file or directory',
        '.': 'Expected a regular file (got another kind of file)',
    }
    for name, reason in reasons.items():
        item = Item('a', tmp_path / name, name)
        sample = read_item(item, 'text')
        assert sample.reason.startswith(reason)
        assert sample.digest == content_digest(item)


def test_file_that_cannot_be_read() -> None:
    path = Path('/proc/self/mem')  # Reading its start fails even for root.
    if not path.exists():
        pytest.skip('no such file on this system')
    item = Item('a', path, 'mem')
    assert read_item(item, 'image').reason.startswith('OSError')
    assert content_digest(item) == ''


def test_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    item = Item('a', tmp_path / 'pipe', 'pipe')
    assert read_item(item, 'image').reason == (
        'Expected a regular file (got another kind of file)')


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, 'MAX_BYTES', 10)
    assert read_item(Item('a', 'x' * 10, ''), 'text').reason == ''
    sample = read_item(Item('a', 'x' * 11, ''), 'text')
    assert sample.reason == 'Expected at most 10 bytes (got more)'


def test_known_problem_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / 'a'
    path.write_text('text')
    item = Item('a', path, 'a', 'a link')
    assert read_item(item, 'text') == (None, '', 'a link')
    assert content_digest(item) == ''


def test_reason_is_one_short_line() -> None:
    text = reading.reason(ValueError('two\nlines ' + 'x' * 1000))
    assert text.startswith('ValueError: two lines xxx')
    assert len(text) < 250
