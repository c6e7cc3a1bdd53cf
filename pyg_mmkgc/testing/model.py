from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyg_mmkgc.testing import learning, scores, state
from pyg_mmkgc.testing.subject import Build, Subject, named, run_check

#: All checks of a model by name.
MODEL_CHECKS: dict[str, Callable[[Subject], None]] = named(
    scores.check_finite,
    scores.check_shapes,
    scores.check_broadcasting,
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


def check_model(model: Build, *, checks: Sequence[str] = tuple(MODEL_CHECKS),
                lr: float = 0.05, epochs: int = 100,
                **kwargs: Any) -> None:
    r"""Checks that a model fulfills the contract of
    :class:`~pyg_mmkgc.nn.kge.MMKGEModel`, on small graphs with the modalities
    :obj:`visual` and :obj:`text`.

    .. code-block:: python

        check_model(MyModel, hidden_channels=4, lr=0.1)

    Args:
        model: A subclass of :class:`~pyg_mmkgc.nn.kge.MMKGEModel`, or a
            function that builds a model for a
            :class:`~pyg_mmkgc.data.KnowledgeGraph`.
        checks (list of str, optional): The names of the checks, see
            :obj:`MODEL_CHECKS`. (default: all)
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
    how = {key: kwargs.pop(key) for key in ('sampler', 'loss')
           if key in kwargs}
    subject = Subject(model, kwargs, lr, epochs, **how)
    for name in checks:
        run_check(name, MODEL_CHECKS[name], subject)

