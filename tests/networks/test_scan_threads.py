"""The scan on the CPU uses the threads that torch was told to use, from its first call on."""

from __future__ import annotations

import subprocess
import sys

# A process of its own: numba starts its threads once.
SCRIPT = """
import napari_breastseg
import numba, torch
from napari_breastseg import load_model
torch.set_num_threads(1)
network = load_model("hcma-unet").network()
with torch.inference_mode():
    network(torch.zeros(1, 2, 32, 32, 32))
print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_numba_starting_does_not_give_torch_all_processors_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
