r"""A reader of files written by :func:`torch.save` that does not run their
pickle.

Such a file holds instructions that build an object, and the bytes of its
tensors. Only the instructions for plain tensors, parameters, lists and
dictionaries are interpreted: no class is imported, no function is called, and
no memory is allocated before its size is checked against the file.
"""
from __future__ import annotations

import io
import math
import pathlib
import pickletools
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.budget import open_zip

# The instructions of a table take a few hundred bytes, but dictionaries may be
# long.
MAX_PICKLE = 1 << 21
MAX_DIMS = 64
DTYPES = {
    'DoubleStorage': torch.double,
    'FloatStorage': torch.float,
    'HalfStorage': torch.half,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.long,
    'IntStorage': torch.int,
    'ShortStorage': torch.short,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'ComplexFloatStorage': torch.complex64,
    'ComplexDoubleStorage': torch.complex128,
}
# The first two objects of a file of PyTorch before version 1.6.
LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
LEGACY_PROTOCOL = 1001


@dataclass(frozen=True)
class StoredTensor:
    r"""A tensor that has not been read from its file yet.

    Args:
        key (str): The name of its storage in the file.
        dtype (torch.dtype): The data type.
        numel (int): The number of elements of the storage.
        offset (int): The position of its first element in the storage.
        shape (tuple): The shape.
        stride (tuple): The strides in elements.
    """
    key: str
    dtype: torch.dtype
    numel: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class TorchFile:
    r"""The content of a file of :func:`torch.save`.

    Args:
        content (Any): The object, with a :class:`StoredTensor` in place of
            each tensor.
        read (callable): A function that reads a :class:`StoredTensor`.
    """
    content: Any
    read: Callable[[StoredTensor], Tensor]


def open_torch(path: pathlib.Path) -> TorchFile:
    r"""Opens a file of :func:`torch.save` without reading its tensors.

    Args:
        path (pathlib.Path): The file.

    Raises:
        FormatError: If the file contains anything other than plain tensors,
            numbers, strings, lists and dictionaries.
    """
    if zipfile.is_zipfile(path):
        return _open_zip(path)
    return _open_legacy(path)


def _open_zip(path: pathlib.Path) -> TorchFile:
    with open_zip(path) as (file, members, _):
        # PyTorch never compresses the members of the archive.
        for name, info in members.items():
            if info.compress_type != zipfile.ZIP_STORED:
                raise FormatError(f'{name!r} is compressed, which torch.save '
                                  'never does')
        roots = [name for name in members
                 if name.endswith('/data.pkl') and name.count('/') == 1]
        if len(roots) != 1:
            raise FormatError(f'the archive holds {len(roots)} objects of '
                              'torch.save instead of one')
        root = roots[0].removesuffix('data.pkl')
        order = members.get(f'{root}byteorder')
        if (order is not None and order.file_size < 16
                and file.read(order).decode() != sys.byteorder):
            raise FormatError('its numbers have another byte order')
        content, _ = _interpret(_small(file.open(roots[0]),
                                       members[roots[0]].file_size))

    def read(tensor: StoredTensor) -> Tensor:
        info = members.get(f'{root}data/{tensor.key}')
        if info is None:
            raise FormatError(f'it has no storage {tensor.key!r}')
        with open(path, 'rb') as raw:
            raw.seek(info.header_offset)
            start = raw.read(30)
            if len(start) < 30 or start[:4] != b'PK\3\4':
                raise FormatError(f'{info.filename!r} is not at its position '
                                  'in the archive')
            skip = sum(struct.unpack('<HH', start[26:]))
            return _take(raw, info.header_offset + 30 + skip, info.file_size,
                         tensor)

    return TorchFile(content, read)


def _open_legacy(path: pathlib.Path) -> TorchFile:
    with open(path, 'rb') as file:
        # The file holds four objects, the names of the storages, and the
        # storages, each after its number of elements.
        head = io.BytesIO(file.read(MAX_PICKLE))
        magic, _ = _interpret(head)
        version, _ = _interpret(head)
        if magic != LEGACY_MAGIC or version != LEGACY_PROTOCOL:
            raise FormatError('it has no header of torch.save')
        system, _ = _interpret(head)
        if (not isinstance(system, dict)
                or system.get('little_endian') is not (
                    sys.byteorder == 'little')):
            raise FormatError('its numbers have another byte order')
        content, storages = _interpret(head)
        keys, _ = _interpret(head)
        if not isinstance(keys, list) or not all(
                isinstance(key, str) and key in storages for key in keys):
            raise FormatError('it lists storages that it does not use')
        start, places = head.tell(), {}
        end = path.stat().st_size
        for key in keys:
            file.seek(start)
            count = int.from_bytes(file.read(8), 'little', signed=True)
            numel = storages[key].numel
            size = numel * storages[key].dtype.itemsize
            if count != numel or start + 8 + size > end:
                raise FormatError(f'the storage {key!r} of {numel} elements '
                                  'is missing')
            places[key] = (start + 8, size)
            start += 8 + size

    def read(tensor: StoredTensor) -> Tensor:
        if tensor.key not in places:
            raise FormatError(f'it has no storage {tensor.key!r}')
        with open(path, 'rb') as raw:
            return _take(raw, *places[tensor.key], tensor)

    return TorchFile(content, read)


def _small(file: IO[bytes], size: int) -> io.BytesIO:
    with file:
        if size > MAX_PICKLE:
            raise FormatError(f'its object has {size:,} bytes without the '
                              f'tensors, more than {MAX_PICKLE:,}')
        return io.BytesIO(file.read())


