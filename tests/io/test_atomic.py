import itertools
import json
import multiprocessing
import os
import resource
import signal

import pytest

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import (
    atomic_path,
    read_json,
    sweep,
    temporary_folder,
    write_atomic,
    write_json,
)


def write_forever(path, pipe):
    for i in itertools.count():
        write_atomic(path, bytes([i % 256]) * (1 << 20))
        pipe.send(i)


def test_write_atomic(tmp_path):
    path = tmp_path / 'new' / 'a b ü.txt'
    write_atomic(path, 'Grüße\n')
    assert path.read_bytes() == 'Grüße\n'.encode()
    write_atomic(path, b'\0\1')
    assert path.read_bytes() == b'\0\1'
    assert os.listdir(path.parent) == ['a b ü.txt']


@pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    old = os.umask(umask)
    try:
        write_atomic(tmp_path / 'x', 'content')
    finally:
        os.umask(old)
    assert (tmp_path / 'x').stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_exception_keeps_the_old_file(tmp_path):
    path = tmp_path / 'x'
    write_atomic(path, 'old')
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temp:
        temp.write_text('half')
        assert path.read_text() == 'old'
        raise KeyboardInterrupt
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['x']


def write_on_a_full_disk(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_atomic(path, bytes(5000))
    except OSError as error:
        os._exit(42 if str(path) in str(error) else 43)


def test_a_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / 'x'
    write_atomic(path, 'old')
    process = multiprocessing.get_context('fork').Process(
        target=write_on_a_full_disk, args=(path, ))
    process.start()
    process.join()
    assert process.exitcode == 42
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['x']


def test_stale_files_are_removed_and_live_ones_are_not(tmp_path):
    path = tmp_path / 'x'
    stale = tmp_path / '.x.0123abcd.tmp'
    stale.write_text('half')
    foreign = tmp_path / '.y.0123abcd.tmp'
    foreign.write_text('of another file')
    with atomic_path(path) as temp:
        temp.write_text('outer')
        write_atomic(path, 'inner')  # Sweeps during the outer write.
        assert temp.read_text() == 'outer'
    assert path.read_text() == 'outer'
    assert sorted(os.listdir(tmp_path)) == ['.y.0123abcd.tmp', 'x']


def test_a_temporary_folder(tmp_path):
    """A temporary folder is kept only while its process is alive."""
    stale = tmp_path / '.x.0123abcd.tmp'
    stale.mkdir()
    (stale / 'half').write_text('')
    with temporary_folder(tmp_path / 'x') as temp:
        assert not stale.exists()
        (temp / 'file').write_text('content')
        sweep(tmp_path)
        with temporary_folder(tmp_path / 'x'):
            assert (temp / 'file').read_text() == 'content'
        temp.rename(tmp_path / 'x')
    assert os.listdir(tmp_path) == ['x']
    with pytest.raises(KeyboardInterrupt), temporary_folder(tmp_path / 'y'):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ['x']


def test_only_temporary_files_are_swept(tmp_path):
    target = tmp_path / 'target'
    target.write_text('content')
    names = ['.x.0123abcd.tm', '.x.0123abcg.tmp', 'x.0123abcd.tmp', '.tmp',
             '.0123abcd.tmp', '.x.0123abc.tmp', '.lock']
    for name in names:
        (tmp_path / name).write_text('')
    (tmp_path / '.x.0123abcd.tmp').symlink_to(target)  # Not ours.
    (tmp_path / '.a b.0123abcd.tmp').write_text('')
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(
        [*names, '.x.0123abcd.tmp', 'target'])


def test_a_killed_writer_leaves_a_complete_file(tmp_path, kill_writer):
    path = tmp_path / 'x'
    for seed in range(20):
        kill_writer(write_forever, path, seed)
        content = path.read_bytes()
        assert len(content) == 1 << 20
        assert len(set(content)) == 1
    write_atomic(path, 'next')
    assert os.listdir(tmp_path) == ['x']


def test_json(tmp_path):
    path = tmp_path / 'x.json'
    obj = {'ü': [1, 2.5, None, True], 'nested': {'a': 'b'}}
    write_json(path, obj)
    assert read_json(path) == obj
    assert 'ü' in path.read_text(encoding='utf-8')


@pytest.mark.parametrize('obj', [float('nan'), {'x': {1, 2}}, object()])
def test_json_refuses_what_json_has_not(tmp_path, obj):
    with pytest.raises(DataError, match='x.json'):
        write_json(tmp_path / 'x.json', obj)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('content', [
    b'',
    b'{"a": 1',
    b'{"a": NaN}',
    b'\xff\xfe',
    b'[' * 100_000,
    json.dumps({'a': 1}).encode('utf-16'),
])
def test_json_from_a_broken_file(tmp_path, content):
    path = tmp_path / 'x.json'
    path.write_bytes(content)
    with pytest.raises(FormatError, match='x.json'):
        read_json(path)
