r"""The model that answers the queries of a command."""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyg_mmkgc.runs import Answers


def open_model(args: argparse.Namespace, triples: bool = False) -> Answers:
    r"""Opens the model of a run, a saved model, or the model given as
    ``--model``.
    """
    from pyg_mmkgc.runs import PretrainedRun, open_answers

    if args.model is None:
        return open_answers(args.run, args.data_root, args.device, triples)
    return PretrainedRun(args.run, args.model, args.data_root,
                         args.device).answers()
