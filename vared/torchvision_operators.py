"""Lets torchvision (and so timm, pytorchvideo) import beside a CPU-only torch.

The published torchvision wheel registers its compiled operators only beside the torch build it was compiled for;
elsewhere `import torchvision` ends in "operator torchvision::nms does not exist". Declaring the two schemas that its
Python files refer to is enough for the import. They get no kernel: calling them still fails clearly.
"""

import torch

SCHEMAS = ("nms", "qnms")


def declare_missing_operators() -> "torch.library.Library | None":
    """Declare the operators that the torchvision installed here could not register. Does nothing where they exist."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in SCHEMAS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


# A library object takes its declarations with it when it is collected: keep it as long as the process.
declared = declare_missing_operators()
