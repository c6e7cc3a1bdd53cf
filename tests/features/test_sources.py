import csv
import os
from pathlib import Path

import pytest

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features import Item, read_folder, read_table


def write(path: Path, content: str | bytes = 'x') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return path


def problems(items: list[Item]) -> dict[str, str]:
    return {item.key: item.problem for item in items}


class TestFolder:
    def test_one_subfolder_per_entity(self, tmp_path: Path) -> None:
        for name in ('b/2.jpg', 'b/1.png', 'a/x', 'a/.DS_Store', '.git/y'):
            write(tmp_path / name)
        assert read_folder(tmp_path) == [
            Item('a', tmp_path / 'a/x', 'a/x'),
            Item('b', tmp_path / 'b/1.png', 'b/1.png'),
            Item('b', tmp_path / 'b/2.jpg', 'b/2.jpg'),
        ]

    def test_what_cannot_be_used_is_listed(self, tmp_path: Path) -> None:
        secret = write(tmp_path / 'secret.png')
        write(tmp_path / 'other/1.png')
        root = tmp_path / 'root'
        good = write(root / 'e/good.png')
        (root / 'e/folder.jpg').mkdir()
        (root / 'empty').mkdir()
        (root / 'e/leaves.png').symlink_to(secret)
        (root / 'e/relative.png').symlink_to('../../secret.png')
        (root / 'e/stays.png').symlink_to(good)
        (root / 'e/broken.png').symlink_to('nothing.png')
        (root / 'e/loop.png').symlink_to('loop.png')
        (root / 'linked').symlink_to(tmp_path / 'other')
        os.mkfifo(root / 'e/pipe.png')
        found = problems(read_folder(root))
        assert [key for key, text in found.items() if text == ''] == [
            'e/good.png', 'e/stays.png']
        outside = 'lies outside the folder (a link or path that leaves it)'
        assert found['e/leaves.png'] == found['e/relative.png'] == outside
        assert found['linked'] == outside
        assert found['e/folder.jpg'] == 'a folder, not a file'
        assert found['e/pipe.png'] == 'not a regular file'
        assert found['e/broken.png'].startswith('not there')
        assert found['e/loop.png'].startswith('not there')
        assert found['empty/'] == 'the folder is empty'

    def test_root_may_be_a_link(self, tmp_path: Path) -> None:
        write(tmp_path / 'root/a/1.png')
        (tmp_path / 'link').symlink_to(tmp_path / 'root')
        assert problems(read_folder(tmp_path / 'link')) == {'a/1.png': ''}

    def test_sibling_with_the_same_beginning(self, tmp_path: Path) -> None:
        outside = write(tmp_path / 'root2/1.png')
        write(tmp_path / 'root/a/1.png').unlink()
        (tmp_path / 'root/a/1.png').symlink_to(outside)
        assert 'outside' in problems(read_folder(tmp_path / 'root'))['a/1.png']

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path) + b'/a\xffb'
        os.mkdir(folder)
        with open(folder + b'/1\n.png', 'w') as file:
            file.write('x')
        item, = read_folder(tmp_path)
        assert item.entity == 'a\\udcffb'
        assert item.key == 'a\\udcffb/1\\n.png'
        assert isinstance(item.content, Path)
        assert item.content.read_text() == 'x'

    def test_loose_files_are_told(self, tmp_path: Path) -> None:
        write(tmp_path / 'a/1.png')
        write(tmp_path / 'loose.png')
        with pytest.warns(UserWarning, match='1 files .* loose.png'):
            assert len(read_folder(tmp_path)) == 1

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match='one subfolder per entity'):
            read_folder(tmp_path / 'nothing')
        with pytest.raises(DataError, match='got none'):
            read_folder(tmp_path)


