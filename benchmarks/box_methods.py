"""The methods that race in a box, by name; a library is imported only if its method takes part."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.task import BoxMethod, Task


def box_method(name: str) -> Callable[[Task], BoxMethod]:
    """A method's constructor.

    Raises:
        KeyError: for a name that is none.
    """
    if name == "voltloop":
        from benchmarks.peers.voltloop_box import VoltloopBox

        return VoltloopBox
    if name == "ax":
        from benchmarks.peers.ax_box import AxBox

        return AxBox
    if name == "baybe":
        from benchmarks.peers.baybe_box import BaybeBox

        return BaybeBox
    from benchmarks.peers.plain_box import PlainSafeSet, RandomBox, SobolBox

    return {"plain-safe-set": PlainSafeSet, "random": RandomBox, "sobol": SobolBox}[name]
