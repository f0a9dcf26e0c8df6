"""torchvision imports beside a torch build it has no operators for."""

import subprocess
import sys
import types

import pytest
import torch

from vared import torchvision_operators


def test_torchvision_and_what_stands_on_it_import_in_a_fresh_process():
    code = (
        "import vared.torchvision_operators, torchvision; from torchvision.models.video import r2plus1d_18; "
        "from torchvision.transforms import v2; print(torchvision.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()[0].isdigit()


def test_nothing_is_declared_where_torchvision_imports(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    assert torchvision_operators.declare_missing_operators() is None


@pytest.mark.skipif(torchvision_operators.declared is None, reason="torchvision registered its own operators")
def test_a_declared_operator_has_no_kernel_and_says_so():
    boxes, scores = torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1)
    with pytest.raises((NotImplementedError, RuntimeError), match="torchvision::nms"):
        torch.ops.torchvision.nms(boxes, scores, 0.5)
