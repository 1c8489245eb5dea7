"""A reporter that does what honest training code does, and says what it came to."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any


def act(comparison: dict[str, Any], **rest: Any) -> str:
    """Train a small network in the usual ways."""
    import numpy as np
    import torch
    from safetensors.torch import load_file, save_file
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    warnings.warn("as libraries do", stacklevel=1)
    logging.getLogger("honest").warning("and say")
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        schedule.step()
    attention = nn.functional.scaled_dot_product_attention(*x[:48].reshape(3, 1, 16, 8))
    torch.linalg.svd(x), torch.linalg.lstsq(x, x), np.linalg.eigh((x.T @ x).numpy())
    Path("mine").mkdir()
    save_file(model.state_dict(), "mine/state.safetensors")
    torch.save(model.state_dict(), "mine/state.pt")
    torch.load("mine/state.pt", weights_only=True)
    np.savez("mine/arrays.npz", x=x.numpy())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "note").write_text("temporary")
    child = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
    return json.dumps(
        {
            "same": all(
                torch.equal(tensor, model.state_dict()[name])
                for name, tensor in load_file("mine/state.safetensors").items()
            ),
            "shape": list(attention.shape),
            "torch": importlib.metadata.version("torch"),
            "platform": platform.platform() and platform.processor() is not None,
            "cores": os.cpu_count(),
            "child": child.stdout,
            "error": child.stderr,
        }
    )
