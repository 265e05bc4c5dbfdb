"""Conversational learning: which switch holds the way to whom, since when, and until when."""

from __future__ import annotations

from overlay_labs import BROADCAST, AddFlow, DeleteFlow, Lab, inventory, mac, running, up
from scapy.layers.l2 import ARP, Ether

from chimera.model.control import PacketIn, PacketOut, PortDown, PortUp, SwitchDown, SwitchUp
from chimera.model.flow import CONTROLLER, Flow, Output, SetField
from chimera.model.underlay import edge_address
from chimera.overlay.fabricpath import IDLE_TIMEOUT_S
from chimera.overlay.ports import TUNNEL

LEG, LEG_MAC = PortUp("gw", "gw/red/web", "", 50001), "02:fe:00:00:00:01"


def ways(made: Lab) -> set[tuple[str, str]]:
    """Switches, and the MACs elsewhere that they hold the way to."""
    return {
        (name, value)
        for name, switch in made.switches.items()
        for flow in switch.flows.values()
        if Output(TUNNEL) in flow.actions
        for field, value in flow.match
        if field == "eth_dst" and isinstance(value, str)
    }


def to_controller(made: Lab, switch: str, vm: str, other: str) -> bool:
    """Whether a switch asks the controller about a frame of its VM to another one."""
    frame = {"eth_src": mac(made, vm), "eth_dst": mac(made, other), "eth_type": 0x0800}
    port = made.inventory.topology.vm(vm).port
    return CONTROLLER in [out for out, _ in made.switches[switch].forward(port, frame)]


def first_frame(made: Lab, vm: str, destination: str, tunnel_id: int = 5001) -> PacketIn:
    switch, port = made.at(vm)
    data = Ether(src=mac(made, vm), dst=destination, type=0x0800) / (b"x" * 20)
    return PacketIn(switch, port, bytes(data), tunnel_id)


def test_nobody_holds_the_way_to_anybody_before_they_talk() -> None:
    made = running("fabricpath")
    assert ways(made) == set()


def test_both_ends_of_a_conversation_learn_and_nobody_else() -> None:
    made = running("fabricpath")
    assert made.send("r1", mac(made, "r2")) == [("hv3", 2)]
    assert ways(made) == {("hv2", mac(made, "r2")), ("hv3", mac(made, "r1"))}
    assert made.send("r2", mac(made, "r1")) == [("hv2", 1)]
    assert len(ways(made)) == 2


def test_the_frame_that_begins_a_conversation_goes_on_after_the_flows() -> None:
    made = running("fabricpath")
    event = first_frame(made, "r1", mac(made, "r2"))
    *added, sent_on = made.happen(event)
    assert [type(e) for e in added] == [AddFlow, AddFlow]
    assert sent_on == PacketOut(
        "hv2",
        event.data,
        (SetField("tunnel_id", 101), SetField("tun_ipv4_dst", edge_address(19)), Output(TUNNEL)),
    )


def test_what_was_learned_needs_no_controller() -> None:
    made = running("fabricpath")
    frame = {"eth_src": mac(made, "r1"), "eth_dst": mac(made, "r2"), "eth_type": 0x0800}
    assert [port for port, _ in made.switches["hv2"].forward(1, frame)] == [CONTROLLER]
    made.send("r1", mac(made, "r2"))
    assert [port for port, _ in made.switches["hv2"].forward(1, frame)] == [TUNNEL]


def test_neighbours_at_one_switch_need_no_conversation() -> None:
    made = running("fabricpath")
    made.happen(up(made, "r2", "hv2"))
    assert made.send("r1", mac(made, "r2")) == [("hv2", 2)]
    assert made.happen(first_frame(made, "r1", mac(made, "r2"))) == ()  # it was on its way when r2 came
    assert ways(made) == set()


def test_unknown_macs_and_those_of_others_are_dropped() -> None:
    made = running("fabricpath")
    for nobody in ("02:00:00:00:00:99", mac(made, "b2"), mac(made, "r1")):
        assert made.happen(first_frame(made, "r1", nobody)) == ()
    assert made.send("r1", "02:00:00:00:00:99") == []
    assert ways(made) == set()


def test_frames_no_conversation_begins_with() -> None:
    """Questions that never had a segment; groups; fragments of frames; ports that are nobody's; switches left."""
    made = running("fabricpath")
    whole = first_frame(made, "r1", mac(made, "r2"))
    assert made.happen(first_frame(made, "r1", mac(made, "r2"), tunnel_id=0)) == ()
    assert made.happen(first_frame(made, "r1", "33:33:00:00:00:fb")) == ()
    for size in (0, 5, 13):
        assert made.happen(PacketIn("hv2", 1, whole.data[:size], 5001)) == ()
    assert made.happen(PacketIn("hv2", 77, whole.data, 5001)) == ()
    assert ways(made) == set()
    assert len(made.happen(PacketIn("hv2", 1, whole.data[:14], 5001))) == 3  # an empty frame is one


