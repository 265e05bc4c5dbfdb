/* TRILL (RFC 6325): hypervisors are edge RBridges, switches and routers of the core transit ones.
 *
 * After the outer Ethernet header (hop by hop), EtherType 0x22F3 and then (section 3.1):
 *   +--+---+-+-----+------+-------------------------------+
 *   |V2|R 2|M|OpL 5|Hop 6 |       Egress nickname         |
 *   +--+---+-+-----+------+-------------------------------+
 *   |       Ingress nickname        |
 *   +-------------------------------+
 * then the VM's frame with an 802.1Q tag, which is always there: its VLAN ID is the VNI of the VXLAN frame.
 */
#include "fabric.h"

#define ETH_P_TRILL 0x22f3
#define MULTI_DESTINATION 0x0800
#define OPTIONS 0x07c0 /* their length; this RBridge knows none */
#define VERSION 0xc000
#define HOPS 0x003f
#define VLAN_ID 0x0fff

struct trill_header {
	struct ethhdr eth;
	__be16 bits;
	__be16 egress;
	__be16 ingress;
} __attribute__((packed));

struct trill_frame { /* up to the inner tag: 36 bytes */
	struct trill_header outer;
	__u8 inner_macs[12];
	__be16 tpid;
	__be16 tag;
} __attribute__((packed));

static const __u8 all_rbridges[ETH_ALEN] = {0x01, 0x80, 0xc2, 0x00, 0x00, 0x40};

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b && *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

static __always_inline int is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

/* Whether this RBridge should look at a frame at all (section 4.6.2: unicast to this port, or to All-RBridges). */
static __always_inline int is_for_port(const struct trill_header *trill, __u32 ifindex)
{
	if (trill->bits & bpf_htons(MULTI_DESTINATION))
		return same_mac(trill->eth.h_dest, all_rbridges);
	const struct mac *own = bpf_map_lookup_elem(&port_macs, &ifindex);
	return own && same_mac(trill->eth.h_dest, own->address);
}

/* -- edge ------------------------------------------------------------------------------------------------------- */

SEC("tc")
int spell(struct __sk_buff *skb)
{
	struct vxlan_frame vxlan;
	struct trill_frame trill = {};
	const struct node *me = this_node();

	if (!read_vxlan(skb, &vxlan, me))
		return TC_ACT_OK;
	__u32 out = skb->ifindex, target = bpf_ntohl(vxlan.ip.daddr), multi = target >> 16 == TREES;
	if (!multi && target >> 16 != EDGES)
		return TC_ACT_OK;
	if (bpf_skb_load_bytes(skb, sizeof(vxlan), trill.inner_macs, sizeof(trill.inner_macs)) < 0)
		return TC_ACT_SHOT;
	if (multi) {
		__builtin_memcpy(trill.outer.eth.h_dest, all_rbridges, ETH_ALEN);
	} else {
		const struct hop *hop = way_to(target & 0xffff, mixed(me->identifier, vxlan.udp.source));
		if (!hop) {
			count(NO_WAY);
			return TC_ACT_SHOT;
		}
		__builtin_memcpy(trill.outer.eth.h_dest, hop->mac, ETH_ALEN);
		out = hop->ifindex;
	}
	const struct mac *own = bpf_map_lookup_elem(&port_macs, &out);
	if (own)
		__builtin_memcpy(trill.outer.eth.h_source, own->address, ETH_ALEN);
	trill.outer.eth.h_proto = bpf_htons(ETH_P_TRILL);
	trill.outer.bits = bpf_htons((multi ? MULTI_DESTINATION : 0) | HOP_LIMIT);
	trill.outer.egress = bpf_htons(target);
	trill.outer.ingress = bpf_htons(me->identifier);
	trill.tpid = bpf_htons(ETH_P_8021Q);
	trill.tag = bpf_htons(vni_of(&vxlan) & VLAN_ID);
	if (bpf_skb_adjust_room(skb, (int)sizeof(trill) - (int)(sizeof(vxlan) + 12), BPF_ADJ_ROOM_MAC, 0))
		return TC_ACT_SHOT;
	bpf_skb_store_bytes(skb, 0, &trill, sizeof(trill), 0);
	count(PASSED_ON);
	return out == skb->ifindex ? TC_ACT_OK : bpf_redirect(out, 0);
}

/* Whether a frame is for this edge; what is not is counted. */
static __always_inline int is_to_me(const struct trill_header *trill, const struct node *me, __u32 ifindex)
{
	__u32 egress = bpf_ntohs(trill->egress), ingress = bpf_ntohs(trill->ingress);

	if (trill->bits & bpf_htons(MULTI_DESTINATION))
		return may_arrive(egress, ingress, ifindex);
	if (egress != me->identifier)
		count(WRONG_PATH);
	return egress == me->identifier;
}

