"""Results as JSON and back."""

from __future__ import annotations

import json

from chimera.model.codec import from_json, to_json
from chimera.model.result import Entropy, LabInfo, NodeState, PathReport, Result, Timing


def test_a_node_may_be_called_as_a_keyword_of_ours_is() -> None:
    """``from`` is a figure's name in JSON and ``from_`` in code; a node's name is the same in both."""
    states = {"from": NodeState(flows=1), "from_": NodeState(flows=2)}
    result = Result(
        LabInfo("s", "t", "o", "userspace", "0"),
        Timing(1, 2, 3),
        paths=[PathReport("from", "to", "before", 1.0, 0.0, ["from", "to"])],
        entropy=Entropy("from", "to", 3, 1, 1, {"from": 3}),
        state=states,
    )
    written = json.loads(to_json(result))
    assert written["paths"][0]["from"] == "from" and written["entropy"]["by_path"] == {"from": 3}
    assert written["state"].keys() == states.keys()
    assert from_json(to_json(result), Result) == result
