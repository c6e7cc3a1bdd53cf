"""Files of ``torch.save`` are read as in PyTorch, within their size."""

import pickle
import resource
import struct
import zipfile

import pytest
import torch

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.features import load_features
from pyg_mmkgc.io.torch_file import MAX_PICKLE, StoredTensor, open_torch


def read(path):
    """Returns the whole content of a file, like ``torch.load``."""
    file = open_torch(path)

    def fill(value):
        if isinstance(value, StoredTensor):
            return file.read(value)
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(fill, value))
        return value

    return fill(file.content)


def same(a, b):
    if isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in b)
    if isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


base = torch.arange(60).view(3, 4, 5)
CONTENTS = [
    *[base.to(dtype) for dtype in (
        torch.half, torch.bfloat16, torch.float, torch.double, torch.uint8,
        torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
        torch.complex64, torch.complex128)],
    base[1], base[:, 1], base[..., 1:3], base.transpose(0, 2), base[2, 3, 4],
    torch.nn.Parameter(torch.randn(2, 3)),
    torch.nn.Linear(3, 2).state_dict(),
    {'a': base, 'b': [base[0], (1, -2.5, None, True)], 'c': {3: 'é' * 300}},
    {'shared': base[0], 'twice': base[1]},
    [], {}, 'text', 1 << 70, -5, [[], [(), (1, 2), (1, 2, 3, 4)]],
]


@pytest.mark.parametrize('new', [True, False])
@pytest.mark.parametrize('content', CONTENTS)
def test_as_pytorch_reads_it(tmp_path, content, new):
    path = tmp_path / 'x.pth'
    torch.save(content, path, _use_new_zipfile_serialization=new)
    assert same(read(path), torch.load(path))


# Hostile pickles, written instruction by instruction.


def text(value):
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def number(value):
    data = value.to_bytes(9, 'little', signed=True)
    return b'\x8a' + bytes([len(data)]) + data


def numbers(*values):
    return b'(' + b''.join(map(number, values)) + b't'


def storage(numel, kind='FloatStorage'):
    return (b'(' + text('storage') + f'ctorch\n{kind}\n'.encode() + text('0')
            + text('cpu') + number(numel) + b'tQ')


def tensor(shape, stride, numel=15, offset=0, kind='FloatStorage'):
    return (b'ctorch._utils\n_rebuild_tensor_v2\n(' + storage(numel, kind)
            + number(offset) + numbers(*shape) + numbers(*stride)
            + b'\x89ccollections\nOrderedDict\n)RtR')


