/* What every translator starts from: Open vSwitch sends and receives VXLAN (RFC 7348), the link carries something else.
 *
 * At egress a translator takes VXLAN's 50 bytes off and puts its own header on; at ingress it does the reverse. What
 * the header says comes from the VXLAN frame alone (outer addresses, UDP source port, VNI), so nothing is remembered.
 *
 * It is the node's own tunnel port that speaks VXLAN to a translator: what merely looks like it, a tenant's packet on its
 * way to or from a client, is left alone, and VXLAN that comes over a link for the node itself is not let in.
 */
#ifndef CHIMERA_VXLAN_H
#define CHIMERA_VXLAN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VXLAN_PORT 4789 /* RFC 7348 section 5 */
#define VXLAN_FLAGS 0x08000000 /* the I flag: the VNI is valid */
#define ENTROPY_PORT 49152 /* the first dynamic port: what a rebuilt header says where the link told no port */
#define NOT_FIRST_FRAGMENT 0x1fff
#define MORE_FRAGMENTS 0x2000
#define DONT_FRAGMENT 0x4000
#define TUNNEL_TTL 64

struct vxlan_frame { /* 50 bytes, then the VM's frame */
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__be32 flags;
	__be32 vni; /* 24 bits and 8 reserved ones */
} __attribute__((packed));

#define TABLE(name, kind, most, key_type, value_type) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, most); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

struct node {
	__u32 identifier; /* nickname or switch ID of this node; 0 where there is no fabric */
	__be32 vtep; /* address of br-phy, where Open vSwitch sends and expects tunnel packets */
	__u8 vtep_mac[6];
	__u16 unused;
};

TABLE(self, BPF_MAP_TYPE_ARRAY, 1, __u32, struct node); /* filled by the lab (chimera/net/translators.py) */

static __always_inline const struct node *this_node(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&self, &first);
}

static __always_inline __u32 vni_of(const struct vxlan_frame *frame)
{
	return bpf_ntohl(frame->vni) >> 8;
}

/* The Internet checksum over an IPv4 header without options (RFC 791 section 3.1). */
static __always_inline void set_ip_checksum(struct iphdr *ip)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

	ip->check = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
}

/* Whether an IPv4 header is one that translators handle: no options, no fragment. */
static __always_inline int is_plain(const struct iphdr *ip)
{
	return ip->version == 4 && ip->ihl == 5 && !(ip->frag_off & bpf_htons(MORE_FRAGMENTS | NOT_FIRST_FRAGMENT));
}

/* At egress: reads the 50 bytes if the frame is what Open vSwitch's tunnel port sent. */
static __always_inline int read_vxlan(struct __sk_buff *skb, struct vxlan_frame *frame, const struct node *me)
{
	if (!me || bpf_skb_load_bytes(skb, 0, frame, sizeof(*frame)) < 0)
		return 0;
	return frame->eth.h_proto == bpf_htons(ETH_P_IP) && is_plain(&frame->ip) && frame->ip.saddr == me->vtep &&
	       frame->ip.protocol == IPPROTO_UDP && frame->udp.dest == bpf_htons(VXLAN_PORT);
}

/* At ingress: what to do with a frame that is not in the lab's format. */
static __always_inline int not_ours(struct xdp_md *xdp, const struct node *me)
{
	const struct vxlan_frame *frame = (void *)(long)xdp->data;

	if ((void *)&frame->flags > (void *)(long)xdp->data_end || frame->eth.h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	int to_tunnel_port = frame->ip.ihl == 5 && frame->ip.protocol == IPPROTO_UDP &&
			     frame->udp.dest == bpf_htons(VXLAN_PORT);
	return to_tunnel_port && me && frame->ip.daddr == me->vtep ? XDP_DROP : XDP_PASS;
}

/* At ingress: everything behind the addresses and the length, for a VM's frame of `payload` bytes. */
static __always_inline void finish_vxlan(struct vxlan_frame *frame, __u16 payload, __be16 source_port, __u32 vni)
{
	frame->eth.h_proto = bpf_htons(ETH_P_IP);
	frame->ip.version = 4;
	frame->ip.ihl = 5;
	frame->ip.protocol = IPPROTO_UDP;
	frame->ip.tot_len = bpf_htons(sizeof(*frame) - sizeof(frame->eth) + payload);
	set_ip_checksum(&frame->ip);
	frame->udp.source = source_port;
	frame->udp.dest = bpf_htons(VXLAN_PORT);
	frame->udp.len = bpf_htons(sizeof(frame->udp) + 8 + payload);
	frame->udp.check = 0; /* RFC 7348 section 5: should be zero, and nothing checks what never was on a link */
	frame->flags = bpf_htonl(VXLAN_FLAGS);
	frame->vni = bpf_htonl(vni << 8);
}

/* At ingress: puts the VXLAN header where `taken` bytes of another one stood, which are at most as many. */
static __always_inline int put_vxlan(struct xdp_md *xdp, const struct vxlan_frame *frame, int taken)
{
	if (bpf_xdp_adjust_head(xdp, taken - (int)sizeof(*frame)))
		return XDP_DROP;
	void *data = (void *)(long)xdp->data;
	if (data + sizeof(*frame) > (void *)(long)xdp->data_end)
		return XDP_DROP;
	__builtin_memcpy(data, frame, sizeof(*frame));
	return XDP_PASS;
}

#endif
