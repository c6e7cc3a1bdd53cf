import os
import zipfile

import pytest
import torch

from pyg_mmkgc.datasets import MKGW
from pyg_mmkgc.datasets.feature_files import ARCHIVE_ID, FOLDER_ID
from pyg_mmkgc.errors import DownloadError


@pytest.fixture
def drive(monkeypatch):
    """A fake Google Drive that holds ``archive`` and ``files``."""
    class Drive:
        archive, files, asked = {}, {}, []

        def __call__(self, file_id, path, folder=False):
            self.asked.append(file_id)
            files = self.files if folder else self.archive
            assert file_id == (FOLDER_ID if folder else ARCHIVE_ID)
            if not files:
                raise DownloadError(f'{file_id}: quota')
            source = path if folder else path.with_name('source')
            for name, content in files.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                torch.save(content, source / name)
            if not folder:
                with zipfile.ZipFile(path, 'w') as archive:
                    for name in files:
                        archive.write(source / name, name)
            return path

    drive = Drive()
    monkeypatch.setattr('pyg_mmkgc.datasets.feature_files.download_drive',
                        drive)
    return drive


def test_from_the_archive(tmp_path, write, drive):
    folder = write(tmp_path / 'MKG-W' / 'raw')
    drive.archive = {
        'deep/er/MKG-W-visual.pth': torch.ones(12, 5),
        'deep/MKG-W-textual.pth': torch.ones(12, 4),
        'DB15K-visual.pth': torch.ones(99, 4),
    }
    for _ in range(2):
        data = MKGW(tmp_path, download_features=True)[0]
        assert data.x_visual.size() == (12, 5)
        assert data.x_text.size() == (12, 4)
    assert drive.asked == [ARCHIVE_ID]
    left = set(os.listdir(folder)) - set(MKGW.sha256)
    assert left == {'MKG-W-visual.pth', 'MKG-W-textual.pth'}


def test_from_the_folder_if_not_in_the_archive(tmp_path, write, drive):
    write(tmp_path / 'MKG-W' / 'raw')
    drive.archive = {'MKG-W-visual.pth': torch.ones(12, 5)}
    drive.files = {
        'x/MKG-W-visual.pth': torch.ones(12, 6),
        'x/MKG-W-textual.pth': torch.ones(12, 4),
    }
    data = MKGW(tmp_path, download_features=True)[0]
    assert data.x_visual.size() == (12, 5)
    assert data.x_text.size() == (12, 4)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path, )


@pytest.mark.parametrize('kind', ['quota', 'others', 'rows', 'evil'])
def test_what_does_not_come(tmp_path, write, drive, kind):
    folder = write(tmp_path / 'MKG-W' / 'raw')
    content = {
        'quota': {},
        'others': {'DB15K-visual.pth': torch.ones(12, 5)},
        'rows': {'MKG-W-visual.pth': torch.ones(11, 5)},
        'evil': {'MKG-W-visual.pth': Evil(str(tmp_path / 'marker'))},
    }[kind]
    drive.archive = drive.files = content
    with pytest.raises(DownloadError) as info:
        MKGW(tmp_path, download_features=True)
    for part in ['text and visual', str(folder), ARCHIVE_ID, FOLDER_ID,
                 'MKG-W-visual.pth']:
        assert part in str(info.value)
    assert not (tmp_path / 'marker').exists()
    assert set(os.listdir(folder)) == set(MKGW.sha256)


def test_nothing_is_asked_for_without_leave(tmp_path, write, drive):
    write(tmp_path / 'MKG-W' / 'raw')
    MKGW(tmp_path, features='none')
    with pytest.raises(ValueError, match='download_features'):
        MKGW(tmp_path)
    assert drive.asked == []
