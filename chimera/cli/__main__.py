"""``python -m chimera.cli`` is ``lab``."""

from chimera.cli import main

main()
