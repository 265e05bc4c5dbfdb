/* FabricPath: hypervisors are edge switches, the others forward on the switch ID in the outer destination.
 *
 * The outer MACs are hierarchical, and EtherType 0x8903 is followed by FTag (10 bits) and TTL (6 bits), as Cisco's
 * documents of the format and Wireshark's dissector (packet-cfp.c) have it:
 *   +-----------+-+-+---+-+-+-----------------------+---------------+-------------------------------+
 *   |EndnodeID 6|U|I|EI2|R|O|     Switch ID 12      | Sub-switch 8  |        Local ID (LID) 16      |
 *   +-----------+-+-+---+-+-+-----------------------+---------------+-------------------------------+
 * A hypervisor has one logical interface per segment; its LID is the VNI of the VXLAN frame. Frames to a group keep the
 * inner destination as the outer one, and the source's LID tells the segment.
 */
#include "fabric.h"

#define ETH_P_FABRICPATH 0x8903
#define LOCALLY_ADMINISTERED 0x02
#define SWITCH_ID 0x0fff
#define FIRST_FTAG 1
#define TTL 0x3f

struct hierarchical {
	__be16 bits; /* endnode ID, U/L, I/G, endnode ID, reserved, OOO/DL, and the upper 4 bits of the switch ID */
	__u8 switch_id;
	__u8 sub_switch;
	__be16 local_id;
} __attribute__((packed));

struct fabricpath_frame { /* 16 bytes, then the VM's frame */
	union {
		struct hierarchical to;
		__u8 group[ETH_ALEN];
	};
	struct hierarchical from;
	__be16 type;
	__be16 tag;
} __attribute__((packed));

static __always_inline void set_hierarchical(struct hierarchical *mac, __u32 switch_id, __u32 local_id)
{
	mac->bits = bpf_htons(LOCALLY_ADMINISTERED << 8 | (switch_id & SWITCH_ID) >> 8);
	mac->switch_id = switch_id;
	mac->sub_switch = 0;
	mac->local_id = bpf_htons(local_id);
}

static __always_inline __u32 switch_of(const struct hierarchical *mac)
{
	return (bpf_ntohs(mac->bits) & 15) << 8 | mac->switch_id;
}

static __always_inline int is_group(const struct fabricpath_frame *frame)
{
	return frame->group[0] & 1;
}

/* -- edge ------------------------------------------------------------------------------------------------------- */

SEC("tc")
int spell(struct __sk_buff *skb)
{
	struct vxlan_frame vxlan;
	struct fabricpath_frame path = {};
	const struct node *me = this_node();

	if (!read_vxlan(skb, &vxlan, me))
		return TC_ACT_OK;
	__u32 out = skb->ifindex, target = bpf_ntohl(vxlan.ip.daddr), multi = target >> 16 == TREES;
	__u32 ftag = multi ? target & 0x3ff : FIRST_FTAG;
	if (!multi && target >> 16 != EDGES)
		return TC_ACT_OK;
	if (multi) {
		if (bpf_skb_load_bytes(skb, sizeof(vxlan), path.group, sizeof(path.group)) < 0)
			return TC_ACT_SHOT;
	} else {
		const struct hop *hop = way_to(target & 0xffff, mixed(me->identifier, vxlan.udp.source));
		if (!hop) {
			count(NO_WAY);
			return TC_ACT_SHOT;
		}
		out = hop->ifindex;
		set_hierarchical(&path.to, target, vni_of(&vxlan));
	}
	set_hierarchical(&path.from, me->identifier, vni_of(&vxlan));
	path.type = bpf_htons(ETH_P_FABRICPATH);
	path.tag = bpf_htons(ftag << 6 | HOP_LIMIT);
	if (bpf_skb_adjust_room(skb, (int)sizeof(path) - (int)sizeof(vxlan), BPF_ADJ_ROOM_MAC, 0))
		return TC_ACT_SHOT;
	bpf_skb_store_bytes(skb, 0, &path, sizeof(path), 0);
	count(PASSED_ON);
	return out == skb->ifindex ? TC_ACT_OK : bpf_redirect(out, 0);
}

SEC("xdp.frags") /* frames larger than a page, too: what is looked at is in its first */
int translate(struct xdp_md *xdp)
{
	struct fabricpath_frame *path = (void *)(long)xdp->data;
	struct vxlan_frame vxlan = {};
	const struct node *me = this_node();

	if ((void *)(path + 1) > (void *)(long)xdp->data_end || path->type != bpf_htons(ETH_P_FABRICPATH))
		return not_ours(xdp, me);
	__u32 ingress = switch_of(&path->from), ftag = bpf_ntohs(path->tag) >> 6, multi = is_group(path);
	if (!me)
		return XDP_DROP;
	if (multi) {
		if (!may_arrive(ftag, ingress, xdp->ingress_ifindex))
			return XDP_DROP;
	} else if (switch_of(&path->to) != me->identifier) {
		count(WRONG_PATH);
		return XDP_DROP;
	}
	__u32 local_id = bpf_ntohs(multi ? path->from.local_id : path->to.local_id);
	__u16 payload = bpf_xdp_get_buff_len(xdp) - sizeof(*path);
	__builtin_memcpy(vxlan.eth.h_source, &path->from, ETH_ALEN);
	address_to_vtep(&vxlan, me, ingress);
	finish_vxlan(&vxlan, payload, bpf_htons(ENTROPY_PORT), local_id);
	count(DELIVERED);
	return put_vxlan(xdp, &vxlan, sizeof(*path));
}

/* -- core ------------------------------------------------------------------------------------------------------- */

SEC("tc")
int transit(struct __sk_buff *skb)
{
	struct fabricpath_frame path;
	const struct node *me = this_node();

	if (bpf_skb_load_bytes(skb, 0, &path, sizeof(path)) < 0 || path.type != bpf_htons(ETH_P_FABRICPATH))
		return TC_ACT_OK;
	if (!me)
		return TC_ACT_SHOT;
	__u32 tag = bpf_ntohs(path.tag);
	if ((tag & TTL) <= 1) {
		count(HOPS_USED_UP);
		return TC_ACT_SHOT;
	}
	path.tag = bpf_htons(tag - 1);
	bpf_skb_store_bytes(skb, offsetof(struct fabricpath_frame, tag), &path.tag, sizeof(path.tag), 0);
	if (is_group(&path))
		return may_arrive(tag >> 6, switch_of(&path.from), skb->ifindex) ? flood(skb, tag >> 6, 0) : TC_ACT_SHOT;
	const struct hop *hop = way_to(switch_of(&path.to), flow_hash(skb, sizeof(path), me->identifier));
	if (!hop) {
		count(NO_WAY);
		return TC_ACT_SHOT;
	}
	count(PASSED_ON);
	return bpf_redirect(hop->ifindex, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
