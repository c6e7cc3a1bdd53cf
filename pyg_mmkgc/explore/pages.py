r"""The pages as HTML."""

from __future__ import annotations

from typing import Any

import jinja2

from pyg_mmkgc.errors import ConfigError, MMKGCError, printable
from pyg_mmkgc.explore.drawing import (
    NUM_COLORS,
    choose_neighbours,
    draw_ego,
    free_labels,
)
from pyg_mmkgc.explore.explorer import Explorer, by_share
from pyg_mmkgc.explore.links import Links, Question
from pyg_mmkgc.explore.projection import available
from pyg_mmkgc.typing import Side

# The maximum numbers of entries on a page.
ANSWERS = 100
RESULTS = 50
MEMBERS = 6
GROUPS = 40
ROWS = 50
RELATIONS = 1000
# The maximum length of a label in a narrow and in a wide place.
SHORT, LONG = 60, 400
SPLITS = {'train': 'training', 'val': 'validation', 'test': 'test',
          'filter': 'filter'}


class NotFound(MMKGCError):
    r"""There is no such page."""


class Pages:
    r"""Renders the pages of an explorer. Every method returns the HTML of
    one page.

    Args:
        explorer (Explorer): The contents of the pages.
        links (Links): The addresses of the pages.
    """
    def __init__(self, explorer: Explorer, links: Links) -> None:
        self.explorer, self.links = explorer, links
        self._env = jinja2.Environment(
            loader=jinja2.PackageLoader('pyg_mmkgc.explore'),
            autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True)
        self._env.globals.update(
            explorer=explorer, links=links, subjects=explorer.subjects,
            has_map=any(explorer.has_table(i)
                        for i in range(len(explorer.subjects))),
            has_test=explorer.has_test_triples(), splits=SPLITS,
            long=LONG)
        self._env.filters.update(
            show=show, shown=lambda text: show(text, LONG), rank=rank,
            number=lambda x: f'{x:,}', percent=lambda x: f'{100 * x:.1f}',
            score=lambda x: f'{x:.3f}'.replace('-', '\u2212'))

    def render(self, name: str, **options: Any) -> str:
        r"""Returns the HTML of the page with a given name.

        Raises:
            NotFound: If there is no such page.
            MMKGCError: If the page has nothing to show.
        """
        makers = {'home': self.home, 'search': self.search,
                  'entity': self.entity, 'triples': self.triples,
                  'ask': self.ask, 'why': self.why, 'similar': self.similar,
                  'failures': self.failures, 'compare': self.compare,
                  'map': self.map}
        return makers[name](**options)  # type: ignore[operator]

    def home(self) -> str:
        r"""The start page."""
        x = self.explorer
        results = [x.rankings(i) for i in range(len(x.subjects))]
        popular = x.adjacency.degree.topk(min(12, x.num_nodes)).indices
        return self._page(
            'home.html', results=results, counts=self._counts(),
            popular=[i for i in popular.tolist() if x.has_graph]
            if self.links.live else self.links.entities(),
            examples=self.examples(6) if self.links.live else
            self.links.questions())

    def search(self, q: str = '') -> str:
        r"""The nodes whose labels contain a text."""
        if not self.links.live:  # The script of a site filters them.
            return self._page('search.html', q='', more=False,
                              found=self.links.entities())
        found = self.explorer.search(q, RESULTS + 1)
        return self._page('search.html', q=q, found=found[:RESULTS],
                          more=len(found) > RESULTS)

    def entity(self, node: int) -> str:
        r"""A node: its picture, text, numbers, neighbours and triples."""
        x = self.explorer
        self._check(node=node)
        groups = x.adjacency.groups(node)
        spokes = choose_neighbours(x.adjacency, node, 14)
        sections = []
        for group in groups[:GROUPS]:
            members, split = x.adjacency.members(group, limit=MEMBERS)
            sections.append({'group': group, 'members': list(
                zip(members, split, strict=True))})
        return self._page(
            'entity.html', node=node, sections=sections,
            num_more=len(groups) - len(sections),
            wide=draw_ego(x.adjacency, spokes, 720, 400, below=False),
            narrow=draw_ego(x.adjacency, spokes[::2] if len(spokes) > 8 else
                            spokes, 360, 380, below=True),
            legend=self._legend(spokes), numbers=self._numbers(node),
            relations=self._relations(), similar=[
                None if self.links.live or not x.has_table(i) else
                self._similar(i, node) for i in range(len(x.subjects))],
            questions=[
                (group.rel_type, group.side) for group in groups[:12]]
            if self.links.live else [
                (relation, 'tail' if tail is None else 'head')
                for head, relation, tail in self.links.questions()
                if relation is not None and node in (head, tail)])

    def triples(self, node: int, relation: int, side: Side,
                start: int = 0) -> str:
        r"""The triples of a node with one relation, some at a time."""
        self._check(node=node, relation=relation, side=side)
        group = self.explorer.adjacency.group(node, relation, side)
        last = max(group.num_triples - 1, 0) // ROWS * ROWS
        start = max(0, min(start, last))
        members, split = self.explorer.adjacency.members(group, start, ROWS)
        return self._page('triples.html', node=node, group=group, start=start,
                          rows=ROWS,
                          members=list(zip(members, split, strict=True)))

    def ask(self, head: int | None = None, relation: int | None = None,
            tail: int | None = None, k: int = 10, new: int = 0) -> str:
        r"""The best answers to a question, by each model."""
        x = self.explorer
        self._check(head=head, relation=relation, tail=tail)
        given = 3 - (head, relation, tail).count(None)
        if given != 2:
            raise ConfigError('Expected two of a head, a relation and a tail '
                              f'to ask for the third (got {given})')
        k = max(1, min(k, ANSWERS))
        columns = []
        for i in range(len(x.subjects)):
            found = x.predict(i, head, relation, tail, k, bool(new))
            columns.append(self._answers(found))
        asked = ('head' if head is None else 'tail' if tail is None else
                 'relation')
        places = [{row['id']: row['rank'] for row in column}
                  for column in columns]
        return self._page(
            'ask.html', head=head, relation=relation, tail=tail, asked=asked,
            k=k, new=new, columns=columns, places=places,
            left_out=bool(found.left_out[0]), limit=ANSWERS,
            relations=self._relations())

    def why(self, head: int, relation: int, tail: int, run: int = 0) -> str:
        r"""An explanation of the score of a triple."""
        self._check(head=head, relation=relation, tail=tail, run=run)
        if not self.explorer.has_graph:
            raise ConfigError('Expected a graph to explain a triple (got '
                              'none). Open a run, or pass --kg.')
        found = self.explorer.explain(run, head, relation, tail)
        return self._page(
            'why.html', head=head, relation=relation, tail=tail, run=run,
            found=found, near=[
                (near, self.explorer.find(near.head),
                 self.explorer.find(near.tail))
                for near in found.nearest or []])

    def similar(self, node: int, run: int = 0, bare: int = 0) -> str:
        r"""The nodes with similar representations."""
        self._check(node=node, run=run)
        return self._page(
            'similar_list.html' if bare else 'similar.html', node=node,
            run=run, found=self._similar(run, node))

    def failures(self, run: int = 0, group: str | None = None,
                 label: str | None = None, compute: int = 0) -> str:
        r"""The failures of a model: slices and the worst test triples."""
        self._check(run=run)
        x = self.explorer
        if x.rankings(run, bool(compute)) is None:
            return self._page('unranked.html', page='failures', run=run)
        slices = x.slices(run)
        return self._page(
            'failures.html', run=run, group=group, label=label,
            result=x.rankings(run), relations=by_share(
                slices['relation'])[:ROWS],
            num_relations=len(slices['relation']),
            slices={name: value for name, value in slices.items()
                    if name != 'relation'},
            worst=x.failures(run, group, label))

    def compare(self, compute: int = 0) -> str:
        r"""Two models on the test triples."""
        x = self.explorer
        if len(x.subjects) < 2:
            raise NotFound('Expected two runs to compare')
        for i in range(2):
            if x.rankings(i, bool(compute)) is None:
                return self._page('unranked.html', page='compare', run=i)
        return self._page(
            'compare.html', found=x.compare(),
            sides=[x.disagreements(i) for i in range(2)])

    def map(self, run: int = 0, method: str = 'pca',
            node: int | None = None) -> str:
        r"""The representations of nodes in the plane."""
        self._check(run=run, node=node)
        x = self.explorer
        nodes, place = x.map_points(run, method, node)
        roles = x.roles()
        kinds: dict[Any, int] = {}
        for role in roles.values():
            if role is not None:
                kinds[role] = kinds.get(role, 0) + 1
        common = sorted(kinds, key=lambda role: -kinds[role])[:NUM_COLORS]
        color = {role: i for i, role in enumerate(common)}
        width, height, edge = 1000, 640, 24
        points = [
            (i, round(edge + (width - 2 * edge) * px, 1),
             round(height - edge - (height - 2 * edge) * py, 1),
             color.get(roles.get(i), NUM_COLORS))
            for i, (px, py) in zip(nodes.tolist(), place.tolist(),
                                   strict=True)]
        here = next((point for point in points if point[0] == node), None)
        degree = x.adjacency.degree
        first = sorted(points, key=lambda point: -int(degree[point[0]]))[:60]
        if here is not None:
            first.insert(0, here)
        free = free_labels([(px + 8, py) for _, px, py, _ in first],
                           [show(x.label(i), 24) for i, *_ in first], 14)
        named = [first[i] for i in free]
        # On a phone, the letters take twice the room of the drawing.
        few = free_labels([(px + 8, py) for _, px, py, _ in named],
                          [show(x.label(i), 24) for i, *_ in named], 5,
                          letter=15.0, line=40.0)
        return self._page(
            'map.html', run=run, method=method, node=node, points=points,
            here=here, named=named,
            few={named[i][0] for i in few}, width=width,
            height=height, methods=available(),
            legend=[(role, kinds[role]) for role in common],
            num_other=len(nodes) - sum(kinds[role] for role in common))

    def problem(self, status: int, text: str) -> str:
        r"""The page of an error."""
        return self._page('problem.html', status=status, text=text)

    # Inside ##################################################################

    def _page(self, template: str, **values: Any) -> str:
        return self._env.get_template(template).render(**values)

    def _check(self, node: int | None = None, head: int | None = None,
               tail: int | None = None, relation: int | None = None,
               side: str | None = None, run: int | None = None) -> None:
        x = self.explorer
        for value, size, kind in (
                (node, x.num_nodes, 'node'), (head, x.num_nodes, 'node'),
                (tail, x.num_nodes, 'node'),
                (relation, x.num_relations, 'relation'),
                (run, len(x.subjects), 'run')):
            if value is not None and not 0 <= value < size:
                raise NotFound(f'Expected a {kind} from 0 to {size - 1} (got '
                               f'{value})')
        if side not in (None, 'head', 'tail'):
            raise NotFound(f"Expected a side, 'head' or 'tail' (got {side!r})")

    def _answers(self, found: Any) -> list[dict[str, Any]]:
        x = self.explorer
        answers = found.to_dict()[0][f'{found.side}s']
        low = min((row['score'] for row in answers), default=0.0)
        high = max((row['score'] for row in answers), default=0.0)
        rows = []
        for place, row in enumerate(answers, 1):
            ids = {'head': found.head, 'relation': found.rel_type,
                   'tail': found.tail}
            triple = [row['id'] if part == found.side else int(value[0])
                      for part, value in ids.items()]
            rows.append({
                'id': row['id'], 'rank': place, 'score': row['score'],
                'triple': triple,
                'split': (x.adjacency.split_of(*triple) if x.has_graph
                          else None),
                # The worst answer shown still has a bar.
                'bar': 100.0 if high == low else round(
                    6 + 94 * (row['score'] - low) / (high - low), 1)})
        return rows

    def _similar(self, run: int, node: int) -> list[tuple[int, float]]:
        found = self.explorer.similar(run, node)
        return list(zip(found.node[0].tolist(), found.similarity[0].tolist(),
                        strict=True))

    def _counts(self) -> list[tuple[str, int]]:
        x = self.explorer
        out = [('entities', x.num_nodes), ('relations', x.num_relations)]
        if x.has_graph:
            out += [(f'{SPLITS[name]} triples', int(
                x.graph[f'{name}_mask'].sum()) if f'{name}_mask' in x.graph
                else x.graph.num_edges if name == 'train' else 0)
                for name in ('train', 'val', 'test')]
        return [(name, count) for name, count in out if count > 0]

    def examples(self, limit: int) -> list[Question]:
        r"""Returns one question for each of the most frequent relations,
        about a test triple where there is one.
        """
        x = self.explorer
        if not x.has_graph or x.graph.num_edges == 0:
            return []
        rel = x.graph.edge_type.cpu()
        usable = (x.graph.test_mask.cpu() if x.has_test_triples() else
                  rel >= 0)
        out: list[Question] = []
        for r in x.adjacency.relation_count.argsort(
                descending=True, stable=True)[:limit].tolist():
            place = (usable & (rel == r)).nonzero()[:, 0]
            if place.numel() > 0:
                heads = x.graph.edge_index[0].cpu()[place]
                best = x.adjacency.degree[heads].argmax()
                out.append((int(heads[best]), r, None))
        return out

    def _numbers(self, node: int) -> list[tuple[str, str]]:
        x = self.explorer
        out = [('Id', str(node))]
        if x.has_graph:
            out += [('Triples', f'{int(x.adjacency.degree[node]):,}'),
                    ('of them training',
                     f'{int(x.adjacency.train_degree[node]):,}')]
        for name, there in x.modalities(node).items():
            out.append((f'{name} features', 'yes' if there else 'missing'))
        for i, subject in enumerate(x.subjects):
            found = x.node_results(i, node)
            if found is not None:
                more = f' by {subject.name}' if len(x.subjects) > 1 else ''
                out.append((f'Test MRR as an answer{more}',
                            f'{100 * found[1]:.1f} % ({found[0]:,} '
                            'rankings)'))
        return out

    def _relations(self) -> list[int]:
        count = self.explorer.adjacency.relation_count
        order = count.argsort(descending=True, stable=True)[:RELATIONS]
        return sorted(order.tolist(),
                      key=lambda i: self.explorer.relation(i).casefold())

    def _legend(self, spokes: Any) -> list[tuple[int, str]]:
        colors: dict[int, int] = {}
        for spoke in spokes:
            colors.setdefault(spoke.group.rel_type, spoke.color)
        out = [(color, self.explorer.relation(rel))
               for rel, color in colors.items() if color < NUM_COLORS]
        if any(color == NUM_COLORS for color in colors.values()):
            out.append((NUM_COLORS, 'other relations'))
        return out


def show(text: str, limit: int = SHORT) -> str:
    r"""Returns a label for the page. Control characters, and marks that
    reverse the direction of writing, are escaped, and long labels are cut.
    """
    text = printable(text[:limit + 1])
    return text if len(text) <= limit else text[:limit - 1] + '…'


def rank(value: float) -> str:
    r"""Returns a rank as text. Ties lead to half ranks."""
    return f'{value:,.0f}' if value == int(value) else f'{value:,.1f}'
