/* What TRILL and FabricPath share: the tables of a node, and the two ways a frame goes on.
 *
 * The tables are filled by the lab (chimera/net/translators.py) from the planned fabric, as a kernel's routing table
 * is from a planned underlay. Programs only read them.
 */
#ifndef CHIMERA_FABRIC_H
#define CHIMERA_FABRIC_H

#include "vxlan.h"

#define EDGES 0xac15 /* 172.21: chimera/model/underlay.py spells edges as 172.21.x.y and trees as 172.22.x.y */
#define TREES 0xac16
#define MOST_HOPS 16
#define MOST_PORTS 64
#define HOP_LIMIT 32 /* what a frame starts with: far more than any path here has, few enough to end a loop soon */

struct hop {
	__u32 ifindex;
	__u8 mac[6]; /* of the next RBridge (TRILL) */
	__u16 unused;
};

struct ways {
	__u32 count;
	struct hop hops[MOST_HOPS];
};

struct ports {
	__u32 count;
	__u32 ifindex[MOST_PORTS];
};

struct arrival {
	__u32 tree;
	__u32 ingress;
};

struct mac {
	__u8 address[6];
	__u16 unused;
};

enum counter { PASSED_ON, FLOODED, DELIVERED, HOPS_USED_UP, NO_WAY, NO_ADJACENCY, WRONG_PATH, MALFORMED, COUNTERS };

TABLE(port_macs, BPF_MAP_TYPE_HASH, 1024, __u32, struct mac); /* ifindex -> MAC of that port */
TABLE(unicast, BPF_MAP_TYPE_HASH, 8192, __u32, struct ways); /* egress identifier -> equal-cost ways */
TABLE(trees, BPF_MAP_TYPE_HASH, 64, __u32, struct ports); /* tree -> ports on it */
TABLE(reverse_path, BPF_MAP_TYPE_HASH, 65536, struct arrival, __u32); /* -> the port where it must arrive */
TABLE(stations, BPF_MAP_TYPE_HASH, 8192, struct mac, __u32); /* a plain bridge's: MAC -> port */
TABLE(counters, BPF_MAP_TYPE_ARRAY, COUNTERS, __u32, __u64);

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &what);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* Whether a frame of a tree may come in at a port; what may not is counted (RFC 6325 section 4.5.2).
 *
 * The tree adjacency check comes first: on a LAN an RBridge also hears what others there send each other along trees
 * that it is not on at that port. That is no fault, and another copy comes by its own port. The reverse path forwarding
 * check finds a frame at a port of the tree that does not lead to its ingress: only while the topology changes.
 */
static __always_inline int may_arrive(__u32 tree, __u32 ingress, __u32 ifindex)
{
	const struct ports *ports = bpf_map_lookup_elem(&trees, &tree);
	struct arrival from = {tree, ingress};
	int adjacent = 0;

	if (!ports) {
		count(NO_WAY);
		return 0;
	}
	for (__u32 i = 0; i < MOST_PORTS; i++) {
		if (i >= ports->count)
			break;
		adjacent |= ports->ifindex[i] == ifindex;
	}
	if (!adjacent) {
		count(NO_ADJACENCY);
		return 0;
	}
	const __u32 *expected = bpf_map_lookup_elem(&reverse_path, &from);
	if (expected && *expected == ifindex)
		return 1;
	count(WRONG_PATH);
	return 0;
}

static __always_inline __u32 mixed(__u32 hash, __u32 word)
{
	hash ^= word; /* the finalizer of MurmurHash3: every bit of the input reaches every bit of the result */
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}

/* One of the ways to an edge, the same for all frames of a flow. */
static __always_inline const struct hop *way_to(__u32 egress, __u32 hash)
{
	const struct ways *ways = bpf_map_lookup_elem(&unicast, &egress);

	if (!ways || ways->count == 0 || ways->count > MOST_HOPS)
		return NULL;
	__u32 chosen = hash % ways->count;
	barrier_var(chosen); /* the compiler knows the bound, the verifier wants to see it checked */
	return chosen < MOST_HOPS ? &ways->hops[chosen] : NULL;
}

