"""Each formula of a loss or a score, once, as a pure function of tensors."""
