/* LISP (RFC 9300 section 5.1) from LISP-GPE (RFC 9305), which Open vSwitch speaks: the same eight bytes.
 *
 *   +-+-+-+-+-+-+-+-+-----------------------------------------------+
 *   |N|L|E|V|I|P|K|K|        Nonce/Map-Version      | Next Protocol |
 *   +-+-+-+-+-+-+-+-+-------------------------------+---------------+
 *   |                 Instance ID                   |     LSBs      |
 *   +-----------------------------------------------+---------------+
 *
 * LISP has no P bit and no next protocol: the version of the packet inside tells what it is.
 */
#include "vxlan.h"

#define LISP_PORT 4341
#define INSTANCE_VALID 0x08 /* the I bit */
#define NEXT_PROTOCOL_VALID 0x04 /* the P bit */
#define KEY 0x03 /* the KK bits */
#define GPE_IPV4 1
#define GPE_IPV6 2

struct lisp_frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__u8 flags;
	__u8 nonce[2];
	__u8 next_protocol; /* or the last byte of a nonce */
	__u8 instance[3];
	__u8 status;
	__u8 inner; /* the first byte of the packet inside */
} __attribute__((packed));

static __always_inline int is_lisp(const struct lisp_frame *frame)
{
	return frame->eth.h_proto == bpf_htons(ETH_P_IP) && is_plain(&frame->ip) &&
	       frame->ip.protocol == IPPROTO_UDP && frame->udp.dest == bpf_htons(LISP_PORT);
}

SEC("tc")
int spell(struct __sk_buff *skb)
{
	struct lisp_frame frame;
	__u8 header[4] = {INSTANCE_VALID};
	const struct node *me = this_node();

	if (bpf_skb_load_bytes(skb, 0, &frame, sizeof(frame)) < 0 || !is_lisp(&frame) || !me || frame.ip.saddr != me->vtep)
		return TC_ACT_OK;
	bpf_skb_store_bytes(skb, offsetof(struct lisp_frame, flags), header, sizeof(header), 0);
	return TC_ACT_OK;
}

SEC("xdp.frags") /* frames larger than a page, too: what is looked at is in its first */
int translate(struct xdp_md *xdp)
{
	struct lisp_frame *frame = (void *)(long)xdp->data;
	const struct node *me = this_node();

	if ((void *)(frame + 1) > (void *)(long)xdp->data_end || !is_lisp(frame) || !me || frame->ip.daddr != me->vtep)
		return XDP_PASS;
	if (!(frame->flags & INSTANCE_VALID))
		return XDP_DROP; /* whose packet it is cannot be told: instances share addresses */
	if (frame->flags & KEY)
		return XDP_DROP; /* encrypted (RFC 8061), and there are no keys: no packet for a VM */
	if (!(frame->flags & NEXT_PROTOCOL_VALID)) {
		__u8 version = frame->inner >> 4;
		if (version != 4 && version != 6)
			return XDP_DROP;
		frame->next_protocol = version == 6 ? GPE_IPV6 : GPE_IPV4;
	}
	frame->flags = INSTANCE_VALID | NEXT_PROTOCOL_VALID;
	frame->nonce[0] = frame->nonce[1] = 0;
	frame->status = 0;
	frame->udp.check = 0; /* it was over what these bytes were */
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
