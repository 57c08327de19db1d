"""How this process computes."""

import torch


def exact_single_precision() -> None:
    """Compute convolutions in single precision where that is asked for, on GPUs too.

    There PyTorch rounds their factors to 10 bits by default (TF32), though not those of products of matrices. Scores
    and forecasts of a GPU would differ from those of a processor by as much as half precision makes them.
    """
    torch.backends.cudnn.allow_tf32 = False
