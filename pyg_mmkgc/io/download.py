r"""Downloads that only appear under their name after verification."""
from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import math
import os
import pathlib
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from pyg_mmkgc.errors import DownloadError, FormatError
from pyg_mmkgc.io.atomic import PathLike, atomic_path, sweep
from pyg_mmkgc.io.reading import as_path, file_sha256

CHUNK = 1 << 20
# The limit for files of unknown size.
MAX_BYTES = 1 << 30
MAX_REDIRECTS = 5
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


def download(
    url: str,
    path: PathLike,
    sha256: str,
    *,
    size: int | None = None,
    timeout: float = 30.0,
    max_seconds: float = 3600.0,
    retries: int = 3,
    wait: float = 1.0,
) -> pathlib.Path:
    r"""Downloads one file and verifies its size and SHA-256.

    The file appears as :obj:`path` only when its content is verified. Only
    :obj:`http` and :obj:`https` with valid certificates are allowed, and at
    most five redirects are followed. Temporary failures (no answer, server
    errors, a lost connection) are retried. Temporary files that a killed
    process left behind are removed.

    Args:
        url (str): The address.
        path (str or os.PathLike): The file to write.
        sha256 (str): The expected SHA-256 of the content, in hexadecimal
            digits.
        size (int, optional): The maximum number of bytes.
            (default: :obj:`None`, 1 GiB)
        timeout (float, optional): The number of seconds without any data after
            which an attempt fails. (default: :obj:`30.0`)
        max_seconds (float, optional): The number of seconds that all attempts
            may take together. (default: :obj:`3600.0`)
        retries (int, optional): The number of retries. (default: :obj:`3`)
        wait (float, optional): The number of seconds before the first retry,
            which doubles for every further retry. (default: :obj:`1.0`)

    Raises:
        DownloadError: If no attempt succeeds. In this case, nothing is
            written.
    """
    _check_arguments(size, timeout, max_seconds, retries, wait)
    path = as_path(path)
    if path.parent.is_dir():
        sweep(path.parent, path.name)
    deadline = time.monotonic() + max_seconds
    for attempt in range(retries + 1):
        try:
            _fetch(url, path, sha256, size, timeout, deadline)
            return path
        except _Failure as failure:
            pause = wait * 2**attempt
            if (attempt < retries and failure.transient
                    and time.monotonic() + pause < deadline):
                time.sleep(pause)
                continue
            raise DownloadError(
                f'Expected to download {url!s:.500} (got an error: '
                f'{failure}). Fetch it by hand (SHA-256 {sha256}), save it '
                f"as '{path}' and try again.") from failure
    raise AssertionError('unreachable')


def _check_arguments(size: int | None, timeout: float, max_seconds: float,
                     retries: int, wait: float) -> None:
    for name, value, low in (('size', size, 0), ('retries', retries, 0)):
        if value is not None and (not isinstance(value, int) or value < low):
            raise DownloadError(f"Expected '{name}' to be a non-negative "
                                f'integer (got {value!r})')
    for name, number in (('timeout', timeout), ('max_seconds', max_seconds)):
        if not 0 < number < math.inf:
            raise DownloadError(f"Expected '{name}' to be positive and finite "
                                f'(got {number!r})')
    if not 0 <= wait < math.inf:
        raise DownloadError("Expected 'wait' to be non-negative and finite "
                            f'(got {wait!r})')


def verify_sha256(path: PathLike, sha256: str) -> None:
    r"""Verifies the SHA-256 of a file.

    Args:
        path (str or os.PathLike): The file to verify.
        sha256 (str): The expected SHA-256.

    Raises:
        FormatError: If the file has another SHA-256.
    """
    found = file_sha256(path)
    if found != sha256:
        raise FormatError(
            f"Expected '{path}' to have the SHA-256 {sha256} (got {found} "
            f'with {os.path.getsize(path)} bytes). The file is damaged or '
            f'another version: replace it, or remove it to download it '
            f'again.')


