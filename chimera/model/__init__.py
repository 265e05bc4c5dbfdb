"""The frozen types everything else is made of: no I/O, no third-party imports."""
