r"""The origin of a result: commit, versions and platform."""
from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    r"""Returns the commit, the versions and the platform of a result."""
    # The version of the installed wheel lacks its build, such as `+cu130`.
    versions = {'python': platform.python_version(),
                'torch': str(torch.__version__)}
    for name in ('pyg_mmkgc', 'torch_geometric', 'numpy'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # Used without installation.
            versions[name] = 'unknown'
    return {'commit': _commit(), 'versions': versions,
            'platform': platform.platform()}


def _installed_commit() -> str | None:
    # The record of pip about an installation from git (PEP 610).
    try:
        text = metadata.distribution('pyg_mmkgc').read_text('direct_url.json')
    except metadata.PackageNotFoundError:
        return None
    return json.loads(text or '{}').get('vcs_info', {}).get('commit_id')


def _commit() -> str | None:
    r"""Returns the commit of the checkout of this package, or of the checkout
    that it was installed from, if known.
    """
    root = Path(__file__).parents[2]
    if not (root / '.git').exists():
        return _installed_commit()
    try:
        out = subprocess.run(
            ['git', '-C', str(root), 'describe', '--always', '--dirty',
             '--abbrev=40', '--exclude=*'],
            capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip()
