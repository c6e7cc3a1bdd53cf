r"""Output of the commands."""
from __future__ import annotations

import json
from typing import Any

from pyg_mmkgc.errors import printable


def show(value: Any) -> None:
    r"""Prints a value. Control characters are escaped, since names of files
    and modalities may contain anything.
    """
    print(printable(str(value), lines=True))


def show_json(value: Any) -> None:
    r"""Prints plain values as JSON."""
    show(json.dumps(value, indent=2, ensure_ascii=False))
