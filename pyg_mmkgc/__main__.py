r"""``python -m pyg_mmkgc`` is the command :obj:`mmkgc`."""
from mmkgc import main

if __name__ == '__main__':
    raise SystemExit(main())
