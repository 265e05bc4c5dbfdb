"""What happens in a lab, and when: the verbs a script is written in, and the migration behind them."""

from chimera.model.errors import MigrationAborted
from chimera.model.result import Result
from chimera.net.ways import check_core
from chimera.scenario.figures import shown
from chimera.scenario.lab import Expect, Lab

__all__ = ["Expect", "Lab", "MigrationAborted", "Result", "check_core", "shown"]
