/* Many interfaces in many network namespaces, watched by one process: TPACKET_V3 rings.
 *
 * The kernel writes frames into a shared ring and wakes the reader once a block, not once a frame, so
 * watching costs little beside what is watched. A ring keeps its namespace alive, and stays where it is.
 *
 * On a busy machine the reader may not run for a while; what the ring can bridge is its size at high rates and, since
 * blocks are handed over however empty, the number of its blocks times RETIRE_MS at low ones: hence many small blocks.
 */
#ifndef CHIMERA_RING_H
#define CHIMERA_RING_H

#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RETIRE_MS 30 /* a block that is not full is handed over after this long */
#define MAC_PAIR_BYTES 12
#define VLAN_TAG_BYTES 4

/* How much a ring holds; a block must hold the longest frame kept. */
struct ring_size {
    unsigned block_bytes, blocks;
};

struct ring {
    int fd;
    uint8_t *map;
    struct ring_size size;
    unsigned current;
    uint64_t dropped;
};

/* A captured frame as the ring holds it; `tpid` is 0 where the kernel took no VLAN tag away. */
struct captured {
    const uint8_t *data;
    uint32_t length, wire_length;
    uint64_t time_ns;
    uint16_t tpid, tci;
    uint8_t packet_type;
};

typedef void (*frame_handler)(void *context, const struct captured *frame);

/* Enters a network namespace; "" and "-" are the one the process was started in. */
static inline void enter_namespace(const char *path) {
    static int own = -1;
    if (own < 0 && (own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        die("/proc/self/ns/net");
    bool home = !*path || !strcmp(path, "-");
    int fd = home ? own : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
        die("network namespace %s", path);
    if (!home)
        close(fd);
}

static inline void attach_ring(struct ring *r, struct ring_size size) {
    int version = TPACKET_V3;
    struct tpacket_req3 request = {.tp_block_size = size.block_bytes,
                                   .tp_block_nr = size.blocks,
                                   .tp_frame_size = 2048,
                                   .tp_frame_nr = size.blocks * (size.block_bytes / 2048),
                                   .tp_retire_blk_tov = RETIRE_MS};
    if (setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0 ||
        setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) != 0)
        die("packet ring");
    r->size = size;
    r->map = mmap(NULL, (size_t)size.blocks * size.block_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
    if (r->map == MAP_FAILED)
        die("packet ring of %u blocks", size.blocks);
}

/* Opens a ring on an interface of the namespace at `netns`. The filter's return value is the snap length. */
static inline struct ring open_ring(const char *netns, const char *interface, struct ring_size size, bool outgoing,
                                    const struct sock_fprog *filter) {
    struct ring r = {0};
    enter_namespace(netns);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    address.sll_ifindex = (int)if_nametoindex(interface);
    if (!address.sll_ifindex)
        die("interface %s in %s", interface, netns);
    r.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (r.fd < 0)
        die("packet socket");
    int ignore = !outgoing;
    if (setsockopt(r.fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &ignore, sizeof ignore) != 0)
        die("PACKET_IGNORE_OUTGOING");
    if (setsockopt(r.fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof *filter) != 0)
        die("packet filter");
    attach_ring(&r, size);
    if (bind(r.fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("bind to %s", interface);
    enter_namespace("");
    return r;
}

static inline struct captured read_slot(const struct tpacket3_hdr *slot) {
    const struct sockaddr_ll *link = (const void *)((const uint8_t *)slot + TPACKET_ALIGN(sizeof *slot));
    struct captured frame = {.data = (const uint8_t *)slot + slot->tp_mac,
                             .length = slot->tp_snaplen,
                             .wire_length = slot->tp_len,
                             .time_ns = slot->tp_sec * NS_PER_S + slot->tp_nsec,
                             .packet_type = link->sll_pkttype};
    if (slot->tp_status & TP_STATUS_VLAN_VALID) {
        frame.tci = (uint16_t)slot->hv1.tp_vlan_tci;
        frame.tpid = slot->tp_status & TP_STATUS_VLAN_TPID_VALID ? slot->hv1.tp_vlan_tpid : ETHERTYPE_VLAN;
    }
    return frame;
}

/* Hands every frame of the finished blocks to `handle` and gives the blocks back. */
static inline void drain(struct ring *r, frame_handler handle, void *context) {
    for (;;) {
        struct tpacket_block_desc *block = (void *)(r->map + (size_t)r->current * r->size.block_bytes);
        struct tpacket_hdr_v1 *head = &block->hdr.bh1;
        if (!(__atomic_load_n(&head->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
            return;
        const uint8_t *slot = (const uint8_t *)block + head->offset_to_first_pkt;
        for (uint32_t i = 0; i < head->num_pkts; i++) {
            struct captured frame = read_slot((const void *)slot);
            handle(context, &frame);
            slot += ((const struct tpacket3_hdr *)slot)->tp_next_offset;
        }
        __atomic_store_n(&head->block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        r->current = (r->current + 1) % r->size.blocks;
    }
}

/* Takes away the error that an interface going down leaves behind; the interface may come back. */
static inline void clear_error(int fd) {
    int ignored;
    socklen_t size = sizeof ignored;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &ignored, &size);
}

/* Frames the kernel could not put into the ring since it was opened. */
static inline uint64_t ring_dropped(struct ring *r) {
    struct tpacket_stats_v3 statistics; /* reading them resets them */
    socklen_t size = sizeof statistics;
    if (getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0)
        r->dropped += statistics.tp_drops;
    return r->dropped;
}

/* Long enough for the kernel to hand over blocks that are not full: whatever arrived before is then there. */
static inline void await_retirement(void) {
    struct timespec pause = ns_timespec(3 * RETIRE_MS * NS_PER_MS);
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
        ;
}

#endif