def test_a_straggler_from_a_place_that_was_left_teaches_nothing() -> None:
    made = running("fabricpath")
    made.happen(PortDown("hv1", "r3"), up(made, "r3", "hv1"), up(made, "r3", "hv2"))
    late = Ether(src=mac(made, "r3"), dst=mac(made, "r2"), type=0x0800) / (b"x" * 20)
    assert made.happen(PacketIn("hv1", 3, bytes(late), 5001)) == ()
    assert ways(made) == set()


def test_a_question_to_one_neighbour_is_a_frame_like_others() -> None:
    made = running("fabricpath")
    arp = ARP(hwsrc=mac(made, "r1"), psrc="10.0.0.11", pdst="10.0.0.12")
    data = bytes(Ether(src=mac(made, "r1"), dst=mac(made, "r2")) / arp)
    *_, sent_on = made.happen(PacketIn("hv2", 1, data, 5001))
    assert isinstance(sent_on, PacketOut)
    assert sent_on.data == data
    broadcast = bytes(Ether(src=mac(made, "r1"), dst=BROADCAST) / arp)
    (reply,) = made.happen(PacketIn("hv2", 1, broadcast, 5001))
    assert isinstance(reply, PacketOut)
    assert Ether(reply.data)[ARP].op == 2


def test_an_announcement_to_one_neighbour_does_both() -> None:
    made = running("fabricpath")
    made.happen(up(made, "r1", "hv3"), up(made, "r1", "hv2"), up(made, "r1", "hv3"))
    arp = ARP(op=2, hwsrc=mac(made, "r1"), psrc="10.0.0.11", pdst="10.0.0.11")
    effects = made.happen(PacketIn("hv2", 1, bytes(Ether(src=mac(made, "r1"), dst=mac(made, "r2")) / arp), 5001))
    assert made.at("r1") == ("hv2", 1)
    assert any(isinstance(effect, PacketOut) for effect in effects)
    assert made.send("r2", mac(made, "r1")) == [("hv2", 1)]


def test_a_move_is_told_to_those_who_talk_to_it() -> None:
    made = running("fabricpath")
    made.happen(up(made, "r3", "hv3"))
    made.send("r1", mac(made, "r2"))
    effects = made.happen(up(made, "r2", "hv1"))
    told = [e.switch for e in effects if isinstance(e, AddFlow) and Output(TUNNEL) in e.flow.actions]
    assert "hv2" in told
    frame = {"eth_src": mac(made, "r1"), "eth_dst": mac(made, "r2"), "eth_type": 0x0800}
    ((_, fields),) = made.switches["hv2"].forward(1, frame)
    assert fields["tun_ipv4_dst"] == edge_address(17)
    assert ("hv3", mac(made, "r2")) not in ways(made)  # r3 was its neighbour and has not missed it yet
    assert made.send("r3", mac(made, "r2")) == [("hv1", 2)]
    assert ("hv3", mac(made, "r2")) in ways(made)


def test_who_moves_takes_conversations_along() -> None:
    made = running("fabricpath")
    made.send("r1", mac(made, "r2"))
    made.happen(up(made, "r1", "hv1"), PortDown("hv2", "r1"))
    assert ways(made) == {("hv1", mac(made, "r2")), ("hv3", mac(made, "r1"))}
    assert to_controller(made, "hv1", "r1", "r2") is False


def test_what_one_neighbour_talks_to_stays_known_when_another_leaves() -> None:
    made = running("fabricpath")
    made.happen(up(made, "r3", "hv2"))
    made.send("r1", mac(made, "r2"))
    made.send("r3", mac(made, "r2"))  # the switch knows the way: it tells nobody that r3 talks to r2, too
    made.send("r2", mac(made, "r3"))  # but the answer begins a conversation of its own
    made.happen(up(made, "r1", "hv1"))
    assert ways(made) == {
        (hv, mac(made, vm)) for hv, vm in (("hv1", "r2"), ("hv2", "r2"), ("hv3", "r1"), ("hv3", "r3"))
    }


