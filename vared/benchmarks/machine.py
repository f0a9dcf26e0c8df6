"""What a measurement was made on, as far as it decides times."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

# Variables that decide how threads wait and how memory is given out.
_PREFIXES = ("OMP_", "KMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "DNNL_", "ONEDNN_", "TORCHINDUCTOR_")


def describe(device: str) -> dict[str, object]:
    """Processor, cores, threads, memory, GPU, versions, settings and the date (UTC)."""
    found = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "environment": {
            name: value for name, value in sorted(os.environ.items())
            if name.startswith(_PREFIXES) and "/" not in value  # values with folders are nobody's business
        },
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }  # fmt: skip
    if device == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        tf32 = {"convolution": torch.backends.cudnn.allow_tf32, "matmul": torch.backends.cuda.matmul.allow_tf32}
        found["tf32"] = tf32
    return found


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
