"""The lab measured: start-up beside stock Mininet and the floor, overlays beside a plain bridge."""
