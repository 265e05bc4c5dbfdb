"""Bytes on wires: headers, translators and the protocols spoken to switches."""
