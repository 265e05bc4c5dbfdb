"""Builds the model on Linux: sandbox, Mininet nodes, Open vSwitch, links. The only place that starts programs."""
