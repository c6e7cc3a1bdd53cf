r"""Plots of results (extra ``plot``)."""

from .plots import plot_explanation, plot_history, plot_search

__all__ = ['plot_history', 'plot_explanation', 'plot_search']
