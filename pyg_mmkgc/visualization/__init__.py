r"""Plots of results (extra ``plot``)."""

from .plots import plot_history

__all__ = ['plot_history']
