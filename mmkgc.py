r"""The command :obj:`mmkgc`: what has to be set before torch is imported."""
import os

# Threads that wait for each other in a loop keep the core that another
# process of a busy machine needs to let them go on. Read by GNU OpenMP.
os.environ.setdefault('GOMP_SPINCOUNT', '1000')

from pyg_mmkgc.cli import main  # noqa: E402

if __name__ == '__main__':
    raise SystemExit(main())
