"""Kernels of Triton compile for a GPU, which the compiler does not need."""

import importlib.util
import os
import re
from typing import Any

import pytest

MESSAGES = ('product', 'sum', 'copy', 'rotation', 'inverse')
# The interpreter replaces the compiler in a whole process.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    importlib.util.find_spec('triton') is None
    or os.environ.get('TRITON_INTERPRET') == '1',
    reason='requires triton without its interpreter')]


@pytest.mark.parametrize('message', MESSAGES)
@pytest.mark.parametrize('dtype', ['fp32', 'fp64'])
@pytest.mark.parametrize('name', ['_sum', '_sum_backward_weight'])
def test_compiles(name: str, dtype: str, message: str) -> None:
    if name == '_sum_backward_weight' and message in ('copy', 'inverse'):
        pytest.skip('relations have no gradient')
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pyg_mmkgc.kernels import _triton_relational as kernels

    table = f'*{dtype}'
    kinds = [table, table, '*i64', '*i32', '*i32', table] + ['i32'] * 4
    constants: dict[str, Any] = {
        'MESSAGE': kernels.CODES[message], 'EDGES': kernels.EDGES,
        'CHANNELS': kernels.CHANNELS}
    kernel = getattr(kernels, name)
    signature = dict(zip(kernel.arg_names, kinds + ['constexpr'] * 3,
                         strict=True))
    for capability in (80, 90):
        out = triton.compile(
            ASTSource(kernel, signature, constants),
            target=GPUTarget('cuda', capability, 32))
        ptx = out.asm['ptx']
        assert f'sm_{capability}' in ptx and out.asm['cubin']
        # Sums of messages are in a fixed order.
        atomic = re.search(r'\b(atom|red)\.global', ptx) is not None
        assert atomic == (name == '_sum_backward_weight')