def _take(file: IO[bytes], start: int, size: int,
          tensor: StoredTensor) -> Tensor:
    itemsize = tensor.dtype.itemsize
    last = tensor.offset + sum(
        (n - 1) * step for n, step in zip(tensor.shape, tensor.stride,
                                          strict=True))
    elements = math.prod(tensor.shape)
    if (tensor.numel * itemsize > size or elements > tensor.numel
            or elements == 0 or last >= tensor.numel):
        raise FormatError(
            f'a {tensor.dtype} tensor of shape {list(tensor.shape)} does not '
            f'fit its storage of {size} bytes')
    file.seek(start + tensor.offset * itemsize)
    count = (last + 1 - tensor.offset) * itemsize
    content = np.fromfile(file, dtype=np.uint8, count=count)
    if content.size != count:
        raise FormatError('it ends within a tensor')
    flat = torch.from_numpy(content).view(tensor.dtype)
    return flat.as_strided(tensor.shape, tensor.stride)


# Replaces functions and classes on the stack.
@dataclass(frozen=True)
class _Name:
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    numel: int


class _Mark:
    pass


_PUSH = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_LITERALS = {'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT',
             'BINUNICODE', 'SHORT_BINUNICODE'}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


def _interpret(file: io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    r"""Interprets the instructions of one object.

    Returns:
        The object, and the storages that it refers to.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    storages: dict[str, _Storage] = {}

    def pop_mark() -> list[Any]:
        start = max(i for i, x in enumerate(stack) if isinstance(x, _Mark))
        out = stack[start + 1:]
        del stack[start:]
        return out

    for instruction, argument, _ in pickletools.genops(file):
        name, value = instruction.name, cast(Any, argument)
        if name in _PUSH:
            stack.append(_PUSH[name])
        elif name in _LITERALS:
            stack.append(value)
        elif name in ('EMPTY_DICT', 'EMPTY_LIST', 'EMPTY_TUPLE', 'MARK'):
            stack.append({'EMPTY_DICT': dict, 'EMPTY_LIST': list,
                          'EMPTY_TUPLE': tuple, 'MARK': _Mark}[name]())
        elif name in ('BINPUT', 'LONG_BINPUT'):
            memo[value] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(memo[value])
        elif name in _TUPLES:
            items = tuple(stack[-_TUPLES[name]:])
            del stack[-_TUPLES[name]:]
            stack.append(items)
        elif name == 'TUPLE':
            stack.append(tuple(pop_mark()))
        elif name == 'APPEND':
            item = stack.pop()
            stack[-1].append(item)
        elif name == 'APPENDS':
            items_ = pop_mark()
            stack[-1].extend(items_)
        elif name in ('SETITEM', 'SETITEMS'):
            pairs = (pop_mark() if name == 'SETITEMS' else
                     [stack.pop(-2), stack.pop()])
            for key, item in zip(pairs[::2], pairs[1::2], strict=True):
                # Hashing nested tuples would take exponential time.
                if not isinstance(key, (str, int)):
                    raise FormatError('a dictionary has a key of type '
                                      f'{type(key).__name__}')
                stack[-1][key] = item
        elif name == 'GLOBAL':
            stack.append(_Name(value.replace(' ', '.')))
        elif name == 'BINPERSID':
            stack.append(_storage(stack.pop(), storages))
        elif name == 'REDUCE':
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == 'BUILD':
            # The state of a module carries the versions of its parts.
            state = stack.pop()
            if type(stack[-1]) is not dict or type(state) is not dict:
                raise FormatError('it sets the attributes of an object')
        elif name == 'STOP':
            return stack.pop(), storages
        elif name != 'PROTO':
            raise FormatError(f'the instruction {name} does not belong into a '
                              'plain tensor file')
    raise FormatError('it ends too early')


def _storage(value: Any, storages: dict[str, _Storage]) -> _Storage:
    # ('storage', class, key, device, number of elements[, view])
    if (type(value) is not tuple or len(value) not in (5, 6)
            or value[0] != 'storage' or type(value[1]) is not _Name
            or type(value[2]) is not str or type(value[4]) is not int
            or value[4] < 0 or value[5:] not in ((), (None, ))):
        raise FormatError('it refers to a storage in an unknown way')
    kind = value[1].name.removeprefix('torch.')
    if kind not in DTYPES:
        raise FormatError(f'{value[1].name} is not a supported storage of '
                          'numbers')
    found = _Storage(value[2], DTYPES[kind], value[4])
    if storages.setdefault(found.key, found) != found:
        raise FormatError(f'the storage {found.key!r} has two types')
    return found


def _call(function: Any, arguments: Any) -> Any:
    name = function.name if type(function) is _Name else 'an object'
    if name == 'collections.OrderedDict' and arguments in ((), ([], )):
        return {}
    if name == 'torch._utils._rebuild_parameter' and len(arguments) == 3 \
            and type(arguments[0]) is StoredTensor:
        return arguments[0]
    if name != 'torch._utils._rebuild_tensor_v2':
        raise FormatError(f'it calls {name}, which no plain tensor needs')
    storage, offset, shape, stride = arguments[:4]
    if (type(storage) is not _Storage or type(shape) is not tuple
            or type(stride) is not tuple or len(shape) != len(stride)
            or len(shape) > MAX_DIMS
            or not all(type(n) is int and 0 <= n < 1 << 62
                       for n in (offset, *shape, *stride))):
        raise FormatError('it has a tensor without a valid shape')
    return StoredTensor(storage.key, storage.dtype, storage.numel, offset,
                        shape, stride)