class TestTable:
    @pytest.mark.parametrize('name, content', [
        ('a.tsv', 'text\tentity\tz\none "x\ta\t1\n\ntwo\tb\t2\r\nTHREE\ta\t'),
        ('a.csv', 'text,entity,z\n"one ""x",a,1\n\ntwo,b,2\r\nTHREE,a,'),
        ('a.jsonl', '{"entity": "a", "text": "one \\"x"}\n\n'
         '{"text": "two", "entity": "b", "z": [1]}\r\n'
         '{"entity": "a", "text": "THREE"}'),
        ('bom.csv', '\ufefftext,entity,z\n"one ""x",a,1\ntwo,b,2\nTHREE,a,'),
    ])
    def test_formats(self, tmp_path: Path, name: str, content: str) -> None:
        items = read_table(write(tmp_path / name, content), 'text')
        assert [item[:2] for item in items] == [
            ('a', 'one "x'), ('b', 'two'), ('a', 'THREE')]
        assert all(item.key.startswith('row ') for item in items)

    def test_without_header(self, tmp_path: Path) -> None:
        path = write(tmp_path / 'a.tsv', 'entity\ttext\nb\ttwo\n')
        assert read_table(path, 'text', header=False) == [
            Item('entity', 'text', 'row 1'), Item('b', 'two', 'row 2')]

    def test_missing_texts_in_json(self, tmp_path: Path) -> None:
        path = write(tmp_path / 'a.jsonl', '{"entity": "a", "text": null}\n'
                     '{"entity": "b", "text": "two"}')
        assert read_table(path, 'text') == [Item('a', '', 'row 1'),
                                            Item('b', 'two', 'row 2')]
        path = write(tmp_path / 'a.jsonl', '{"entity": "a", "txt": "x"}')
        with pytest.raises(FormatError, match="a text as 'entity' and as 't"):
            read_table(path, 'text')

    def test_ids_in_json(self, tmp_path: Path) -> None:
        path = write(tmp_path / 'a.jsonl', '{"entity": 17, "text": "x"}')
        assert read_table(path, 'text')[0].entity == '17'

    def test_rows_of_csv_that_span_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path / 'a.csv',
                     'entity,text\na,"two\nlines"\nb,one\n')
        assert read_table(path, 'text') == [
            Item('a', 'two\nlines', 'row 2'), Item('b', 'one', 'row 4')]

    def test_paths(self, tmp_path: Path) -> None:
        inside = write(tmp_path / 'root/images/1.png')
        outside = write(tmp_path / 'secret.png')
        (tmp_path / 'root/link.png').symlink_to(outside)
        table = write(tmp_path / 'root/a.tsv', '\n'.join([
            'entity\timage', 'a\timages/1.png', f'a\t{inside}',
            'b\t../secret.png', f'b\t{outside}', 'b\tlink.png', 'c\t',
            'c\tnothing.png', 'c\timages', 'c\ta\0b.png']))
        items = read_table(table, 'image')
        assert [str(item.content) for item in items[:2]] == [str(inside)] * 2
        assert items[0].key == 'row 2: images/1.png'
        assert [item.problem.split(' (')[0] for item in items] == [
            '', '', *['lies outside the folder'] * 3, 'no path',
            'not there: No such file or directory', 'a folder, not a file',
            'not there: embedded null byte']

    def test_root_of_paths(self, tmp_path: Path) -> None:
        image = write(tmp_path / 'images/1.png')
        table = write(tmp_path / 'tables/a.csv', 'entity,image\na,1.png\n')
        item, = read_table(table, 'image', root=tmp_path / 'images')
        assert item == Item('a', image, 'row 2: 1.png')

    @pytest.mark.parametrize('suffix', ['tsv', 'csv', 'jsonl'])
    def test_text_of_a_megabyte(self, tmp_path: Path, suffix: str) -> None:
        long = 'word ' * 250_000
        content = {'tsv': f'entity\ttext\na\t{long}\n',
                   'csv': f'entity,text\na,"{long}"\n',
                   'jsonl': f'{{"entity": "a", "text": "{long}"}}'}[suffix]
        limit = csv.field_size_limit()
        item, = read_table(write(tmp_path / f'a.{suffix}', content), 'text')
        assert item.content == long
        assert csv.field_size_limit() == limit

    @pytest.mark.parametrize('suffix', ['tsv', 'csv', 'jsonl'])
    def test_what_is_not_utf8_stays_in_its_row(self, tmp_path: Path,
                                               suffix: str) -> None:
        content = {'tsv': b'entity\ttext\na\tcaf\xe9\nb\tfine\nc\xe9\tx\n',
                   'csv': b'entity,text\na,caf\xe9\nb,fine\nc\xe9,x\n',
                   'jsonl': b'{"entity": "a", "text": "caf\xe9"}\n'
                            b'{"entity": "b", "text": "fine"}\n'
                            b'{"entity": "c\xe9", "text": "x"}\n'}[suffix]
        items = read_table(write(tmp_path / f'a.{suffix}', content), 'text')
        assert [item.entity for item in items] == ['a', 'b', 'c\\udce9']
        assert items[0].content == 'caf\udce9'  # Rejected when it is read.
        assert items[1].content == 'fine'

    @pytest.mark.parametrize('name, content, message', [
        ('a.txt', 'entity\ttext\n', 'ends in .tsv, .csv or .jsonl'),
        ('a.tsv', 'name\ttext\na\tb\n', "header with 'ent.* in row 1 of"),
        ('a.tsv', 'entity\ttext\na\tb\tc\n', 'Expected 2 columns in row 2 of'),
        ('a.csv', 'entity,text\na\n', 'Expected 2 columns in row 2 of'),
        ('a.csv', 'entity,text\na,"b\n', 'Expected a row of CSV in row 2 of'),
        ('a.tsv', 'entity\ttext\n', 'Expected rows in .*got none'),
        ('a.tsv', '', 'Expected rows in .*got none'),
        ('a.tsv', 'entity\ttext\n \tb\n', 'Expected an entity in row 2 of'),
        ('a.jsonl', '{"entity": "a", "text"', 'Expected JSON in row 1 of'),
        ('a.jsonl', '["a", "b"]', 'Expected a JSON object in row 1 of'),
        ('a.jsonl', '{"entity": "a"}', "as 'entity' and as 'text'"),
        ('a.jsonl', '{"entity": true, "text": "b"}', "as 'entity'"),
        ('a.jsonl', '[' * 100_000, 'Expected JSON in row 1 of'),
    ])
    def test_errors(self, tmp_path: Path, name: str, content: str,
                    message: str) -> None:
        path = write(tmp_path / name, content)
        with pytest.raises(FormatError, match=message):
            read_table(path, 'text')

    def test_unknown_column(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="'image' or 'text'"):
            read_table(tmp_path / 'a.tsv', 'sound')
