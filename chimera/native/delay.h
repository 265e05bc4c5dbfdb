/* One direction of a cable: a queue, a transmitter and a pipe. No sockets and no clock: see delayline.c.
 *
 *   enter()  takes a received frame in, or loses it, and decides when it leaves
 *   head     is the next frame to leave, at head->due_ns; drop_head() removes it
 */
#ifndef CHIMERA_DELAY_H
#define CHIMERA_DELAY_H

#include "common.h"

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>

#define VLAN_TAG 4
#define MAC_PAIR 12
#define LATE_NS NS_PER_MS /* a frame that leaves later than this after its time counts as late */
#define HELD_MAX (512UL << 20) /* bytes one direction may hold: with unlimited bandwidth nothing else bounds it */

struct impairment {
    double bandwidth_mbps, delay_ms, jitter_ms, loss_percent;
};

struct frame {
    struct frame *next;
    uint64_t start_ns; /* its first bit enters the pipe */
    uint64_t due_ns;   /* its last bit leaves the pipe */
    uint32_t length;   /* of data: virtio_net_hdr and frame */
    unsigned char data[];
};

struct counters {
    uint64_t frames, bytes, dropped_loss, dropped_queue, dropped_cut, dropped_send, dropped_kernel;
    uint64_t queue_max, late, late_sum_ns, late_max_ns;
};

struct direction {
    const char *name;
    int in, out; /* sockets of the caller */
    struct impairment impairment;
    struct frame *head, *tail;
    struct frame *waiting; /* the first frame that has not begun to leave the queue */
    uint64_t queued;       /* frames from `waiting` on */
    size_t held_bytes;
    uint64_t free_ns; /* the transmitter is busy until then */
    uint64_t last_due_ns;
    uint64_t random;
    bool cut;
    struct counters counters;
};

static uint64_t queue_packets = 1000;

/* -- frames ------------------------------------------------------------------------------ */

/* What the kernel says about a received frame beside its bytes. */
struct reception {
    uint64_t realtime_ns; /* 0: not stamped */
    bool tagged;
    uint16_t tpid, tci;
};

/* A frame of its own from a receive buffer, with its VLAN tag back in place. */
static inline struct frame *copy_frame(const unsigned char *buffer, size_t length, const struct reception *how) {
    const size_t head = sizeof(struct virtio_net_hdr) + MAC_PAIR;
    size_t tag = how->tagged ? VLAN_TAG : 0;
    struct frame *frame = malloc(sizeof *frame + length + tag);
    if (!frame)
        return NULL;
    frame->length = (uint32_t)(length + tag);
    memcpy(frame->data, buffer, head);
    memcpy(frame->data + head + tag, buffer + head, length - head);
    if (tag) {
        uint16_t inserted[2] = {htons(how->tpid), htons(how->tci)};
        memcpy(frame->data + head, inserted, VLAN_TAG);
        struct virtio_net_hdr vnet; /* its offsets count from the start of the frame, which just grew */
        memcpy(&vnet, frame->data, sizeof vnet);
        if (vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
            vnet.csum_start += VLAN_TAG;
        if (vnet.hdr_len)
            vnet.hdr_len += VLAN_TAG;
        memcpy(frame->data, &vnet, sizeof vnet);
    }
    return frame;
}

/* Bytes that go over the wire for a frame: a GSO frame repeats its headers in every segment. */
static inline uint64_t wire_bytes(const struct frame *frame) {
    struct virtio_net_hdr vnet;
    memcpy(&vnet, frame->data, sizeof vnet);
    uint64_t length = frame->length - sizeof vnet;
    if (vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE || !vnet.gso_size || length <= vnet.hdr_len)
        return length;
    uint64_t segments = (length - vnet.hdr_len + vnet.gso_size - 1) / vnet.gso_size;
    return length + (segments - 1) * vnet.hdr_len;
}

/* -- the line ---------------------------------------------------------------------------- */

/* A uniform number in [0, 1): splitmix64, whose state any seed suits. */
static inline double uniform(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static inline uint64_t pipe_ns(struct direction *d) {
    double ms = d->impairment.delay_ms;
    if (d->impairment.jitter_ms > 0)
        ms += d->impairment.jitter_ms * (2 * uniform(&d->random) - 1);
    return ms > 0 ? (uint64_t)(ms * 1e6) : 0;
}

static inline void note_transmissions(struct direction *d, uint64_t now) {
    while (d->waiting && d->waiting->start_ns <= now) {
        d->waiting = d->waiting->next;
        d->queued--;
    }
}

static inline void append(struct direction *d, struct frame *frame) {
    frame->next = NULL;
    if (d->tail)
        d->tail->next = frame;
    else
        d->head = frame;
    d->tail = frame;
    if (!d->waiting)
        d->waiting = frame;
    d->queued++;
    d->held_bytes += frame->length;
}

static inline void schedule(struct direction *d, struct frame *frame, uint64_t arrival) {
    frame->start_ns = arrival > d->free_ns ? arrival : d->free_ns;
    uint64_t finish = frame->start_ns;
    if (d->impairment.bandwidth_mbps > 0)
        finish += (uint64_t)((double)wire_bytes(frame) * 8000.0 / d->impairment.bandwidth_mbps);
    d->free_ns = finish;
    frame->due_ns = finish + pipe_ns(d);
    if (frame->due_ns < d->last_due_ns)
        frame->due_ns = d->last_due_ns;
    d->last_due_ns = frame->due_ns;
}

/* Takes a frame in, or loses it: the order of the tests is the order of the parts of the line. */
static inline void enter(struct direction *d, const unsigned char *buffer, size_t length,
                         const struct reception *how, uint64_t arrival, uint64_t now) {
    if (d->cut) {
        d->counters.dropped_cut++;
        return;
    }
    if (d->impairment.loss_percent > 0 && uniform(&d->random) * 100 < d->impairment.loss_percent) {
        d->counters.dropped_loss++;
        return;
    }
    note_transmissions(d, now);
    struct frame *frame = NULL;
    if (d->queued < queue_packets && d->held_bytes < HELD_MAX)
        frame = copy_frame(buffer, length, how);
    if (!frame) {
        d->counters.dropped_queue++;
        return;
    }
    schedule(d, frame, arrival);
    append(d, frame);
    note_transmissions(d, now);
    if (d->queued > d->counters.queue_max)
        d->counters.queue_max = d->queued;
}

static inline void drop_head(struct direction *d) {
    struct frame *frame = d->head;
    d->head = frame->next;
    if (!d->head)
        d->tail = NULL;
    if (d->waiting == frame) {
        d->waiting = frame->next;
        d->queued--;
    }
    d->held_bytes -= frame->length;
    free(frame);
}

static inline void count_departure(struct direction *d, const struct frame *frame, uint64_t now) {
    uint64_t late = now - frame->due_ns;
    d->counters.frames++;
    d->counters.bytes += frame->length - sizeof(struct virtio_net_hdr);
    d->counters.late += late > LATE_NS;
    d->counters.late_sum_ns += late;
    if (late > d->counters.late_max_ns)
        d->counters.late_max_ns = late;
}

/* Loses everything from now on, also what is in the line; or stops to. */
static inline void set_cut(struct direction *d, bool cut) {
    d->cut = cut;
    if (!cut)
        return;
    for (; d->head; d->counters.dropped_cut++)
        drop_head(d);
    d->free_ns = d->last_due_ns = 0;
}

#endif
