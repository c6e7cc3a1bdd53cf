r"""Types that are shared by all parts of the package."""
from typing import Literal

#: The side of a triple that is predicted.
Side = Literal['head', 'tail']
