import errno
import gzip
import io
import itertools
import os
import resource
import signal
import stat
import struct
import tarfile
import zipfile

import pytest

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.archive import extract


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', method) as file:
        for member, content in members:
            file.writestr(member, content)
    return path


def make_tar(path, members, mode='w:gz'):
    with tarfile.open(path, mode) as file:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*')) if path.is_file()
    }


FILES = [('a/x.pth', b'x' * 5000), ('a/b/ü y.txt', b''), ('z', b'zz')]


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(tmp_path, method):
    archive = make_zip(tmp_path / 'x', [('a/', b''), *FILES], method)
    assert extract(archive, tmp_path / 'out') == tmp_path / 'out'
    assert tree(tmp_path / 'out') == dict(FILES)
    assert sorted(os.listdir(tmp_path)) == ['out', 'x']


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:bz2', 'w:xz'])
def test_tar(tmp_path, mode):
    folder = tarfile.TarInfo('./')
    folder.type = tarfile.DIRTYPE
    files = [(f'./{name}', content) for name, content in FILES]
    archive = make_tar(tmp_path / 'x', [(folder, b''), *files], mode)
    extract(archive, tmp_path / 'out')
    assert tree(tmp_path / 'out') == dict(FILES)
    assert sorted(os.listdir(tmp_path)) == ['out', 'x']


def test_a_folder_that_is_there(tmp_path):
    archive = make_zip(tmp_path / 'x', FILES)
    (tmp_path / 'out').mkdir()
    with pytest.raises(FileExistsError, match='out'):
        extract(archive, tmp_path / 'out')


NAMES = [
    '../evil',
    'a/../../evil',
    'a/..',
    '/abs/evil',
    '//evil',
    'C:/evil',
    '..\\evil',
    'a\\..\\..\\evil',
    'a//evil',
    './../evil',
    'line\nbreak',
    'con',
    'a/NUL.txt',
    'dot.',
    'blank ',
    'a/' * 600 + 'deep',
    'l' * 300,
]


def refused(archive, tmp_path, message='', **kwargs):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FormatError, match=f'{archive.name}.*{message}'):
        extract(archive, tmp_path / 'in' / 'out', **kwargs)
    assert os.listdir(tmp_path / 'in') == []
    assert sorted(os.listdir(tmp_path)) == sorted({*before, 'in'})


@pytest.mark.parametrize('name', NAMES)
def test_names_that_lead_elsewhere(tmp_path, name):
    members = [('good', b'x'), (name, b'evil')]
    refused(make_zip(tmp_path / 'x.zip', members), tmp_path)
    refused(make_tar(tmp_path / 'x.tar', members), tmp_path)


@pytest.mark.parametrize('names', [('a', 'a'), ('a/b', 'A/B'), ('a', 'a/')])
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_names_that_come_twice(tmp_path, names):
    members = [(name, b'') for name in names]
    refused(make_zip(tmp_path / 'x.zip', members), tmp_path, 'twice')


def test_a_file_that_is_also_a_folder(tmp_path):
    for members in [[('a', b'x'), ('A/b', b'y')], [('a/b', b'y'), ('a', b'')]]:
        archive = make_zip(tmp_path / 'x.zip', members)
        refused(archive, tmp_path, 'has a file as a parent')


def extract_on_a_full_disk(archive, folder, pipe):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        extract(archive, folder)
    except FormatError:
        pipe.send('the archive')
    except OSError as error:
        pipe.send(error.errno)


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path, in_a_fork):
    archive = make_zip(tmp_path / 'x.zip', FILES)
    assert in_a_fork(extract_on_a_full_disk, archive,
                     tmp_path / 'out') == errno.EFBIG
    assert os.listdir(tmp_path) == ['x.zip']


