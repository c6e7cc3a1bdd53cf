r"""The pages as files in a folder, for any web server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.evaluation.labels import node_ids, relation_ids
from pyg_mmkgc.explore.app import suggestion
from pyg_mmkgc.explore.assets import ASSETS, read_asset
from pyg_mmkgc.explore.explorer import Explorer
from pyg_mmkgc.explore.links import Page, Question, SiteLinks, file_of, page
from pyg_mmkgc.explore.pages import Pages
from pyg_mmkgc.io.atomic import temporary_folder
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.runs.answers import label_or_id

# The default number of questions of a site.
QUESTIONS = 12


def export_site(explorer: Explorer, folder: str,
                queries: Sequence[tuple[Any, Any, Any]] | None = None,
                k: int = 10) -> int:
    r"""Writes a site that shows the answers to some questions. It has a page
    for each question, for each explained answer, for the entities, for the
    map, and a start page. If the ranks of the test triples have been computed,
    it also has pages for failures and for the comparison of models.

    If an error occurs, no files are left behind.

    Args:
        explorer (Explorer): The contents of the pages.
        folder (str): The new folder.
        queries (list[tuple], optional): The head, relation and tail of each
            question as ids or labels, with :obj:`None` for the part to
            predict. (default: :obj:`None`, one question about a test triple of
            each of the twelve most frequent relations)
        k (int, optional): The number of answers. (default: :obj:`10`)

    Returns:
        The number of pages.

    Raises:
        ConfigError: If the folder is not empty, or there are no questions.
    """
    path = user_path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"Expected a new or empty folder (got '{folder}')")
    questions = (default_questions(explorer) if queries is None else
                 [_ids(explorer, query) for query in queries])
    if not questions:
        raise ConfigError('Expected at least one question to export (got '
                          'none)')
    links = SiteLinks(_plan(explorer, questions, k))
    pages = Pages(explorer, links)
    with temporary_folder(path) as temp:
        for name, options in sorted(links.pages, key=str):
            values = dict(options)
            if name == 'ask':
                values['k'] = k
            (temp / file_of((name, options))).write_text(
                pages.render(name, **values), 'utf-8')
        (temp / 'search.json').write_text(json.dumps([
            suggestion(explorer, links, node) for node in links.entities()]),
            'utf-8')
        for name in ASSETS:
            (temp / name).write_bytes(read_asset(name))
        for node in links.pictures:
            content = explorer.media.thumbnail(node)
            if content is not None:
                (temp / f'picture-{node}.png').write_bytes(content)
        temp.chmod(0o755)  # A web server may belong to another user.
        if path.exists():
            path.rmdir()
        temp.rename(path)
    return len(links.pages)


def default_questions(explorer: Explorer) -> list[Question]:
    r"""Returns a question about a test triple of each of the most frequent
    relations, or about another triple if a relation has no test triples.
    """
    if not explorer.has_graph or explorer.graph.num_edges == 0:
        return []
    return Pages(explorer, SiteLinks(set())).examples(QUESTIONS)


def _ids(explorer: Explorer, query: tuple[Any, Any, Any]) -> Question:
    if query.count(None) != 1:
        raise ConfigError('Expected two of a head, a relation and a tail in '
                          f'each question (got {query!r})')
    names = explorer.node_names, explorer.relation_names, explorer.node_names
    out = []
    for value, labels, find in zip(
            query, names, (node_ids, relation_ids, node_ids), strict=True):
        if isinstance(value, str):
            value = label_or_id(value, labels)
        out.append(None if value is None else int(
            find(explorer.graph, value)[0]))
    return out[0], out[1], out[2]


def _plan(explorer: Explorer, questions: Sequence[Question],
          k: int) -> set[Page]:
    out = {page('home'), page('search')}
    nodes: set[int] = set()
    several = range(len(explorer.subjects))
    for head, relation, tail in questions:
        out.add(page('ask', head=head, relation=relation, tail=tail))
        nodes |= {node for node in (head, tail) if node is not None}
        for i in several:
            found = explorer.predict(i, head, relation, tail, k)
            for answer in found.answer[0].tolist():
                if answer < 0:
                    continue
                triple = [answer if value is None else value
                          for value in (head, relation, tail)]
                nodes |= {triple[0], triple[2]}
                if explorer.has_graph:
                    out.add(page('why', head=triple[0], relation=triple[1],
                                 tail=triple[2], run=i or None))
    out |= {page('entity', node=node) for node in nodes}
    for i in several:
        if explorer.has_table(i):
            out.add(page('map', run=i or None))
        if explorer.rankings(i) is not None:
            out.add(page('failures', run=i or None))
    if len(explorer.subjects) == 2 and explorer.compare() is not None:
        out.add(page('compare'))
    return out
