"""The common runner of the paper's experiments."""
