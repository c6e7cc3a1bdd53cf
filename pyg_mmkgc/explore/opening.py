r"""Explorers of the models on the command line."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.explore.explorer import Explorer, Subject
from pyg_mmkgc.explore.media import media_of
from pyg_mmkgc.runs import PretrainedRun, Run, open_answers
from pyg_mmkgc.runs.run import RANKINGS


def open_explorer(models: Sequence[str], kg: str | None = None,
                  data_root: str | None = None, device: str | None = None,
                  images: str | None = None,
                  texts: str | None = None) -> Explorer:
    r"""Opens one or two trained models.

    .. code-block:: python

        explorer = open_explorer(['runs/adamf_mat-countries-seed0'])
        serve(explorer)

    Args:
        models (list[str]): The folders of runs or saved models, or the names
            of models that need no training.
        kg (str, optional): The graph of saved models, as for
            :class:`~pyg_mmkgc.runs.PretrainedRun`. (default: :obj:`None`, the
            graph of a run)
        data_root (str, optional): The folder of the dataset's files.
            (default: :obj:`None`, as in the configuration)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`)
        images (str, optional): A folder of images or a table of their paths,
            as for ``mmkgc features images``. (default: :obj:`None`)
        texts (str, optional): A table of texts, as for
            ``mmkgc features texts``. (default: :obj:`None`)
    """
    subjects: list[Subject] = []
    config: Config | None = None
    paths = [pathlib.Path(model) for model in models]
    # Folders with the same name, such as RUN/model, need longer names.
    short = len({path.name for path in paths}) == len(paths)
    for model, path in zip(models, paths, strict=True):
        name = path.name if short else model
        if kg is not None:
            pretrained = PretrainedRun(kg, model, data_root, device)
            config = config or pretrained.config
            subjects.append(Subject(name, pretrained.answers()))
        elif (path.expanduser() / 'config.json').is_file():
            subjects.append(Subject(name, open_answers(model, None, device)))
        else:
            run = Run.open(model, data_root, device)
            config = config or run.config
            has_ranks = (run.folder / RANKINGS).is_file()
            subjects.append(Subject(name, run.answers(),
                                    run.rankings() if has_ranks else None))
    title = '' if config is None else config.dataset.name
    first = subjects[0].answers
    labels = getattr(first.model if first.graph is None else first.graph,
                     'node_names', None)
    return Explorer(subjects, media_of(config, labels, images, texts), title)
