from __future__ import annotations

import functools
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Optional

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

from pyg_mmkgc.errors import DeviceError

#: The type of the device.
NAME = 'pretend'
_SETUP = '_setup_privateuseone_for_python_backend'
# Operators whose outputs have a size that depends on values, so that the host
# has to wait for them, and operators that return a number to the host.
_WAITS = {
    '_local_scalar_dense': 'item', 'nonzero': 'nonzero', '_unique': 'unique',
    '_unique2': 'unique', 'unique_dim': 'unique',
    'unique_consecutive': 'unique_consecutive',
    'unique_dim_consecutive': 'unique_consecutive',
    'masked_select': 'masked_select', 'bincount': 'bincount',
    'equal': 'equal', '_coalesce': 'coalesce', 'is_nonzero': 'item',
}
# Operators that may take operands on two devices.
_COPIES = {'copy_', 'copy', '_to_copy', '_copy_from'}
# Factories that PyTorch would implement by resizing an empty tensor.
_FACTORIES = ('arange', 'arange.start', 'arange.start_step', 'eye', 'eye.m',
              'linspace', 'logspace', 'randperm', 'range', 'range.step',
              'tril_indices', 'triu_indices')


class Waits:
    r"""The operations for which the host had to wait."""
    def __init__(self) -> None:
        #: The number of waits by operation, such as :obj:`"item"`,
        #: :obj:`"unique"`, :obj:`"mask"` or :obj:`"copy to the host"`.
        self.by_kind: Counter[str] = Counter()
        #: The number of waits by operation and line of code.
        self.by_line: Counter[str] = Counter()

    @property
    def total(self) -> int:
        r"""The number of all waits."""
        return self.by_kind.total()

    def __repr__(self) -> str:
        return f'{type(self).__name__}({dict(self.by_line)})'


_counting: list[Waits] = []
_lock = threading.Lock()
_library: list[Any] = []  # Operators are registered as long as this lives.


@contextmanager
def count_waits() -> Iterator[Waits]:
    r"""Context manager that counts the operations on the pretend device for
    which the host has to wait.

    .. code-block:: python

        with count_waits() as waits:
            trainer.fit()
        print(waits.total / len(trainer), waits)
    """
    waits = Waits()
    with _lock:
        _counting.append(waits)
    try:
        yield waits
    finally:
        with _lock:
            _counting.remove(waits)


def missing_accelerator() -> Optional[str]:
    r"""Returns the reason why a pretend device is not possible, or :obj:`None`
    if it is possible.

    .. code-block:: python

        @pytest.mark.skipif(missing_accelerator() is not None,
                            reason=missing_accelerator() or '')
    """
    if not hasattr(backend_registration, _SETUP):
        return (f'torch {torch.__version__} registers no devices that are '
                'written in Python (torch.utils.backend_registration.'
                f'{_SETUP})')
    name = torch._C._get_privateuse1_backend_name()
    if name not in ('privateuseone', NAME):
        return f"the device '{name}' is registered in place of '{NAME}'"
    return None


@functools.cache
def pretend_accelerator() -> torch.device:
    r"""Returns a device that computes on the CPU, and that behaves like a
    GPU.

    Tensors on this device hold their values in the memory of the host, and
    every operation computes the same values as on the CPU. In addition,
    :class:`~pyg_mmkgc.errors.DeviceError` is raised for operations that a GPU
    does not support or that hide a copy:

    * operands on two devices, except for scalars;
    * a random number generator of the CPU for numbers on the device;
    * :meth:`~torch.Tensor.numpy`, which raises PyTorch's :class:`TypeError`.

    :func:`count_waits` counts the operations for which the host has to wait.
    Random numbers without a generator come from the generator of the CPU, so a
    computation has the same results on both devices.

    .. code-block:: python

        device = pretend_accelerator()
        with count_waits() as waits:
            Trainer(model, kg, device=device).fit()

    Raises:
        DeviceError: If PyTorch does not support such a device, see
            :func:`missing_accelerator`.
    """
    reason = missing_accelerator()
    if reason is not None:
        raise DeviceError(f'Expected a version of torch that supports a '
                          f'pretend device (got none: {reason})')
    if torch._C._get_privateuse1_backend_name() != NAME:
        getattr(backend_registration, _SETUP)(
            rename=NAME, backend_module=_Module(NAME))
        # Tensors on the device reach `__torch_dispatch__` first, so this is
        # only called for new tensors.
        rest = torch.library.Library('_', 'IMPL')
        rest.fallback(_call, 'PrivateUse1')
        aten = torch.library.Library('aten', 'IMPL')
        for name in (*_FACTORIES, '_copy_from'):
            packet, _, overload = name.partition('.')
            operator = getattr(getattr(torch.ops.aten, packet),
                               overload or 'default')
            aten.impl(name, functools.partial(_call, operator), 'PrivateUse1')
        _library.extend([rest, aten])
        # The threads of the backward pass are started once, one per device
        # that PyTorch knew in the first backward pass of the process.
        torch.autograd.set_multithreading_enabled(False)
    return torch.device(NAME, 0)


class _Module:
    r"""The functions of the device that PyTorch requires."""
    def __init__(self, name: str) -> None:
        self.__name__ = f'torch.{name}'

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass  # Random numbers come from the generator of the CPU.

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    # Checkpoints of several processes copy tensors in a stream.
    def current_stream(self) -> _Stream:
        return _STREAM

    def stream(self, stream: _Stream) -> AbstractContextManager[None]:
        return nullcontext()


