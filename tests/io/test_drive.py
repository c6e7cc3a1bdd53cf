"""Downloads from Google Drive, with a package in place of gdown."""
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pyg_mmkgc.errors import DownloadError
from pyg_mmkgc.io import download_drive

PAGE = '<!DOCTYPE html><html><body>Too many users</body></html>'
SAVE = """
import os
def download(id, output, quiet, use_cookies):
    assert (id, quiet, use_cookies) == ('some-id', True, False)
    with open(output, 'wb') as file:
        file.write(b'body')
    return output

def download_folder(id, output, quiet, use_cookies):
    os.makedirs(output)
    return [download(id, os.path.join(output, name), quiet, use_cookies)
            for name in 'xy']
"""


@pytest.fixture
def gdown(tmp_path, monkeypatch):
    """Writes the source of a package that takes the place of gdown."""
    folder = tmp_path / 'site'
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, 'gdown', raising=False)
    return (folder / 'gdown.py').write_text


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'new' / 'it'


def test_files_and_folders(gdown, path):
    gdown(SAVE)
    assert download_drive('some-id', path) == path
    assert path.read_bytes() == b'body'
    assert download_drive('some-id', path.with_name('all'),
                          folder=True) == path.with_name('all')
    assert sorted(os.listdir(path.parent)) == ['all', 'it']
    assert sorted(os.listdir(path.with_name('all'))) == ['x', 'y']


QUOTA = """
def download(**kwargs):
    raise RuntimeError('Too many users\\n\\thave viewed this file')
"""
NOTHING = 'download = download_folder = lambda **kwargs: None'
HTML = f"""
def download(output, **kwargs):
    open(output, 'w').write('''{PAGE}''')
    return output
"""
EMPTY = HTML.replace(PAGE, '')
# Files that grow, or never come.
ENDLESS = """
def download(output, **kwargs):
    with open(output, 'wb') as file:
        while True:
            file.write(bytes(1 << 16))
"""
MANY = """
import itertools, os
def download_folder(output, **kwargs):
    os.mkdir(output)
    for i in itertools.count():
        with open(os.path.join(output, str(i)), 'wb') as file:
            file.write(bytes(1 << 18))
"""
ONE_MORE = """
def download(output, **kwargs):
    open(output, 'wb').write(b'body!')
    return output
"""
SILENT = """
import threading
def download(**kwargs):
    threading.Event().wait()
"""


@pytest.mark.parametrize('code, options, message', [
    (QUOTA, {}, 'Too many users have viewed'),
    (NOTHING, {}, 'no file'),
    (NOTHING, {'folder': True}, 'no file'),
    (HTML, {}, 'DOCTYPE.*quota'),
    (EMPTY, {}, 'quota'),
    ('import nothing_like_it', {}, "No module named 'nothing_like_it'"),
    (ENDLESS, {'size': 1 << 20}, 'File too large|more than 1048576 bytes'),
    (MANY, {'size': 1 << 20, 'folder': True}, 'more than 1048576 bytes'),
    (ONE_MORE, {'size': 4}, 'File too large|more than 4 bytes'),
    (SILENT, {'max_seconds': 0.3}, 'time limit was reached'),
])
def test_what_does_not_come(gdown, path, code, options, message):
    gdown(code)
    kind = 'drive/folders' if options.get('folder') else 'file/d'
    with pytest.raises(DownloadError, match=message) as info:
        download_drive('some-id', path, **options)
    assert f'https://drive.google.com/{kind}/some-id' in str(info.value)
    assert os.listdir(path.parent) == []


class Loop(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(302)
        self.send_header('Location', '/')
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *args):
        pass


def test_redirects(gdown, path, monkeypatch):
    for key in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(key, raising=False)
    server = ThreadingHTTPServer(('127.0.0.1', 0), Loop)
    server.requests = 0
    threading.Thread(target=server.serve_forever,
                     kwargs={'poll_interval': 0.01}, daemon=True).start()
    gdown('import requests\ndef download(**kwargs):\n    requests.get('
          f'"http://127.0.0.1:{server.server_port}/")')
    try:
        with pytest.raises(DownloadError, match='Exceeded 5 redirects'):
            download_drive('some-id', path)
    finally:
        server.shutdown()
        server.server_close()
    assert server.requests <= 6


def test_a_package_in_the_current_folder_is_not_run(gdown, path, tmp_path,
                                                    monkeypatch):
    """A folder of downloaded files may hold a file of any name."""
    gdown(SAVE)
    monkeypatch.setattr(sys, 'path', [x for x in sys.path if x])
    monkeypatch.chdir(tmp_path)
    for name in ('requests', 'gdown', 'resource'):
        (tmp_path / f'{name}.py').write_text('open("ran", "w")')
    download_drive('some-id', path)
    assert not (tmp_path / 'ran').exists()


def test_without_gdown(path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gdown', None)
    with pytest.raises(DownloadError, match=r'pyg_mmkgc\[download\]'):
        download_drive('some-id', path)