@pytest.mark.parametrize('kind', [
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
    tarfile.FIFOTYPE
])
def test_links_and_devices_in_a_tar(tmp_path, kind):
    info = tarfile.TarInfo('link')
    info.type, info.linkname = kind, '/etc'
    members = [(info, b''), ('link/evil', b'evil')]
    refused(make_tar(tmp_path / 'x.tar', members), tmp_path, 'link')


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path, kind):
    info = zipfile.ZipInfo('link')
    info.external_attr = (kind | 0o777) << 16
    members = [(info, '/etc'), ('link/evil', b'evil')]
    refused(make_zip(tmp_path / 'x.zip', members), tmp_path, 'link')


def test_bombs(tmp_path):
    zeros = [('zeros', bytes(20 << 20))]
    refused(make_zip(tmp_path / 'x.zip', zeros), tmp_path, 'expands')
    two = [('a', bytes(600)), ('b', bytes(600))]
    for make in [make_zip, make_tar]:
        archive = make(tmp_path / 'y', two)
        refused(archive, tmp_path, 'more than 1,000 bytes', max_bytes=1000)
    extract(tmp_path / 'y', tmp_path / 'out', max_bytes=1200)


@pytest.mark.parametrize('mode', ['w:gz', 'w:bz2', 'w:xz'])
def test_a_tar_that_unfolds(tmp_path, mode):
    zeros = [('zeros', bytes(20 << 20))]
    refused(make_tar(tmp_path / 'x.tar', zeros, mode), tmp_path, 'expands')
    # Each file is small enough, but all of them together are not.
    many = [(f'{i}', bytes(1 << 20)) for i in range(20)]
    refused(make_tar(tmp_path / 'x.tar', many, mode), tmp_path, 'expands')
    extract(make_tar(tmp_path / 'x.tar', many[:10], mode), tmp_path / 'out')


def test_files_that_overlap_in_a_zip(tmp_path):
    """Twenty names refer to the same bytes of the archive."""
    archive = make_zip(tmp_path / 'x.zip', [('00', bytes(12 << 20))])
    content = archive.read_bytes()
    at, end = content.index(b'PK\1\2'), content.index(b'PK\5\6')
    entry = content[at:end]
    entries = b''.join(entry.replace(b'00', f'{i:02}'.encode())
                       for i in range(20))
    tail = struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 20, 20, len(entries), at,
                       0)
    archive.write_bytes(content[:at] + entries + tail)
    refused(archive, tmp_path, 'expands')


@pytest.mark.parametrize('packed', [False, True])
def test_zeros_are_no_archive(tmp_path, packed):
    """Some readers take zeros for endless empty compressed files."""
    zeros = bytes(10 << 20)
    (tmp_path / 'x').write_bytes(gzip.compress(zeros) if packed else zeros)
    refused(tmp_path / 'x', tmp_path, 'neither a zip nor a tar archive')


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_file_without_a_name(tmp_path):
    info = zipfile.ZipInfo('x')
    info.filename = info.orig_filename = ''
    refused(make_zip(tmp_path / 'x.zip', [(info, b'x')]), tmp_path,
            'plain relative path')
    refused(make_tar(tmp_path / 'x.tar', [('', b'x')]), tmp_path,
            'plain relative path')


@pytest.mark.parametrize('kind', [
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK
])
@pytest.mark.parametrize('size', [1 << 14, 8 << 30])
def test_a_header_that_is_too_long(tmp_path, kind, size):
    """Python reads such a header at once and searches it in quadratic time."""
    info = tarfile.TarInfo('x')
    info.type, info.size = kind, size
    content = info.tobuf(tarfile.GNU_FORMAT) + b'1' * (1 << 20)
    for pack in [bytes, gzip.compress]:
        (tmp_path / 'x.tar').write_bytes(pack(content))
        refused(tmp_path / 'x.tar', tmp_path, 'header of more than|expands')


