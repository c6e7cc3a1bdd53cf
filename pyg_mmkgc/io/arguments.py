r"""Introspection of constructors."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def arguments_of(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    r"""Returns the arguments of a constructor or another callable by name.
    This includes arguments that are passed on as :obj:`*args` or
    :obj:`**kwargs`, by a constructor to its base classes and by a class method
    to its class.
    """
    bound = getattr(call, '__self__', None)
    calls = [*getattr(call, '__mro__', [call])]
    if inspect.isclass(bound):
        calls += bound.__mro__
    out: dict[str, inspect.Parameter] = {}
    for item in calls:
        try:
            params = inspect.signature(item, eval_str=True).parameters
        except NameError:  # Hints that are imported for type checkers only.
            params = inspect.signature(item).parameters
        passed_on = [param for param in params.values() if param.kind in (
            param.VAR_KEYWORD, param.VAR_POSITIONAL)]
        for name, param in params.items():
            if param not in passed_on:
                out.setdefault(name, param)
        if not passed_on:
            break
    return out
