"""``python -m controllers --inventory FILE``: run the agents of the inventory's overlay until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path

from ryu import cfg
from ryu.base.app_manager import AppManager
from ryu.controller import controller as _options  # noqa: F401  registers the ofp-… options

from chimera.model.codec import from_json
from chimera.model.control import Inventory


def main() -> None:
    """Read the inventory, set Ryu's options, run."""
    parser = argparse.ArgumentParser(prog="python -m controllers", description=__doc__)
    parser.add_argument("--inventory", required=True, help="JSON file that the lab wrote")
    parser.add_argument("--verbose", action="store_true", help="log what Ryu does")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.WARNING)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # threads hold no state that an orderly end would save
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    inventory = from_json(Path(arguments.inventory).read_bytes(), Inventory)
    cfg.CONF.register_opt(cfg.StrOpt("inventory"))
    cfg.CONF.set_override("inventory", arguments.inventory)
    cfg.CONF.set_override("ofp_listen_host", inventory.openflow_address)
    cfg.CONF.set_override("ofp_tcp_listen_port", inventory.openflow_port)
    AppManager.run_apps(["controllers.openflow"])


main()
