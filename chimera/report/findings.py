"""What figures say and what they do not: sentences that name the least and the most, and call equal what is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chimera.model.result import Result
from chimera.report.figures import count
from chimera.report.marks import Row

Write = Callable[[float | None], str]


def ranked(names: Sequence[str], found: Row, write: Write) -> str:
    """Who has the least and who the most; values within the row's grain of each other are not told apart."""
    known = [(value, name) for value, name in zip(found.values, names, strict=True) if value is not None]
    if not known:
        return "Not measured."
    if not found.fit:
        return "Not ranked: the machine was too busy during these runs."
    low, high = min(known)[0], max(known)[0]
    if len(known) == 1:
        return f"{known[0][1]}: {write(low)}."
    if low == high:
        return f"The same for all {len(known)}: {write(low)}."
    if high - low <= found.grain:
        return (
            f"No difference measured: between {write(low)} and {write(high)}, and less than {write(found.grain)} "
            "is no difference here."
        )
    least = [(value, name) for value, name in known if value - low <= found.grain]
    most = [(value, name) for value, name in known if high - value <= found.grain and (value, name) not in least]
    return f"Least: {_side(least, write)}. Most: {_side(most, write)}."


def _side(found: Sequence[tuple[float, str]], write: Write) -> str:
    low, high = min(found)[0], max(found)[0]
    names = listed([name for _, name in found])
    if low == high:
        return f"{names} ({write(low)})"
    return f"{names} ({write(low)} to {write(high)}; no difference measured between them)"


def beside(value: float | None, reference: float | None, grain: float, write: Write) -> str:
    """By how much a value differs from a reference: ``34 bytes less``."""
    if value is None or reference is None:
        return ""
    difference = value - reference
    if difference == 0:
        return "the same"
    if abs(difference) <= grain:
        return "no difference measured"
    return f"{write(abs(difference))} {'more' if difference > 0 else 'less'}"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def runs(results: Sequence[Result]) -> str:
    """How many runs there are of each experiment: one run is one run."""
    keys = [repr((r.lab.scenario, r.lab.topology, r.lab.overlay, sorted(r.lab.options.items()))) for r in results]
    most = max((keys.count(key) for key in keys), default=0)
    if most <= 1:
        return (
            "One run of each. One run is one run: how much another would differ it cannot tell. "
            "‘lab bench vmotion’ and ‘lab compare’ over several runs can."
        )
    return (
        f"Up to {count(most, 'run')} of the same experiment; where they differ among themselves, "
        "a smaller difference between overlays is called none."
    )


def alike(results: Sequence[Result]) -> str:
    """What the runs have in common beside the overlay, and a warning where that is not all."""
    facts = {
        "scenario": {r.lab.scenario for r in results},
        "topology": {r.lab.topology for r in results},
        "impairments": {repr([(link.link, link.direction, link.asked) for link in r.links]) for r in results},
        "datapath": {r.lab.datapath for r in results},
        "kernel": {r.lab.kernel for r in results},
        "version of the lab": {r.lab.version for r in results},
    }
    differ = [name for name, values in facts.items() if len(values) > 1]
    same = listed([name for name in facts if name not in differ])
    if differ:
        return f"These runs differ in more than the overlay: {listed(differ)}. They have the same {same}."
    seeded = any(r.links for r in results) and {r.lab.impairment for r in results} == {"delay line"}
    return f"All have the same {same}{'; delay lines begin with the same seed in every run' if seeded else ''}."
