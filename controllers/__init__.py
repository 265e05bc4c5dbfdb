"""The Ryu application that holds OpenFlow sessions, and what it needs. Its modules say ``from ryu…`` and
run on Ryu or on its descendant os-ken.

Importing this package makes ``ryu.*`` importable: as Ryu where that is installed, else as ``os_ken.*``, whose
application class then also has its old name ``RyuApp``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast


class OsKenAsRyu:
    """Finds and loads ``ryu.x`` as the module ``os_ken.x``: one module under two names, not a copy.

    A finder and a loader by its methods alone: importing :mod:`importlib.abc` takes 40 ms.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a Ryu module; nothing for any other name."""
        return ModuleSpec(fullname, cast(Any, self)) if f"{fullname}.".startswith("ryu.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The os-ken module itself."""
        module = importlib.import_module("os_ken" + spec.name.removeprefix("ryu"))
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run; give the module back the specification that the import system has replaced.

        Whichever module was imported may have brought the application class with it.
        """
        module.__spec__ = self._own_spec
        applications = sys.modules.get("os_ken.base.app_manager")
        if hasattr(applications, "OSKenApp"):
            applications.RyuApp = applications.OSKenApp  # type: ignore[union-attr]


if importlib.util.find_spec("ryu") is None:
    sys.meta_path.insert(0, OsKenAsRyu())
