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
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define RETIRE_MS 30 /* a block that is not full is handed over after this long */
#define MAC_PAIR_BYTES 12
#define VLAN_TAG_BYTES 4
#define WAITERS 64 /* threads that open or close rings side by side */

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

/* A ring to open on an interface of the namespace at `netns`. The filter's return value is the snap length. */
struct opening {
    const char *netns, *interface;
    struct ring_size size;
    bool outgoing;
    struct sock_fprog filter;
    struct ring *ring;
};

static inline struct ring open_ring(const struct opening *o) {
    struct ring r = {0};
    enter_namespace(o->netns);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    address.sll_ifindex = (int)if_nametoindex(o->interface);
    if (!address.sll_ifindex)
        die("interface %s in %s", o->interface, o->netns);
    r.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (r.fd < 0)
        die("packet socket");
    int ignore = !o->outgoing;
    if (setsockopt(r.fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &ignore, sizeof ignore) != 0)
        die("PACKET_IGNORE_OUTGOING");
    if (setsockopt(r.fd, SOL_SOCKET, SO_ATTACH_FILTER, &o->filter, sizeof o->filter) != 0)
        die("packet filter");
    attach_ring(&r, o->size);
    if (bind(r.fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("bind to %s", o->interface);
    enter_namespace("");
    return r;
}

static inline void close_ring(struct ring *r) {
    munmap(r->map, (size_t)r->size.blocks * r->size.block_bytes);
    close(r->fd);
}

/* Work on many rings, of which each thread takes the next until none is left. */
struct shared_work {
    struct opening *openings;
    int count, next;
    bool closing;
};

static void *take_part(void *context) {
    struct shared_work *work = context;
    for (int i; (i = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED)) < work->count;) {
        struct opening *o = &work->openings[i];
        if (work->closing)
            close_ring(o->ring);
        else
            *o->ring = open_ring(o);
    }
    return NULL;
}

/* The kernel opens and closes a ring in some 10 ms of waiting until no processor uses what was there before (RCU); those
 * who wait at the same time wait for the same moment. */
static inline void side_by_side(struct shared_work work) {
    pthread_t threads[WAITERS];
    int started = 0;
    while (started < WAITERS && started < work.count - 1 &&
           pthread_create(&threads[started], NULL, take_part, &work) == 0)
        started++;
    take_part(&work);
    while (started)
        pthread_join(threads[--started], NULL);
}

/* Opens all of these rings, as many files as they may be. */
static inline void open_rings(struct opening *openings, int count) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    enter_namespace(""); /* remembers which that is, before threads would */
    side_by_side((struct shared_work){.openings = openings, .count = count});
}

/* Closes them; for a program that ends, which would close one after the other. */
static inline void close_rings(struct opening *openings, int count) {
    side_by_side((struct shared_work){.openings = openings, .count = count, .closing = true});
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
