from __future__ import annotations

from typing import Any

FAST_PATHS = ('score_candidates', 'score_tails', 'score_heads')


class FastPaths:
    r"""Ties the fast forms of a score to the class that wrote the score.

    A subclass with a :meth:`score` of its own would inherit fast forms of
    another score. It gets the general ones, those of the first class that
    has them, unless it brings its own.
    """
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'score' not in vars(cls):
            return
        for name in FAST_PATHS:
            if name not in vars(cls):
                general = [vars(base)[name] for base in cls.__mro__
                           if name in vars(base)][-1]
                setattr(cls, name, general)