def test_what_is_for_a_vm_that_is_nowhere_ends_at_the_switch() -> None:
    """Senders do not stop while a VM moves; the controller has to hear where it went, not each of their frames."""
    made = running("fabricpath")
    made.happen(up(made, "r3", "hv3"))
    made.send("r1", mac(made, "r2"))
    made.happen(PortDown("hv3", "r2"))
    assert to_controller(made, "hv2", "r1", "r2") is False
    assert to_controller(made, "hv3", "r3", "r2") is True  # a neighbour of old: its switch never had to learn
    assert made.send("r3", mac(made, "r2")) == []
    assert to_controller(made, "hv3", "r3", "r2") is False
    made.happen(up(made, "r2", "hv1"))
    for vm in ("r1", "r3"):
        assert made.send(vm, mac(made, "r2")) == [("hv1", 2)]
        assert to_controller(made, "hv1", "r2", vm) is False


def test_a_vm_that_never_came_up_is_nowhere_too() -> None:
    made = Lab(inventory("fabricpath"))
    made.happen(*(SwitchUp(name) for name in made.switches), up(made, "r1", "hv2"))
    (added,) = made.happen(first_frame(made, "r1", mac(made, "r2")))
    assert isinstance(added, AddFlow)
    assert (added.flow.actions, added.flow.idle_timeout_s) == ((), IDLE_TIMEOUT_S)
    assert to_controller(made, "hv2", "r1", "r2") is False
    made.happen(up(made, "r2", "hv3"))
    assert made.send("r1", mac(made, "r2")) == [("hv3", 2)]


def test_what_is_silent_expires_and_the_next_frame_brings_it_back() -> None:
    made = running("fabricpath")
    made.send("r1", mac(made, "r2"))
    learned = [f for s in made.switches.values() for f in s.flows.values() if f.idle_timeout_s]
    assert [f.idle_timeout_s for f in learned] == [IDLE_TIMEOUT_S] * 2
    made.switches["hv2"].flows = {k: f for k, f in made.switches["hv2"].flows.items() if not f.idle_timeout_s}
    assert made.send("r1", mac(made, "r2")) == [("hv3", 2)]
    assert ("hv2", mac(made, "r2")) in ways(made)


def test_a_timeout_is_part_of_what_a_flow_says() -> None:
    lasting = Flow(1, 100, (("eth_dst", LEG_MAC),), ())
    assert lasting.cookie != Flow(1, 100, (("eth_dst", LEG_MAC),), (), IDLE_TIMEOUT_S).cookie


def test_a_controller_that_returns_forgets_conversations_and_loses_no_frame() -> None:
    made = running("fabricpath")
    made.send("r1", mac(made, "r2"))
    again = Lab(made.inventory)
    again.switches = made.switches
    again.happen(*(up(again, vm.name, made.at(vm.name)[0]) for vm in made.inventory.topology.vms))
    for name in made.switches:
        effects = again.happen(SwitchUp(name, made.switches[name].cookies))
        assert all(isinstance(e, DeleteFlow) for e in effects)
    assert ways(again) == set()
    assert again.send("r1", mac(made, "r2")) == [("hv3", 2)]


def test_a_switch_that_is_away_learns_when_it_returns() -> None:
    made = running("fabricpath")
    made.happen(SwitchDown("hv3"))
    assert made.send("r1", mac(made, "r2")) == [("hv3", 2)]
    assert ways(made) == {("hv2", mac(made, "r2"))}
    made.happen(SwitchUp("hv3", made.switches["hv3"].cookies))
    assert ("hv3", mac(made, "r1")) in ways(made)


def test_a_central_gateway_converses_like_a_vm() -> None:
    made = running("fabricpath")
    made.happen(LEG)
    assert made.send("r1", LEG_MAC) == [("gw", 50001)]
    assert ways(made) == {("hv2", LEG_MAC), ("gw", mac(made, "r1"))}


def test_an_anycast_leg_converses_with_vms_elsewhere_and_nobody_with_a_leg_elsewhere() -> None:
    made = running("fabricpath", gateway="anycast")
    assert made.happen(first_frame(made, "r1", LEG_MAC)) == ()  # one leg's absence says nothing of another's
    made.happen(PortUp("hv3", "hv3/red/web", "", 50001), PortUp("hv1", "hv1/red/web", "", 50001))
    frame = {"eth_src": LEG_MAC, "eth_dst": mac(made, "r1"), "eth_type": 0x0800}
    assert made.receivers("hv3", 50001, frame) == [("hv2", 1)]
    assert ways(made) == {("hv3", mac(made, "r1"))}
    assert made.send("r1", LEG_MAC) == []  # hv2's own leg is not up
    assert ways(made) == {("hv3", mac(made, "r1"))}  # hv1 has not learned
    made.happen(PortUp("hv2", "hv2/red/web", "", 50001))
    assert made.send("r1", LEG_MAC) == [("hv2", 50001)]