def test_long_names_in_a_tar(tmp_path):
    name = '/'.join(['n' * 150] * 5)
    for form in [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]:
        with tarfile.open(tmp_path / 'x', 'w', format=form) as file:
            file.addfile(tarfile.TarInfo(name))
        extract(tmp_path / 'x', tmp_path / f'{form}')
        assert tree(tmp_path / f'{form}') == {name: b''}


def test_a_list_of_files_that_is_too_long(tmp_path):
    """The archive is refused before a million entries are created."""
    size = 20 << 20
    tail = struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 65535, 65535, size, 0, 0)
    (tmp_path / 'x.zip').write_bytes(bytes(size) + tail)
    refused(tmp_path / 'x.zip', tmp_path, 'header of more than')


def test_time_is_limited(tmp_path, monkeypatch):
    clock = itertools.count(step=40)
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    for make in [make_zip, make_tar]:
        refused(make(tmp_path / 'x', FILES), tmp_path, 'than 60 seconds')


def test_what_a_killed_process_left(tmp_path):
    archive = make_zip(tmp_path / 'x.zip', FILES)
    (tmp_path / '.out.0123abcd.tmp' / 'a').mkdir(parents=True)
    (tmp_path / '.out.0123abcd.tmp' / 'a' / 'half').write_bytes(b'')
    extract(archive, tmp_path / 'out')
    assert sorted(os.listdir(tmp_path)) == ['out', 'x.zip']


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / 'x')
    refused(tmp_path / 'x', tmp_path, 'pipe or device')


def test_a_tar_that_only_claims_its_size(tmp_path):
    info = tarfile.TarInfo('claim')
    info.size = 10 << 30
    (tmp_path / 'x.tar').write_bytes(info.tobuf() + bytes(1024))
    refused(tmp_path / 'x.tar', tmp_path)
    refused(tmp_path / 'x.tar', tmp_path, 'more than', max_bytes=1 << 30)


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr('pyg_mmkgc.io.budget.MAX_FILES', 10)
    members = [(f'{i}', b'') for i in range(11)]
    refused(make_zip(tmp_path / 'x.zip', members), tmp_path, 'or 10 files')
    refused(make_tar(tmp_path / 'x.tar', members), tmp_path, 'or 10 files')


def test_an_encrypted_zip(tmp_path):
    archive = make_zip(tmp_path / 'x.zip', FILES)
    content = bytearray(archive.read_bytes())
    at = content.index(b'PK\1\2')
    content[at + 8] |= 1  # The flags in the central directory.
    archive.write_bytes(content)
    refused(archive, tmp_path, 'encrypted')


def test_a_name_with_a_nul_byte(tmp_path):
    archive = make_zip(tmp_path / 'x.zip', [('good_evil', b'x')])
    content = archive.read_bytes().replace(b'good_evil', b'good\0evil')
    archive.write_bytes(content)
    refused(archive, tmp_path, 'plain relative path')


def test_a_wrong_checksum(tmp_path):
    archive = make_zip(tmp_path / 'x.zip', [('a', b'content')],
                       zipfile.ZIP_STORED)
    content = archive.read_bytes().replace(b'content', b'CONTENT')
    archive.write_bytes(content)
    refused(archive, tmp_path, 'CRC')


def test_a_wrong_size(tmp_path):
    archive = make_zip(tmp_path / 'x.zip', [('a', b'content')])
    content = bytearray(archive.read_bytes())
    at = content.index(b'PK\1\2')
    content[at + 24:at + 28] = struct.pack('<I', 3)
    archive.write_bytes(content)
    refused(archive, tmp_path)


@pytest.mark.parametrize('make', [make_zip, make_tar])
def test_damaged_archives(tmp_path, make):
    noise = [('noise', os.urandom(3000))]
    content = make(tmp_path / 'x', noise).read_bytes()
    page = b'<!DOCTYPE html><html><body>Quota exceeded</body></html>'
    for bad in [b'', page, content[:100], content[:2000], content[20:]]:
        (tmp_path / 'x').write_bytes(bad)
        refused(tmp_path / 'x', tmp_path)