/* A hash of the flow a frame belongs to: addresses, VLAN, and where it is IP the five-tuple.
 *
 * `at` is where the VM's Ethernet header starts. What cannot be read counts as zero.
 */
static __always_inline __u32 flow_hash(struct __sk_buff *skb, __u32 at, __u32 salt)
{
	__u32 words[8] = {}, hash = salt, ports = 0;
	__be16 type = 0;
	__u8 head = 0, protocol = 0;

	bpf_skb_load_bytes(skb, at, words, 12);
	bpf_skb_load_bytes(skb, at + 12, &type, sizeof(type));
	hash = mixed(mixed(mixed(hash, words[0]), words[1]), words[2]);
	at += 14;
	if (type == bpf_htons(ETH_P_8021Q)) {
		bpf_skb_load_bytes(skb, at, words, 4);
		hash = mixed(hash, words[0] & bpf_htonl(0x0fff0000));
		type = words[0] >> 16;
		at += 4;
	}
	if (type == bpf_htons(ETH_P_IP)) {
		__be16 fragment = 0;
		bpf_skb_load_bytes(skb, at, &head, 1);
		bpf_skb_load_bytes(skb, at + 6, &fragment, 2);
		bpf_skb_load_bytes(skb, at + 9, &protocol, 1);
		bpf_skb_load_bytes(skb, at + 12, words, 8);
		hash = mixed(mixed(mixed(hash, words[0]), words[1]), protocol);
		if (fragment & bpf_htons(MORE_FRAGMENTS | NOT_FIRST_FRAGMENT))
			return hash; /* later fragments have no ports, and must go the same way */
		at += (head & 15) * 4;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		bpf_skb_load_bytes(skb, at + 6, &protocol, 1);
		bpf_skb_load_bytes(skb, at + 8, words, sizeof(words));
#pragma unroll
		for (int i = 0; i < 8; i++)
			hash = mixed(hash, words[i]);
		hash = mixed(hash, protocol);
		at += 40;
	} else {
		return hash;
	}
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
		bpf_skb_load_bytes(skb, at, &ports, sizeof(ports));
	return mixed(hash, ports);
}

/* A copy out of every port of a tree but the one it came in at; `sign` writes the sender's MAC where there is one. */
static __always_inline int flood(struct __sk_buff *skb, __u32 tree, int sign)
{
	const struct ports *ports = bpf_map_lookup_elem(&trees, &tree);

	if (!ports) {
		count(NO_WAY);
		return TC_ACT_SHOT;
	}
	__u32 in = skb->ifindex;
	for (__u32 i = 0; i < MOST_PORTS; i++) {
		if (i >= ports->count)
			break;
		__u32 out = ports->ifindex[i];
		if (out == in)
			continue;
		const struct mac *own = sign ? bpf_map_lookup_elem(&port_macs, &out) : NULL;
		if (own)
			bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_source), own->address, ETH_ALEN, 0);
		bpf_clone_redirect(skb, out, 0);
	}
	count(FLOODED);
	return TC_ACT_SHOT; /* the copies have left, this one has served */
}

/* At ingress of an edge: the VXLAN header by which Open vSwitch hears who sent a frame of which segment. */
static __always_inline void address_to_vtep(struct vxlan_frame *frame, const struct node *me, __u32 ingress)
{
	__builtin_memcpy(frame->eth.h_dest, me->vtep_mac, ETH_ALEN);
	frame->ip.saddr = bpf_htonl((__u32)EDGES << 16 | ingress);
	frame->ip.daddr = me->vtep;
	frame->ip.ttl = TUNNEL_TTL;
	frame->ip.frag_off = bpf_htons(DONT_FRAGMENT);
}

#endif
