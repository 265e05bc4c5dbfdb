"""Places and sizes on the map, in pixels of the drawing's own scale."""

from __future__ import annotations

from dataclasses import dataclass, field

from chimera.model.result import MapLink

Point = tuple[float, float]

CHIP_HEIGHT = 20.0
CHIP_GAP = 6.0
PAD = 8.0
LEVEL = 36.0
NODE_HEIGHT = 26.0

_CHARACTER = 7.0  # width of a character of the map's 12 px font, on the safe side


@dataclass(frozen=True)
class Box:
    """A placed node; ``x`` and ``y`` are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        """The middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def top(self) -> Point:
        """The middle of the upper edge."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> Point:
        """The middle of the lower edge."""
        return self.x + self.width / 2, self.y + self.height

    @property
    def left(self) -> Point:
        """The middle of the left edge."""
        return self.x, self.y + self.height / 2


@dataclass(frozen=True)
class Cable:
    """A placed link: its corners, and where its label stands (``None``: no room, the tooltip has it)."""

    link: MapLink
    points: tuple[Point, ...]
    label_at: Point | None = None


@dataclass
class Layout:
    """The placed topology. ``guests`` are VMs at hypervisors they moved to, keyed (VM, hypervisor)."""

    width: float = 0.0
    height: float = 0.0
    sites: dict[str, Box] = field(default_factory=dict)
    nodes: dict[str, Box] = field(default_factory=dict)
    guests: dict[tuple[str, str], Box] = field(default_factory=dict)
    hidden: dict[str, list[str]] = field(default_factory=dict)  # hypervisor -> VMs there was no room for
    cables: list[Cable] = field(default_factory=list)
    fabric: dict[str, str] = field(default_factory=dict)  # site -> what all its own links have in common
    trunks: dict[str, float] = field(default_factory=dict)  # stacked host -> x of the trunk it hangs from


def text_width(text: str) -> float:
    """Pixels that ``text`` takes in the map's font, on the safe side."""
    return len(text) * _CHARACTER
