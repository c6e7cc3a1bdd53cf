r"""Configuration of the documentation, which ``make -C docs html`` builds."""
import os
import sys
from pathlib import Path

import pyg_mmkgc

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / '_ext'))

project = 'pyg_mmkgc'
author = 'the authors of pyg_mmkgc'
copyright = author
version = release = pyg_mmkgc.__version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.intersphinx',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'sphinx_design',
    # In _ext:
    'api_pages',
    'mathml',
    'method_pages',
    'reference_pages',
    'result_pages',
    'roles',
]
exclude_patterns = ['_build', '_ext', 'inventories']

# Docstrings.
autosummary_generate = False  # See api_pages.
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Names of other projects. The inventories hold the names that are used here,
# so that a build needs no network.
intersphinx_mapping = {
    'pillow': ('https://pillow.readthedocs.io/en/stable',
               'inventories/pillow.txt'),
    'python': ('https://docs.python.org/3', 'inventories/python.txt'),
    'sentence_transformers': ('https://sbert.net',
                              'inventories/sentence_transformers.txt'),
    'torch': ('https://docs.pytorch.org/docs/stable', 'inventories/torch.txt'),
    'pyg': ('https://pytorch-geometric.readthedocs.io/en/latest',
            'inventories/pyg.txt'),
    'transformers': ('https://huggingface.co/docs/transformers/main/en',
                     'inventories/transformers.txt'),
    'pandas': ('https://pandas.pydata.org/docs', 'inventories/pandas.txt'),
    'numpy': ('https://numpy.org/doc/stable', 'inventories/numpy.txt'),
}
nitpick_ignore = [
    # Words of "Args:" next to the type.
    ('py:class', 'optional'),
    ('py:class', 'callable'),
    ('py:class', 'iterable'),
    ('py:class', 'sequence'),
    # Type variables, a literal type, and a module of MoSE only.
    ('py:class', 'pyg_mmkgc.distributed.build.M'),
    ('py:class', 'pyg_mmkgc.distributed.group.T'),
    ('py:class', 'pyg_mmkgc.io.pretrained.T'),
    # Annotations under TYPE_CHECKING.
    ('py:class', 'Share'),
    ('py:class', 'pyg_mmkgc.nn.path.base.T'),
    ('py:class', 'Side'),
    ('py:class', 'pyg_mmkgc.nn.kge.mose.Ensemble'),
]
# As in PyG, :obj: marks code. It is a link where there is such a name.
nitpick_ignore_regex = [('py:obj', '.*')]

# Pages and notebooks.
myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath',
                          'attrs_inline']
myst_heading_anchors = 4
nb_execution_mode = 'cache'
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True
# Read by the notebooks: no progress bars, the same pictures everywhere.
os.environ |= {'TQDM_DISABLE': '1', 'MPLBACKEND': 'agg',
               'PYTHONWARNINGS': 'ignore:IProgress not found'}
copybutton_exclude = '.linenos, .gp, .go'

html_theme = 'furo'
html_title = 'pyg_mmkgc'
html_static_path = ['_static']
html_css_files = ['custom.css']
html_favicon = '_static/logo.svg'
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    'light_logo': 'logo.svg',
    'dark_logo': 'logo.svg',
    'sidebar_hide_name': False,
    'light_css_variables': {
        'color-brand-primary': '#9c3d0c',
        'color-brand-content': '#9c3d0c',
        'font-stack': 'system-ui, -apple-system, "Segoe UI", Roboto, '
                      '"Helvetica Neue", Arial, sans-serif',
    },
    'dark_css_variables': {
        'color-brand-primary': '#ff9d66',
        'color-brand-content': '#ff9d66',
    },
}
pygments_style = 'friendly'
pygments_dark_style = 'monokai'
