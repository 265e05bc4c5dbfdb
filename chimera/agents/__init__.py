"""The edge of the agents: what runs them in a lab, and in virtual time in the simulator."""
