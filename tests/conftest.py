"""Settings of every test: one thread, and hypothesis the same on every run."""

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "vared", max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.load_profile("vared")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
