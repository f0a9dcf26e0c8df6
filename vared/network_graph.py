"""Residual blocks and global pooling, read off the graph that autograd builds of a forward pass rather than off names.

An addition of two maps that come from a common one ends a residual block. Its side with more convolutions is the
residual branch; the other, if it has at most two and at most half as many, is the shortcut:

    x -+- conv - norm - conv - norm -+- add        branch: two convolutions
       +- (conv - norm) -------------+             shortcut: one, or none
"""

from collections.abc import Iterable, Iterator

from torch.autograd.graph import Node

_ADDITIONS = ("AddBackward0", "torch::autograd::CopySlices")  # the second: into a part of a tensor, in place
_POOLINGS = ("Mean", "AdaptiveAvgPool", "AdaptiveMaxPool", "Amax")


def places_in_graph(made: dict[Node, str], outputs: Iterable[Node]) -> tuple[dict[str, str], set[str]]:
    """Place of every convolution, and those that read nothing but the result of a pooling to a fixed size.

    Places are "block", "shortcut" and "outside", see `Observed`; empty for a network without residual blocks. `made`
    names the convolution that makes the output of a node ("" for the network's input), `outputs` are the nodes of the
    network's results.
    """
    # Sets of convolutions are integers with one bit for each; two more bits mark what a value has come through.
    bit = {node: 1 << number for number, node in enumerate(made)}
    convolutions = sum(bit[node] for node, name in made.items() if name)
    addition, pooling = 1 << len(bit), 2 << len(bit)
    above: dict[Node, int] = {}  # what a node's value is computed from; pooling: since the last convolution
    branch = shortcut = leading = after_pooling = 0
    for node in _parents_first([*made, *outputs]):
        parents = [above[parent] for parent, _ in node.next_functions if parent is not None]
        own = 0
        for bits in parents:
            own |= bits
        if node in bit:
            after_pooling |= bit[node] if own & pooling else 0
            own = own & ~pooling | bit[node]
        elif node.name().startswith(_POOLINGS):
            own |= pooling
        elif node.name() in _ADDITIONS and len(parents) == 2 and parents[0] & parents[1] & (addition - 1):
            exclusive = (parents[0] & ~parents[1] & convolutions, parents[1] & ~parents[0] & convolutions)
            fewer, more = sorted(exclusive, key=int.bit_count)
            if more:
                leading |= own
                own |= addition
                if fewer.bit_count() <= min(2, more.bit_count() // 2):
                    branch, shortcut = branch | more, shortcut | fewer
                else:  # two branches that are fused, not a branch and its shortcut
                    branch |= more | fewer
        above[node] = own
    pooled = {name for node, name in made.items() if bit[node] & after_pooling}
    if not branch:
        return {}, pooled
    between = leading & sum(bit[node] for node in made if above[node] & addition)
    kinds = ((shortcut, "shortcut"), (branch | between, "block"))
    places = {name: next((kind for bits, kind in kinds if bits & bit[n]), "outside") for n, name in made.items()}
    return places, pooled


def _parents_first(ends: list[Node]) -> Iterator[Node]:
    """Every node that the values at `ends` are computed from, after the nodes that it reads itself."""
    seen, stack = set(), [(node, False) for node in ends]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.next_functions if parent is not None)