class _Stream:
    def synchronize(self) -> None:
        pass  # Every operation ends before the next one begins.


_STREAM = _Stream()


class PretendTensor(Tensor):
    r"""A tensor on the pretend device, see :func:`pretend_accelerator`."""
    _value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> PretendTensor:
        sparse = value.layout != torch.strided
        out = Tensor._make_wrapper_subclass(
            cls, value.size(), strides=None if sparse else value.stride(),
            storage_offset=None if sparse else value.storage_offset(),
            dtype=value.dtype, layout=value.layout,
            device=torch.device(NAME, 0))
        out._value = value
        return out

    def __repr__(  # type: ignore[override]
            self, *, tensor_contents: Any = None) -> str:
        return f"{self._value!r:.1000}[device='{NAME}']"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    # Modules assign `data` when their parameters change their type.
    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, x: Tensor) -> None:
        if not isinstance(x, PretendTensor):
            raise DeviceError(f"Expected a tensor on '{NAME}' as the data of "
                              f"a tensor on '{NAME}' (got '{x.device}')")
        Tensor.data.__set__(self, x)  # type: ignore[attr-defined]
        self._value = x._value

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
            cls, func: Any, types: Any, args: Any = (),
            kwargs: Optional[dict[str, Any]] = None) -> Any:
        return _call(func, *args, **(kwargs or {}))


def _call(operator: Any, *args: Any, **kwargs: Any) -> Any:
    r"""Computes an operator on the values of tensors on the device."""
    name = operator._schema.name.partition('::')[2]
    leaves = tree_leaves((args, kwargs))
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    _refuse(name, leaves, tensors)
    _count(name, args, kwargs)
    held: dict[int, Tensor] = {}  # The tensors that an operator changes.

    def unwrap(x: Any) -> Any:
        if isinstance(x, PretendTensor):
            held[id(x._value)] = x
            return x._value
        return x

    device = kwargs.get('device')
    values, options = tree_map(unwrap, (args, kwargs))
    if name == '_copy_from':  # The form of `copy_` below autograd.
        values[1].copy_(values[0])
        return args[1]
    if device is not None:
        options['device'] = torch.device('cpu')
    out = operator(*values, **options)
    if operator._schema.is_mutable:
        for x in tensors:
            if isinstance(x, PretendTensor) and x.shape != x._value.shape:
                raise DeviceError(f"Expected an operator that keeps the shape "
                                  f"of its operands on '{NAME}' (got "
                                  f"'{operator}')")
    to_host = (torch.device(device).type == 'cpu' if device is not None else
               isinstance(args[0], Tensor) and not isinstance(
                   args[0], PretendTensor) if name in _COPIES and args else
               False)
    if to_host:
        return out

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, PretendTensor):
            return x
        return held.get(id(x)) if id(x) in held else PretendTensor(x)

    return tree_map(wrap, out)


def _refuse(name: str, leaves: list[Any], tensors: list[Tensor]) -> None:
    for x in leaves:
        if isinstance(x, torch.Generator) and x.device.type == 'cpu':
            raise DeviceError(
                f"Expected a generator on '{NAME}' for '{name}' (got one on "
                "'cpu'). Draw the numbers on the CPU and copy them.")
    if name in _COPIES:
        return
    # A scalar on the host is an argument of the call.
    other = [x for x in tensors
             if not isinstance(x, PretendTensor) and x.dim() > 0]
    if other and len(other) < len(tensors):
        raise DeviceError(
            f"Expected all operands of '{name}' on one device (got a tensor "
            f"{list(other[0].shape)} on '{other[0].device}' among tensors on "
            f"'{NAME}')")


def _count(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    kind = _WAITS.get(name)
    if name in ('index', 'index_put', 'index_put_', '_index_put_impl_'):
        kind = _mask(args)
    elif name == 'repeat_interleave':
        # The host does not wait if the size of the output is given.
        counts = args[0] if len(args) == 1 else args[1]
        if isinstance(counts, Tensor) and kwargs.get('output_size') is None:
            kind = 'repeat_interleave'
    elif name == '_to_copy' and isinstance(args[0], PretendTensor):
        device = kwargs.get('device')
        if device is not None and torch.device(device).type == 'cpu':
            kind = 'copy to the host'
    elif name in ('copy_', '_copy_from'):
        to, source = args[:2] if name == 'copy_' else args[1::-1]
        blocking = not (kwargs.get('non_blocking') or args[2:] == (True, ))
        if not isinstance(to, PretendTensor):
            kind = 'copy to the host'
        elif not isinstance(source, PretendTensor) and blocking:
            kind = 'copy to the device'
    if kind is not None:
        line = _line()
        with _lock:
            for waits in _counting:
                waits.by_kind[kind] += 1
                waits.by_line[f'{kind} at {line}'] += 1


def _mask(args: Any) -> Optional[str]:
    masks = [x for x in args[1] if x is not None
             and x.dtype in (torch.bool, torch.uint8)]
    # Writing a scalar to a masked tensor does not need the positions.
    scalar = len(args) > 2 and args[2].numel() == 1 and not isinstance(
        args[2], PretendTensor)
    return 'mask' if masks and not scalar else None


def _line() -> str:
    r"""Returns the innermost line of code outside of PyTorch."""
    frame: Any = sys._getframe(3)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and '/torch/' not in file.replace('\\', '/'):
            return f'{file}:{frame.f_lineno}'
        frame = frame.f_back
    return 'the backward pass'
