"""Makes Python find another machine: run by every process that has this
folder on ``PYTHONPATH``, those that tests start included. See ``.ci/machine``.

``TEST_HARDWARE=plain``
    A processor with AVX2, but neither AVX-512 nor bfloat16 nor AMX.
``TEST_NUMBA=generic``, ``TEST_NUMBA=absent``
    numba compiles for any processor of this kind, or is not installed.
"""

import importlib.util
import os
import sys
import types

LACKS = ('avx512', 'avx10', 'amx')


class _Plain:
    """Patches :obj:`torch.cpu` when it is imported."""
    def find_spec(self, name, path=None, target=None):
        if name != 'torch.cpu':
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            ask = module.get_capabilities
            module.get_capabilities = lambda: types.MappingProxyType({
                key: False if key.startswith(LACKS) else value
                for key, value in ask().items()})

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get('TEST_HARDWARE') == 'plain':
    # Read when the libraries are loaded: PyTorch's own loops, oneDNN, MKL,
    # OpenBLAS below numpy.
    os.environ |= {'ATEN_CPU_CAPABILITY': 'avx2', 'ONEDNN_MAX_CPU_ISA': 'AVX2',
                   'MKL_ENABLE_INSTRUCTIONS': 'AVX2',
                   'OPENBLAS_CORETYPE': 'Haswell'}
    sys.meta_path.insert(0, _Plain())

if os.environ.get('TEST_NUMBA') == 'generic':
    os.environ |= {'NUMBA_CPU_NAME': 'generic', 'NUMBA_CPU_FEATURES': ''}
elif os.environ.get('TEST_NUMBA') == 'absent':
    sys.modules['numba'] = None
