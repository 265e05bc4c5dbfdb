"""What happens in a lab, and when: the verbs a script is written in, and the migration behind them."""

from chimera.model.errors import MigrationAborted
from chimera.model.result import Result
from chimera.scenario.figures import shown
from chimera.scenario.lab import Expect, Lab
from chimera.underlay.ways import check_core

__all__ = ["Expect", "Lab", "MigrationAborted", "Result", "check_core", "shown"]
