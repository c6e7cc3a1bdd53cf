r"""What models compute most: one formula and one gradient each, in compiled
loops where they serve, in plain PyTorch everywhere.
"""
