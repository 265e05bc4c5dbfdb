"""Names that ``--set`` takes for every lab; scenarios and overlays have more of their own."""

MIGRATION_SETTINGS = ("announce", "pace_mbps", "downtime_ms", "max_rounds")
TOPOLOGY_SETTINGS = ("underlay_mtu",)
DEFAULT_TOPOLOGY = "dual-dc"
DEFAULT_OVERLAY = "vxlan"
