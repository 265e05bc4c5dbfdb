"""The physical network as a plan: addresses, routes, fabrics, the layer 2 between switches. Pure."""
