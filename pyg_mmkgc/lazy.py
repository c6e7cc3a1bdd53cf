r"""Packages whose names are imported when they are first used."""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def lazy_names(package: str, names: Sequence[str],
               modules: Sequence[str]) -> Callable[[str], Any]:
    r"""Returns the :meth:`__getattr__` of a package. Importing PyG takes
    seconds, which :obj:`mmkgc --help` does not need.

    Args:
        package (str): The name of the package.
        names (list[str]): The public names of the package.
        modules (list[str]): The modules that define the names. They are
            imported in this order until one of them has the requested name.
    """
    def __getattr__(name: str) -> Any:
        for module in modules if name in names else ():
            value = getattr(import_module(module), name, None)
            if value is not None:
                setattr(sys.modules[package], name, value)
                return value
        # Modules are attributes, as if the package imported them.
        if f'{package}.{name}' in modules:
            return import_module(f'{package}.{name}')
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return __getattr__
