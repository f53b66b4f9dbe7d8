"""What holds for every test."""

from __future__ import annotations

import torch

# The networks under test are small and the cores few and shared: threads that wait for each other cost tenfold.
torch.set_num_threads(1)
