r"""The computations that models spend most of their time in. Each kernel has
one formula and one gradient, computed by compiled loops where possible and by
plain PyTorch everywhere else.
"""
