import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pyg_mmkgc.errors import DownloadError, FormatError
from pyg_mmkgc.io.download import download, verify_sha256

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()
PAGE = b'<!DOCTYPE html><html><body>Too many users</body></html>'


class Handler(BaseHTTPRequestHandler):
    """A server that misbehaves in the way that the path requests."""
    def do_GET(self):
        self.server.requests.append(self.path)
        self.server.asked.set()
        getattr(self, self.path[1:])()

    def send(self, body, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header('Content-Length',
                         str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace('_', '-'), value)
        self.end_headers()
        self.wfile.write(body)

    def right(self):
        self.send(BODY)

    def right_without_length(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(BODY)

    def right_redirected(self):
        self.send(b'', 302, Location='/right')

    def truncated(self):
        self.send(BODY[:1000], length=len(BODY))

    def reset(self):
        self.send(BODY[:1000], length=len(BODY))
        self.connection.close()

    def truncated_chunks(self):
        self.send_response(200)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        self.wfile.write(b'3e8\r\n' + BODY[:500])

    def longer(self):
        self.send(BODY + b'x')

    def wrong(self):
        self.send(BODY[:-1] + b'x')

    def empty(self):
        self.send(b'')

    def html(self):
        self.send(PAGE, Content_Type='text/html')

    def html_as_zip(self):
        self.send(PAGE, Content_Type='application/zip')

    def absent(self):
        self.send(b'gone', 404)

    def busy_once(self):
        first = self.server.requests.count('/busy_once') == 1
        self.send(b'busy' if first else BODY, 500 if first else 200)

    def truncated_once(self):
        first = self.server.requests.count('/truncated_once') == 1
        self.send(BODY[:100] if first else BODY, length=len(BODY))

    def busy(self):
        self.send(b'busy', 503)

    def loop(self):
        self.send(b'', 302, Location='/loop')

    def to_file(self):
        self.send(b'', 302, Location='file:///etc/hostname')

    def to_ftp(self):
        self.send(b'', 302, Location='ftp://127.0.0.1/x')

    def stall(self):
        self.send(BODY[:1000], length=len(BODY))
        self.wfile.flush()
        self.server.done.wait()

    def silent(self):
        self.server.done.wait()

    def endless(self):
        """Sends endless bytes without a Content-Length."""
        self.send_response(200)
        self.end_headers()
        while not self.server.done.is_set():
            self.wfile.write(BODY * 10)

    def endless_chunks(self):
        self.send_response(200)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        while not self.server.done.is_set():
            self.wfile.write(f'{len(BODY):x}\r\n'.encode() + BODY + b'\r\n')

    def claims(self):
        self.send(BODY, length='9' * 5000)

    def hop(self):
        self.send(b'', 302, Location=f'{self.path}1')

    def hop1(self):
        if len(self.path) > len('/hop') + self.server.hops - 1:
            self.send(b'', 302, Location='/right')
        else:
            self.hop()

    def __getattr__(self, name):
        if name.startswith('hop1'):
            return self.hop1
        raise AttributeError(name)

    def drip(self, content):
        """Sends single bytes, each before the timeout."""
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.done.wait(0.02):
                return

    def slow_body(self):
        self.send(b'', length=len(BODY))
        self.drip(BODY)

    def slow_headers(self):
        self.drip(b'HTTP/1.1 200 OK\r\n')
        self.drip(b'X-Header: x\r\n' * 50)

    def slow_line(self):
        self.drip(b'HTTP/1.1 200 ' + b'O' * 5000)

    def no_http(self):
        self.wfile.write(b'\0\1\2\3\r\n\r\n')

    def log_message(self, *args):
        pass


def serve(context=None):
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.requests, server.done = [], threading.Event()
    server.asked = threading.Event()
    server.hops = 0
    server.daemon_threads = True
    server.handle_error = lambda *args: None
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever,
                     kwargs={'poll_interval': 0.01}, daemon=True).start()
    return server


def stop(server):
    server.done.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(monkeypatch):
    for key in ('http_proxy', 'https_proxy', 'all_proxy'):
        monkeypatch.delenv(key, raising=False)
        monkeypatch.delenv(key.upper(), raising=False)
    server = serve()
    yield server
    stop(server)


def url(server, name):
    return f'http://127.0.0.1:{server.server_port}/{name}'


@pytest.mark.parametrize('name', [
    'right',
    'right_without_length',
    'right_redirected',
    'busy_once',
    'truncated_once',
])
def test_right_files(server, tmp_path, name):
    path = tmp_path / 'new' / 'file'
    assert download(url(server, name), path, SHA256, wait=0) == path
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == ['file']


BAD = {
    'truncated': f'1000 bytes instead of {len(BODY)}',
    'reset': '1000 bytes instead|Connection',
    'truncated_chunks': 'IncompleteRead',
    'longer': f'{len(BODY) + 1} bytes with SHA-256',
    'wrong': hashlib.sha256(BODY[:-1] + b'x').hexdigest(),
    'empty': '0 bytes with SHA-256',
    'claims': '10240 bytes instead of 9+',
    'html': 'an HTML page',
    'html_as_zip': 'an HTML page',
    'absent': '404',
    'busy': '503',
    'loop': '302',
    'to_file': 'file:///etc/hostname. is not allowed',
    'to_ftp': 'redirects from http to .ftp://',
    'no_http': 'BadStatusLine|RemoteDisconnected',
}


@pytest.mark.parametrize('name', list(BAD))
def test_bad_files(server, tmp_path, name):
    path = tmp_path / 'file'
    path.write_text('old')
    with pytest.raises(DownloadError, match=BAD[name]) as info:
        download(url(server, name), path, SHA256, retries=1, wait=0)
    for part in [url(server, name), str(path), SHA256, 'by hand']:
        assert part in str(info.value)
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('name', ['endless', 'endless_chunks', 'longer'])
def test_more_bytes_than_there_are(server, tmp_path, name):
    """Surplus bytes are not written to disk."""
    with pytest.raises(DownloadError, match=f'more than {len(BODY)} bytes'):
        download(url(server, name), tmp_path / 'file', SHA256, size=len(BODY))
    assert os.listdir(tmp_path) == []
    assert server.requests == [f'/{name}']


def test_more_bytes_than_any_file_has(server, tmp_path, monkeypatch):
    # In the package, a function hides the module of the same name.
    module = sys.modules['pyg_mmkgc.io.download']
    monkeypatch.setattr(module, 'MAX_BYTES', 1 << 22)
    with pytest.raises(DownloadError, match='more than 4194304 bytes'):
        download(url(server, 'endless'), tmp_path / 'file', SHA256)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('name', ['slow_body', 'slow_headers', 'slow_line'])
def test_a_slow_server(server, tmp_path, name):
    """The server is never silent for long, but never finishes."""
    with pytest.raises(DownloadError, match='time limit was|timed out'):
        download(url(server, name), tmp_path / 'file', SHA256,
                 max_seconds=0.3)
    assert os.listdir(tmp_path) == []
    # A busy server may only now read the request.
    assert server.asked.wait(60) and server.requests == [f'/{name}']


def test_time_is_for_all_tries_together(server, tmp_path):
    with pytest.raises(DownloadError, match='503'):
        download(url(server, 'busy'), tmp_path / 'file', SHA256, wait=60,
                 max_seconds=30)
    assert server.requests == ['/busy']


@pytest.mark.parametrize('hops, right', [(4, True), (5, False)])
def test_redirects(server, tmp_path, hops, right):
    server.hops = hops
    if right:
        download(url(server, 'hop'), tmp_path / 'file', SHA256)
        assert (tmp_path / 'file').read_bytes() == BODY
    else:
        with pytest.raises(DownloadError, match='302'):
            download(url(server, 'hop'), tmp_path / 'file', SHA256)
    assert len(server.requests) <= 6


@pytest.mark.parametrize('arguments', [
    {'retries': -1}, {'retries': 1.5}, {'size': -1}, {'timeout': 0},
    {'timeout': float('nan')}, {'max_seconds': -1.0}, {'wait': -1},
    {'max_seconds': float('inf')}
])
def test_arguments_that_are_none(server, tmp_path, arguments):
    name, = arguments
    with pytest.raises(DownloadError, match=f"Expected '{name}'"):
        download(url(server, 'right'), tmp_path / 'file', SHA256, **arguments)
    assert server.requests == []


def test_what_a_killed_download_left(server, tmp_path):
    (tmp_path / '.file.0123abcd.tmp').write_bytes(BODY[:100])
    with pytest.raises(DownloadError, match='404'):
        download(url(server, 'absent'), tmp_path / 'file', SHA256)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('name', ['stall', 'silent'])
def test_a_silent_server(server, tmp_path, name):
    with pytest.raises(DownloadError, match='timed out'):
        download(url(server, name), tmp_path / 'file', SHA256, timeout=0.05,
                 retries=0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('name, tries', [
    ('busy', 4),
    ('truncated', 4),
    ('absent', 1),
    ('wrong', 1),
    ('html', 1),
    ('to_file', 1),
])
def test_only_what_may_pass_is_tried_again(server, tmp_path, name, tries):
    with pytest.raises(DownloadError):
        download(url(server, name), tmp_path / 'file', SHA256, wait=0)
    assert server.requests == [f'/{name}'] * tries


@pytest.mark.parametrize('bad', [
    'file:///etc/hostname',
    'ftp://127.0.0.1/x',
    'data:text/plain,x',
    '/etc/hostname',
    '',
    'http://',
    'http://127.0.0.1:port/x',
    'http://[bad',
    'http://127.0.0.1/\0\n',
    None,
    5,
])
def test_other_addresses(tmp_path, bad):
    with pytest.raises(DownloadError, match='file'):
        download(bad, tmp_path / 'file', SHA256, retries=0)
    assert os.listdir(tmp_path) == []


def test_nobody_there(server, tmp_path):
    address = url(server, 'right')
    stop(server)
    with pytest.raises(DownloadError, match='ConnectionRefusedError'):
        download(address, tmp_path / 'file', SHA256, retries=1, wait=0)
    server.server_close = server.shutdown = lambda: None


@pytest.mark.skipif(shutil.which('openssl') is None, reason='no openssl')
def test_a_certificate_that_nobody_signed(server, tmp_path):
    cert, key = str(tmp_path / 'cert'), str(tmp_path / 'key')
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout',
         key, '-out', cert, '-subj', '/CN=127.0.0.1'], check=True,
        capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    secure = serve(context)
    try:
        with pytest.raises(DownloadError, match='CERTIFICATE_VERIFY_FAILED'):
            download(f'https://127.0.0.1:{secure.server_port}/right',
                     tmp_path / 'file', SHA256)
    finally:
        stop(secure)
    assert not (tmp_path / 'file').exists()


def test_verify_sha256(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(BODY)
    verify_sha256(path, SHA256)
    path.write_bytes(BODY[:-1])
    with pytest.raises(FormatError, match=f'file.*{SHA256}.*10239 bytes'):
        verify_sha256(path, SHA256)
