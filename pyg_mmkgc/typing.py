r"""Types that every part of the package shares."""
from typing import Literal

#: The side of a triple that is asked for.
Side = Literal['head', 'tail']
