"""CUDA operations that give the same bits every time: ``run --deterministic``.

On a CPU nothing has to be done: the same threads, processor type and versions give the same
bytes (``tests/test_determinism.py``). On CUDA sums by atomic additions, the choice among cuDNN's
algorithms and cuBLAS's workspaces differ from run to run unless torch is told otherwise.
"""

from __future__ import annotations

import os


def repeatable() -> None:
    """Switch this process to repeatable CUDA operations in whole float32 precision.

    To be called before the first of them: cuBLAS reads its environment variable once. From then
    on an operation without a repeatable form raises ``RuntimeError`` that names it.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
