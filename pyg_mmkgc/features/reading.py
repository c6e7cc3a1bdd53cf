r"""Reading of single items, with the reason if an item is unusable."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features import images
from pyg_mmkgc.features.items import Item, is_image

MAX_BYTES = 1 << 28


class Sample(NamedTuple):
    r"""The outcome of reading an item.

    Args:
        value (Any): The image or text, or its prepared form. :obj:`None` if
            the item is unusable.
        digest (str): A hash of the bytes, empty if they could not be read.
        reason (str): The reason why the item is unusable, empty if it is
            usable.
    """
    value: Any
    digest: str
    reason: str


def read_item(item: Item, kind: str) -> Sample:
    r"""Reads an item as an image or a text.

    Args:
        item (Item): The item.
        kind (str): :obj:`"image"` or :obj:`"text"`.
    """
    if item.problem != '':
        return Sample(None, '', item.problem)
    digest = ''
    # No exception from an untrusted file may end the extraction.
    try:
        if is_image(item.content):
            digest = _digest(images.image_bytes(item.content))
            if kind != 'image':
                raise FormatError('Expected a text (got an image)')
            return Sample(images.convert_image(item.content), digest, '')
        content = _content(item.content)
        digest = _digest(content)
        if kind == 'image':
            return Sample(images.decode_image(content), digest, '')
        return Sample(decode_text(content), digest, '')
    except Exception as error:
        return Sample(None, digest, reason(error))


def content_digest(item: Item) -> str:
    r"""Returns the digest of :func:`read_item` without decoding the item."""
    if item.problem != '':
        return ''
    try:
        content = (images.image_bytes(item.content)
                   if is_image(item.content) else
                   _content(item.content))
    except (OSError, ValueError):
        return ''
    return _digest(content)


def decode_text(content: bytes) -> str:
    r"""Decodes a text in UTF-8, which must not be blank."""
    try:
        text = content.decode('utf-8').removeprefix('\ufeff')
    except UnicodeDecodeError as error:
        raise FormatError('Expected text in UTF-8 (got an error: '
                          f'{error})') from error
    if text.strip() == '':
        raise FormatError('Expected a text that is not blank (got a blank '
                          'text)')
    return text


def reason(error: Exception) -> str:
    r"""Returns an exception as one line for the manifest."""
    # Leave out the path of the file, which differs between machines.
    text = getattr(error, 'strerror', None) or str(error)
    text = ' '.join(text.split())[:200]
    if isinstance(error, DataError):
        return text
    return f'{type(error).__name__}: {text}'


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _content(content: Path | str) -> bytes:
    if isinstance(content, str):
        try:
            data = content.encode('utf-8')
        except UnicodeEncodeError as error:
            raise FormatError('Expected text in UTF-8 (got invalid bytes)'
                              ) from error
    else:
        # Without O_NONBLOCK, opening a pipe would block forever.
        handle = os.open(content, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FormatError('Expected a regular file (got another kind '
                                  'of file)')
            with open(handle, 'rb', closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
        if len(data) == 0:
            raise FormatError('Expected a file with content (got an empty '
                              'file)')
    if len(data) > MAX_BYTES:
        raise FormatError(f'Expected at most {MAX_BYTES} bytes (got more)')
    return data