SEC("xdp.frags") /* frames larger than a page, too: what is looked at is in its first */
int translate(struct xdp_md *xdp)
{
	struct trill_frame *trill = (void *)(long)xdp->data;
	struct vxlan_frame vxlan = {};
	const struct node *me = this_node();

	if ((void *)(trill + 1) > (void *)(long)xdp->data_end || trill->outer.eth.h_proto != bpf_htons(ETH_P_TRILL))
		return not_ours(xdp, me);
	if (!me || !is_for_port(&trill->outer, xdp->ingress_ifindex))
		return XDP_DROP;
	if (trill->outer.bits & bpf_htons(VERSION | OPTIONS) || trill->tpid != bpf_htons(ETH_P_8021Q)) {
		count(MALFORMED);
		return XDP_DROP;
	}
	if (!(trill->outer.bits & bpf_htons(HOPS))) { /* section 3.6, for egress RBridges as well */
		count(HOPS_USED_UP);
		return XDP_DROP;
	}
	if (!is_to_me(&trill->outer, me, xdp->ingress_ifindex))
		return XDP_DROP;
	__u32 vlan = bpf_ntohs(trill->tag) & VLAN_ID;
	__u16 payload = bpf_xdp_get_buff_len(xdp) - sizeof(*trill) + sizeof(trill->inner_macs);
	__u8 macs[12];
	__builtin_memcpy(macs, trill->inner_macs, sizeof(macs));
	__builtin_memcpy(vxlan.eth.h_source, trill->outer.eth.h_source, ETH_ALEN);
	address_to_vtep(&vxlan, me, bpf_ntohs(trill->outer.ingress));
	finish_vxlan(&vxlan, payload, bpf_htons(ENTROPY_PORT), vlan);
	if (put_vxlan(xdp, &vxlan, sizeof(*trill) - sizeof(macs)) != XDP_PASS)
		return XDP_DROP;
	void *inner = (void *)(long)xdp->data + sizeof(vxlan);
	if (inner + sizeof(macs) > (void *)(long)xdp->data_end)
		return XDP_DROP;
	__builtin_memcpy(inner, macs, sizeof(macs));
	count(DELIVERED);
	return XDP_PASS;
}

/* -- core ------------------------------------------------------------------------------------------------------- */

SEC("tc")
int transit(struct __sk_buff *skb)
{
	struct trill_header trill;
	const struct node *me = this_node();

	if (bpf_skb_load_bytes(skb, 0, &trill, sizeof(trill)) < 0 || trill.eth.h_proto != bpf_htons(ETH_P_TRILL))
		return TC_ACT_OK;
	if (!me || !is_for_port(&trill, skb->ifindex))
		return TC_ACT_SHOT;
	__u32 bits = bpf_ntohs(trill.bits), egress = bpf_ntohs(trill.egress), ingress = bpf_ntohs(trill.ingress);
	if (bits & VERSION) {
		count(MALFORMED);
		return TC_ACT_SHOT;
	}
	if (!(bits & HOPS)) { /* section 3.6: a count of zero is the end, and one that becomes zero still goes on */
		count(HOPS_USED_UP);
		return TC_ACT_SHOT;
	}
	trill.bits = bpf_htons(bits - 1);
	bpf_skb_store_bytes(skb, offsetof(struct trill_header, bits), &trill.bits, sizeof(trill.bits), 0);
	if (bits & MULTI_DESTINATION)
		return may_arrive(egress, ingress, skb->ifindex) ? flood(skb, egress, 1) : TC_ACT_SHOT;
	const struct hop *hop = way_to(egress, flow_hash(skb, sizeof(trill), me->identifier));
	if (!hop) {
		count(NO_WAY);
		return TC_ACT_SHOT;
	}
	__u32 out = hop->ifindex;
	bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), hop->mac, ETH_ALEN, 0);
	const struct mac *own = bpf_map_lookup_elem(&port_macs, &out);
	if (own)
		bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_source), own->address, ETH_ALEN, 0);
	count(PASSED_ON);
	return bpf_redirect(out, 0);
}

/* A plain Ethernet bridge between RBridges: it looks at outer MACs alone. Tree 0 is all of its ports. */
SEC("tc")
int bridge(struct __sk_buff *skb)
{
	struct ethhdr eth;
	struct mac to = {};

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) < 0 || eth.h_proto != bpf_htons(ETH_P_TRILL))
		return TC_ACT_OK;
	__builtin_memcpy(to.address, eth.h_dest, ETH_ALEN);
	const __u32 *out = is_group(eth.h_dest) ? NULL : bpf_map_lookup_elem(&stations, &to);
	if (!out)
		return flood(skb, 0, 0);
	if (*out == skb->ifindex)
		return TC_ACT_SHOT;
	count(PASSED_ON);
	return bpf_redirect(*out, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
