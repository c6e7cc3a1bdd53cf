r"""Lists of strings as tensors of bytes."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import FormatError

# The number of strings from which a list is stored as bytes.
MANY = 100_000


def pack_strings(strings: Sequence[str]) -> tuple[Tensor, Tensor]:
    r"""Returns the UTF-8 bytes of all strings, and the end of each string
    among them.
    """
    parts = [text.encode('utf-8', 'surrogatepass') for text in strings]
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    data = np.frombuffer(b''.join(parts), dtype=np.uint8)
    return torch.from_numpy(data.copy()), torch.from_numpy(ends)


def unpack_strings(data: Tensor, ends: Tensor, where: str) -> list[str]:
    r"""Returns the strings that :func:`pack_strings` packed.

    Args:
        data (torch.Tensor): The bytes.
        ends (torch.Tensor): The ends.
        where (str): The place of both, for errors.

    Raises:
        FormatError: If the bytes are no strings.
    """
    size = data.numel()
    if (data.dtype != torch.uint8 or ends.dtype != torch.long
            or data.dim() != 1 or ends.dim() != 1
            or bool((ends.diff() < 0).any())
            or (ends.numel() > 0 and (int(ends[0]) < 0
                                      or int(ends[-1]) != size))
            or (ends.numel() == 0 and size > 0)):
        raise FormatError(f'Expected the bytes of labels and their ends in '
                          f'{where} (got others)')
    content, start, out = data.numpy().tobytes(), 0, []
    try:
        for end in ends.tolist():
            out.append(content[start:end].decode('utf-8', 'surrogatepass'))
            start = end
    except UnicodeDecodeError as error:
        raise FormatError(f'Expected labels in UTF-8 in {where} (got an '
                          f'error: {error})') from error
    return out
