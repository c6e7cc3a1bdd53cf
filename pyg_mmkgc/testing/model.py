from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Optional, cast

from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.testing import learning, path, scores, state
from pyg_mmkgc.testing.subject import Build, Subject, named, run_check

#: All checks of a model by name.
MODEL_CHECKS: dict[str, Callable[[Subject], None]] = named(
    scores.check_finite,
    scores.check_shapes,
    scores.check_broadcasting,
    scores.check_fuse_broadcasts,
    scores.check_score_tails,
    scores.check_score_heads,
    scores.check_score_candidates,
    scores.check_batch_of_0_and_1,
    scores.check_out_of_range,
    scores.check_float64,
    scores.check_eval_is_deterministic,
    state.check_gradients,
    state.check_reset_parameters,
    state.check_state_dict,
    state.check_pretrained,
    state.check_seed,
    learning.check_higher_is_better,
    learning.check_modality_dropped,
    learning.check_modality_missing,
    learning.check_mat,
    learning.check_overfits,
)


#: Every check of a path model, by name.
PATH_CHECKS: dict[str, Callable[[path.PathSubject], None]] = named(
    path.check_finite,
    path.check_score_all,
    path.check_batch_of_0_and_1,
    path.check_out_of_range,
    path.check_eval_is_deterministic,
    path.check_any_numbering,
    path.check_own_edges,
    path.check_gradients,
    path.check_reset_parameters,
    path.check_pretrained,
    path.check_seed,
    path.check_higher_is_better,
)


def check_model(model: Build, *, checks: Optional[Sequence[str]] = None,
                lr: float = 0.05, epochs: int = 100,
                **kwargs: Any) -> None:
    r"""Checks that a model fulfills the contract of
    :class:`~pyg_mmkgc.nn.kge.MMKGEModel` or
    :class:`~pyg_mmkgc.nn.path.PathModel`, on small graphs with the modalities
    :obj:`visual` and :obj:`text`. In particular, :obj:`fuse` and
    :obj:`score` have to broadcast their arguments.

    .. code-block:: python

        check_model(MyModel, hidden_channels=4, lr=0.1)

    Args:
        model: A subclass of :class:`~pyg_mmkgc.nn.kge.MMKGEModel` or
            :class:`~pyg_mmkgc.nn.path.PathModel`, or a function that builds a
            model of the former for a
            :class:`~pyg_mmkgc.data.KnowledgeGraph`.
        checks (list[str], optional): The names of the checks, see
            :obj:`MODEL_CHECKS` and :obj:`PATH_CHECKS`. (default: all)
        lr (float, optional): The learning rate for training.
            (default: :obj:`0.05`)
        epochs (int, optional): The number of steps in which a model needs to
            memorize 50 triples. (default: :obj:`100`)
        **kwargs (optional): The :obj:`loss` for training, and the
            :obj:`sampler`, a function that builds a negative sampler or
            :obj:`None` for the model's own loss. All other arguments are
            passed to the class.

    Raises:
        AssertionError: If a check fails. The message starts with its name.
    """
    if inspect.isclass(model) and issubclass(model, PathModel):
        mine = path.PathSubject(model, kwargs, lr)
        for name in PATH_CHECKS if checks is None else checks:
            run_check(name, PATH_CHECKS[name], mine)
        return
    how = {key: kwargs.pop(key) for key in ('sampler', 'loss')
           if key in kwargs}
    subject = Subject(cast(Build, model), kwargs, lr, epochs, **how)
    for name in MODEL_CHECKS if checks is None else checks:
        run_check(name, MODEL_CHECKS[name], subject)

