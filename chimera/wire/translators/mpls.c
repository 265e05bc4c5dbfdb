/* MPLS in IP, with an Ethernet pseudowire inside: the VNI is the label.
 *
 * On the link, behind Ethernet and IPv4, by variant:
 *   udp   UDP to port 6635 (RFC 7510), the source port as Open vSwitch chose it: entropy
 *   gre   GRE of protocol type 0x8847 (RFC 4023 section 3.2)
 *   ip    nothing: IP protocol 137 (RFC 4023 section 3.1)
 * then one label stack entry (RFC 3032 section 2.1):
 *   +---------------------------------------+-----+-+---------------+
 *   |                Label 20               |TC 3 |S|     TTL 8     |
 *   +---------------------------------------+-----+-+---------------+
 * then, where the variant says so, the control word (RFC 4448 section 4.6), all zero: no sequencing.
 */
#include "vxlan.h"

#define MPLS_PORT 6635
#define GRE_MPLS 0x00008847 /* no flags, version 0, protocol type */
#define LAST_ENTRY 0x100 /* the S bit */
#define RESERVED_LABELS 16

enum { WIRE_UDP, WIRE_GRE, WIRE_IP, WIRE_MASK = 15, CONTROL_WORD = 16 };

TABLE(variant, BPF_MAP_TYPE_ARRAY, 1, __u32, __u32);

static __always_inline __u32 chosen_variant(void)
{
	__u32 first = 0, *found = bpf_map_lookup_elem(&variant, &first);

	return found ? *found : 0;
}

/* Bytes between the IPv4 header and the label. */
static __always_inline int shim_bytes(__u32 wire)
{
	return wire == WIRE_UDP ? sizeof(struct udphdr) : wire == WIRE_GRE ? 4 : 0;
}

static __always_inline __u8 protocol_of(__u32 wire)
{
	return wire == WIRE_UDP ? IPPROTO_UDP : wire == WIRE_GRE ? IPPROTO_GRE : IPPROTO_MPLS;
}

SEC("tc")
int spell(struct __sk_buff *skb)
{
	struct vxlan_frame frame;

	if (!read_vxlan(skb, &frame, this_node()))
		return TC_ACT_OK;
	__u32 how = chosen_variant(), wire = how & WIRE_MASK;
	int shim = shim_bytes(wire), word = how & CONTROL_WORD ? 4 : 0;
	int removed = sizeof(struct udphdr) + 8 - (shim + 4 + word);
	__u16 length = bpf_ntohs(frame.ip.tot_len) - removed;
	__be32 entry = bpf_htonl(vni_of(&frame) << 12 | LAST_ENTRY | frame.ip.ttl), zero = 0;
	int at = sizeof(frame.eth) + sizeof(frame.ip);

	if (removed && bpf_skb_adjust_room(skb, -removed, BPF_ADJ_ROOM_MAC, 0))
		return TC_ACT_SHOT;
	frame.ip.protocol = protocol_of(wire);
	frame.ip.tot_len = bpf_htons(length);
	set_ip_checksum(&frame.ip);
	bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame.eth) + sizeof(frame.ip), 0);
	if (wire == WIRE_UDP) {
		frame.udp.dest = bpf_htons(MPLS_PORT);
		frame.udp.len = bpf_htons(length - sizeof(frame.ip));
		bpf_skb_store_bytes(skb, at, &frame.udp, sizeof(frame.udp), 0);
	} else if (wire == WIRE_GRE) {
		__be32 gre = bpf_htonl(GRE_MPLS);
		bpf_skb_store_bytes(skb, at, &gre, sizeof(gre), 0);
	}
	bpf_skb_store_bytes(skb, at + shim, &entry, sizeof(entry), 0);
	if (word)
		bpf_skb_store_bytes(skb, at + shim + 4, &zero, sizeof(zero), 0);
	return TC_ACT_OK;
}

/* The source port a shim has, 0 where it announces no MPLS. */
static __always_inline __be16 port_of_shim(const void *shim, __u32 wire)
{
	const struct udphdr *udp = shim;

	if (wire == WIRE_UDP)
		return udp->dest == bpf_htons(MPLS_PORT) ? udp->source : 0;
	if (wire == WIRE_GRE && *(const __be32 *)shim != bpf_htonl(GRE_MPLS))
		return 0;
	return bpf_htons(ENTROPY_PORT);
}

SEC("xdp.frags") /* frames larger than a page, too: what is looked at is in its first */
int translate(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct vxlan_frame frame = {};
	const struct node *me = this_node();
	__u32 how = chosen_variant(), wire = how & WIRE_MASK;
	int at = sizeof(frame.eth) + sizeof(frame.ip), shim = shim_bytes(wire), word = how & CONTROL_WORD ? 4 : 0;

	if (data + at + sizeof(struct udphdr) + 8 > end) /* shorter than any frame with Ethernet inside */
		return not_ours(xdp, me);
	__builtin_memcpy(&frame, data, sizeof(frame.eth) + sizeof(frame.ip));
	if (frame.eth.h_proto != bpf_htons(ETH_P_IP) || !is_plain(&frame.ip) || frame.ip.protocol != protocol_of(wire) ||
	    !me || frame.ip.daddr != me->vtep)
		return not_ours(xdp, me);
	__be16 port = port_of_shim(data + at, wire);
	__u32 entry = bpf_ntohl(*(__be32 *)(data + at + shim)), label = entry >> 12;
	int taken = at + shim + 4 + word, payload = bpf_ntohs(frame.ip.tot_len) - (taken - (int)sizeof(frame.eth));
	if (!port || label < RESERVED_LABELS || payload < 0)
		return not_ours(xdp, me);
	if (!(entry & LAST_ENTRY) || (entry & 0xff) == 0)
		return XDP_DROP; /* this end pops one label, and RFC 3032 section 2.4 forbids a TTL of 0 to go on */
	if (word && *(__be32 *)(data + at + shim + 4) & bpf_htonl(0xf0000000))
		return XDP_DROP; /* RFC 4385 section 3: no control word of a pseudowire */
	finish_vxlan(&frame, payload, port, label);
	return put_vxlan(xdp, &frame, taken);
}

char _license[] SEC("license") = "Dual MIT/GPL";
