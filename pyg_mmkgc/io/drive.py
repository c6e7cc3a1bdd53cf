r"""Downloads from Google Drive, within limits."""
from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
import time

from pyg_mmkgc.errors import DownloadError
from pyg_mmkgc.io.atomic import PathLike, temporary_folder
from pyg_mmkgc.io.download import MAX_REDIRECTS, is_html
from pyg_mmkgc.io.reading import as_path

MAX_BYTES = 16 << 30
POLL = 0.1

# The package has no limits of its own, so a process of its own runs it, which
# another one can watch and end. The limits on the size of one file and on the
# time also hold if the watching process is killed.
CHILD = """
import os
import sys
sys.path[:] = sys.argv[1].split(os.pathsep)
kind, name, output = sys.argv[2:5]
size, seconds, redirects = map(int, sys.argv[5:])
if os.name == 'posix':
    import resource
    import signal
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    size = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    signal.alarm(seconds)
try:
    import gdown
    import requests
    requests.sessions.DEFAULT_REDIRECT_LIMIT = redirects
    fetch = gdown.download_folder if kind == 'folder' else gdown.download
    out = fetch(id=name, output=output, quiet=True, use_cookies=False)
except BaseException as error:
    sys.exit(' '.join(f'{error or type(error).__name__}'.split())[:1000])
sys.exit(None if out else 'no file')
"""


def download_drive(
    file_id: str,
    path: PathLike,
    *,
    folder: bool = False,
    size: int = MAX_BYTES,
    max_seconds: float = 4 * 3600.0,
) -> pathlib.Path:
    r"""Downloads a file or a folder from Google Drive with :obj:`gdown`, in a
    process of its own, which is ended when it exceeds a limit. At most five
    redirects are followed.

    No hash is verified, so the result must be treated as untrusted.

    Args:
        file_id (str): The id in the address of the file or folder.
        path (str or os.PathLike): The file or folder to write.
        folder (bool, optional): If set to :obj:`True`, downloads a folder.
            (default: :obj:`False`)
        size (int, optional): The maximum number of bytes of all files
            together. (default: 16 GiB)
        max_seconds (float, optional): The maximum number of seconds.
            (default: :obj:`14400.0`)

    Raises:
        DownloadError: If the download fails, exceeds a limit, or
            :obj:`gdown` is missing. In this case, nothing is written.
    """
    if importlib.util.find_spec('gdown') is None:
        raise DownloadError(
            f"Expected 'gdown' to be installed to download {file_id} from "
            f'Google Drive (got none). Run: '
            f"pip install 'pyg_mmkgc[download]'")
    path = as_path(path)
    kind = 'folder' if folder else 'file'
    url = 'https://drive.google.com/'
    url += f'drive/folders/{file_id}' if folder else f'file/d/{file_id}'
    with temporary_folder(path) as temp:
        reason = _run([kind, file_id, str(temp / 'out')], temp, size,
                      max_seconds)
        if reason is None:
            reason = _fault(temp / 'out', folder)
        if reason is not None:
            raise DownloadError(
                f'Expected to download {url} (got an error: {reason}). Open '
                f"the address in a browser, save it as '{path}' and try "
                'again.')
        os.replace(temp / 'out', path)
    return path


def _run(arguments: list[str], temp: pathlib.Path, size: int,
         max_seconds: float) -> str | None:
    r"""Runs the child, and returns the reason if it fails."""
    deadline = time.monotonic() + max_seconds
    # With one byte more, a file that is cut off is seen to be too large.
    limits = [size + 1, int(max_seconds) + 1, MAX_REDIRECTS]
    # The child imports from where this process does, and not from the current
    # folder, which may hold any files.
    with subprocess.Popen(
            [sys.executable, '-c', CHILD, os.pathsep.join(sys.path),
             *arguments, *map(str, limits)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors='replace') as child:
        try:
            while True:
                try:
                    text = child.communicate(timeout=POLL)[1]
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        return 'the time limit was reached'
                    if _size(temp) > size:
                        return f'it has more than {size} bytes'
        finally:
            child.kill()
    if _size(temp) > size:
        return f'it has more than {size} bytes'
    if child.returncode == 0:
        return None
    return ' '.join(text.split()[-100:]) or f'exit status {child.returncode}'


def _size(folder: pathlib.Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # It was renamed in the meantime.
                continue
    return total


def _fault(out: pathlib.Path, folder: bool) -> str | None:
    r"""Returns the reason why the result is not a file or a folder."""
    if folder:
        return None if out.is_dir() else 'no folder'
    if not out.is_file():
        return 'no file'
    with open(out, 'rb') as file:
        start = file.read(512)
    if len(start) == 0 or is_html(start):
        return (f'it sent {start[:60]!r}, so a quota or a login may prevent '
                'the download')
    return None
