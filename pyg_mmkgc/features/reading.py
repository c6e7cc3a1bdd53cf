r"""Reads one item: its bytes, then an image or a text, or why not."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features import images
from pyg_mmkgc.features.items import Item

MAX_BYTES = 1 << 28


class Sample(NamedTuple):
    r"""What became of one item.

    Args:
        value (Any): What the encoder prepared, :obj:`None` if unusable.
        digest (str): A hash of the bytes, empty where there are none.
        reason (str): Why the item is unusable, empty if it is not.
    """
    value: Any
    digest: str
    reason: str


def read_item(item: Item, kind: str) -> Sample:
    r"""Reads an item as an image or a text.

    Args:
        item (Item): The item.
        kind (str): :obj:`'image'` or :obj:`'text'`.
    """
    if item.problem != '':
        return Sample(None, '', item.problem)
    digest = ''
    # Whatever comes from a stranger's file is a reason, and never the end.
    try:
        content = _content(item.content)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        if kind == 'image':
            return Sample(images.decode_image(content), digest, '')
        return Sample(decode_text(content), digest, '')
    except Exception as error:
        return Sample(None, digest, reason(error))


def content_digest(item: Item) -> str:
    r"""Returns the hash that :func:`read_item` finds, without decoding."""
    if item.problem != '':
        return ''
    try:
        content = _content(item.content)
    except (OSError, ValueError):
        return ''
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode_text(content: bytes) -> str:
    r"""Decodes a text in UTF-8 that is not blank."""
    try:
        text = content.decode('utf-8').removeprefix('\ufeff')
    except UnicodeDecodeError as error:
        raise FormatError(f'no text in UTF-8: {error}') from error
    if text.strip() == '':
        raise FormatError('a blank text')
    return text


def reason(error: Exception) -> str:
    r"""Returns an exception as one line for the manifest."""
    # Without the path of the file, which is its place on this machine.
    text = getattr(error, 'strerror', None) or str(error)
    text = ' '.join(text.split())[:200]
    if isinstance(error, DataError):
        return text
    return f'{type(error).__name__}: {text}'


def _content(content: Path | str) -> bytes:
    if isinstance(content, str):
        try:
            data = content.encode('utf-8')
        except UnicodeEncodeError as error:
            raise FormatError('no text in UTF-8') from error
    else:
        # Opening a pipe would wait for ever.
        handle = os.open(content, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FormatError('not a regular file')
            with open(handle, 'rb', closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
        if len(data) == 0:
            raise FormatError('an empty file')
    if len(data) > MAX_BYTES:
        raise FormatError(f'more than {MAX_BYTES} bytes')
    return data
