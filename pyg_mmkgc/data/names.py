from __future__ import annotations

from collections.abc import Sequence


def places(names: Sequence[str] | None,
           ids: Sequence[str] | None = None) -> dict[str, int]:
    r"""Returns the node of each identifier and of each label. An identifier
    takes precedence over an equal label of another node, and labels that
    several nodes share are left out.

    Args:
        names (list[str] or None): The label of each node.
        ids (list[str], optional): The identifier of each node.
            (default: :obj:`None`)
    """
    out: dict[str, int] = {}
    shared: set[str] = set()
    for i, name in enumerate(names or ()):
        if out.setdefault(name, i) != i:
            shared.add(name)
    for name in shared:
        del out[name]
    out.update((name, i) for i, name in enumerate(ids or ()))
    return out