class _Failure(Exception):
    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any,
                         headers: Any, newurl: str) -> Any:
        old = urllib.parse.urlsplit(req.full_url).scheme
        new = urllib.parse.urlsplit(newurl).scheme
        if new != old and (old, new) != ('http', 'https'):
            raise _Failure(f'it redirects from {old} to {newurl[:200]!r}, '
                           f'which is refused')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Bytes(io.RawIOBase):
    r"""The bytes that a connection receives before a deadline.

    The timeout of a socket only limits the time between two bytes, so a server
    could keep a reader busy forever.
    """
    def __init__(self, raw: Any, sock: socket.socket,
                 deadline: float) -> None:
        self.raw, self.sock, self.deadline = raw, sock, deadline
        self.timeout = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _Failure('the time limit was reached')
        self.sock.settimeout(min(left, self.timeout or left))
        return self.raw.readinto(buffer)

    def close(self) -> None:
        self.raw.close()
        super().close()


class _Web(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    r"""The handler of connections whose answers have a deadline."""
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline
        self.context = ssl.create_default_context()

    def http_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPConnection, req)

    def https_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPSConnection, req,
                          context=self.context)

    def _open(self, kind: Any, req: Any, **kwargs: Any) -> Any:
        def respond(sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
            response = http.client.HTTPResponse(sock, *args, **kwargs)
            response.fp = io.BufferedReader(
                _Bytes(response.fp.detach(), sock, self.deadline))
            return response

        def connect(host: str, **kwargs: Any) -> Any:
            connection = kind(host, **kwargs)
            connection.response_class = respond
            return connection

        # The timeout of the request also limits connecting to each address.
        req.timeout = min(req.timeout, max(self.deadline - time.monotonic(),
                                           0.001))
        return self.do_open(connect, req, **kwargs)


def _opener(deadline: float) -> urllib.request.OpenerDirector:
    # The default opener is not used, since it also opens files and FTP.
    opener = urllib.request.OpenerDirector()
    for handler in (
            urllib.request.ProxyHandler(),
            _Web(deadline),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
            _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _fetch(url: str, path: pathlib.Path, sha256: str, size: int | None,
           timeout: float, deadline: float) -> None:
    limit = MAX_BYTES if size is None else size
    with _translate():
        if not isinstance(url, str) or urllib.parse.urlsplit(
                url).scheme not in ('http', 'https'):
            raise _Failure('the address does not begin with http:// or '
                           'https://')
        request = urllib.request.Request(url,
                                         headers={'User-Agent': 'pyg_mmkgc'})
        with _opener(deadline).open(request, timeout=timeout) as response:
            _save(response, path, sha256, limit)


def _save(response: Any, path: pathlib.Path, sha256: str, limit: int) -> None:
    length = response.headers.get('Content-Length', '')
    kind = response.headers.get('Content-Type', '')
    with atomic_path(path) as temp, open(temp, 'wb') as file:
        digest, size, start = hashlib.sha256(), 0, b''
        while chunk := response.read(CHUNK):
            start = start or chunk[:512]
            digest.update(chunk)
            size += len(chunk)
            if size > limit:
                raise _Failure(f'it has more than {limit} bytes')
            file.write(chunk)
        file.flush()
        if length.isdigit() and str(size) != length.lstrip('0').rjust(1, '0'):
            raise _Failure(f'{size} bytes instead of {length:.20}', True)
        if digest.hexdigest() == sha256:
            return
        what = f'{size} bytes with SHA-256 {digest.hexdigest()}'
        if is_html(start) or 'html' in kind:
            what += f', an HTML page that begins with {start[:60]!r},'
        raise _Failure(f'{what} instead of SHA-256 {sha256}')


@contextlib.contextmanager
def _translate() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _Failure(f'the server answered {error.code} {error.reason}',
                       error.code in TRANSIENT) from error
    except (TimeoutError, ConnectionError, http.client.HTTPException,
            urllib.error.URLError, ssl.SSLError) as error:
        reason = getattr(error, 'reason', error)
        # Retrying does not help against an invalid certificate.
        transient = not isinstance(reason, ssl.SSLCertVerificationError)
        raise _Failure(f'{type(reason).__name__}: {reason}',
                       transient) from error
    except ValueError as error:  # An invalid address.
        raise _Failure(f'{error}') from error


def is_html(start: bytes) -> bool:
    r"""Returns :obj:`True` if a file with this start is an HTML page."""
    return start.lstrip().lower().startswith((b'<!doctype html', b'<html'))