def write(path, instructions, content=bytes(60), legacy=False):
    instructions = b'\x80\x02' + instructions + b'.'
    if legacy:
        head = [0x1950a86a20f9469cfc6c, 1001,
                {'protocol_version': 1001, 'little_endian': True}]
        path.write_bytes(
            b''.join(pickle.dumps(x, 2) for x in head) + instructions
            + pickle.dumps(['0'], 2) + struct.pack('<q', len(content) // 4)
            + content)
        return
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('x/data.pkl', instructions)
        file.writestr('x/data/0', content)


@pytest.mark.parametrize('legacy', [False, True])
def test_by_hand(tmp_path, legacy):
    content = torch.arange(15.).numpy().tobytes()
    write(tmp_path / 'x.pth', tensor((5, 3), (3, 1)), content, legacy)
    x = load_features(tmp_path / 'x.pth')
    assert torch.equal(x, torch.arange(15.).view(5, 3))


TWICE = b'q\0h\0'
HOSTILE = {
    # Functions of PyTorch's restricted reader that allocate memory.
    'FloatTensor': b'ctorch\nFloatTensor\n' + numbers(5, 3) + b'R',
    'bytearray': b'c__builtin__\nbytearray\n' + numbers(1000) + b'R',
    'nothing': tensor((0, 1 << 40), (1, 1)),
    'no columns': tensor((1 << 40, 0), (1, 1)),
    'more rows than stored': tensor((6, 3), (3, 1)),
    'more stored than there': tensor((6, 3), (3, 1), numel=18),
    'one number for all': tensor((1 << 20, 1 << 20), (0, 0)),
    'the last row outside': tensor((5, 3), (4, 1)),
    'a start outside': tensor((5, 3), (3, 1), offset=1),
    'a start before': tensor((5, 3), (3, 1), offset=-1),
    'a shape below zero': tensor((-5, -3), (3, 1)),
    'a long number': tensor((1 << 62, 3), (3, 1)),
    'strides missing': tensor((5, 3), (3, )),
    'another storage': tensor((5, 3), (3, 1)).replace(
        text('0') + text('cpu'), text('1') + text('cpu')),
    'a path as storage': tensor((5, 3), (3, 1)).replace(
        text('0') + text('cpu'), text('../x') + text('cpu')),
    'no storage': b'ctorch._utils\n_rebuild_tensor_v2\n(' + numbers(1, 2, 3)
                  + number(0) + numbers(5, 3) + numbers(3, 1) + b'tR',
    'an unknown type': tensor((5, 3), (3, 1), kind='QInt8Storage'),
    'untyped': tensor((5, 3), (3, 1), kind='storage.UntypedStorage'),
    'no mark': b't',
    'an empty stack': b'0',
    'no memory there': b'h\x05',
    'a method of a number': number(3) + b']a',
    # Hashing 100 nested tuples takes 2 ** 100 steps.
    'nested keys': b'})' + (TWICE + b'\x86') * 100 + b'Ns',
    'an object': b'cbuiltins\nobject\n)\x81',
    'attributes': b'ccollections\nOrderedDict\n)R}}b' + b'0',
    'a name from the stack': text('torch') + text('FloatTensor') + b'\x93',
    'an extension': b'\x82\x01',
    'an endless string': b'X\xff\xff\xff\xff',
    'an endless number': b'\x8b\xff\xff\xff\x7f',
}


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('name', list(HOSTILE))
def test_hostile_instructions(tmp_path, name, legacy):
    path = tmp_path / 'x.pth'
    write(path, HOSTILE[name], legacy=legacy)
    with pytest.raises(FormatError, match=r"^Expected '.*x\.pth' to "):
        load_features(path)


def test_places_in_memory_cost_nothing(tmp_path):
    """The compiled unpickler would allocate 32 GB for this memo index."""
    write(tmp_path / 'x.pth', tensor((5, 3), (3, 1)) + b'r\xff\xff\xff\x7f')
    assert load_features(tmp_path / 'x.pth').shape == (5, 3)


def test_deep_and_long_instructions(tmp_path):
    path = tmp_path / 'x.pth'
    write(path, b']' * 100_000 + b'a' * 99_999)
    with pytest.raises(FormatError, match='got list'):
        load_features(path)
    write(path, b'N0' * (MAX_PICKLE // 2 + 1))
    with pytest.raises(FormatError, match='more than 2,097,152'):
        load_features(path)


def limited(path, pipe):
    """Loads a file with little memory left and reports the outcome."""
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), ) * 2)
    try:
        load_features(path)
    except FormatError as error:
        pipe.send(str(error))
    except BaseException as error:
        pipe.send(f'{type(error).__name__} instead: {error}')
    else:
        pipe.send('loaded')


@pytest.mark.parametrize('name', ['FloatTensor', 'bytearray'])
def test_a_small_file_takes_little_memory(tmp_path, name, in_a_fork):
    size = numbers(1 << 14, 1 << 15)  # 2 GiB of floats.
    if name == 'bytearray':
        size = numbers(1 << 31)
    write(tmp_path / 'x.pth', HOSTILE[name].partition(b'(')[0] + size + b'R')
    assert (tmp_path / 'x.pth').stat().st_size < 500
    message = in_a_fork(limited, tmp_path / 'x.pth')
    assert 'calls ' in message and name in message
