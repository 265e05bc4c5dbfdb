/* The probe on the wire and in the recording. chimera/wire/probe.py mirrors both as tables.
 *
 * UDP payload, network byte order, always PROBE_SIZE bytes, so that a VM's IPv4 probe is a frame of
 * 14 + 20 + 8 + 64 = 106 bytes (126 with IPv6):
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |                     Magic: "CHIMERA1"                         |  0
 *   |                                                               |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |                             Flow                              |  8
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |                           Sequence                            | 12
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |   Direction   |                 zero ...                      | 16
 *   +-+-+-+-+-+-+-+-+                                               +
 *   |                                                               | 20, 24, 28
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |          Sent: CLOCK_REALTIME ns at the prober                | 32
 *   |                                                               |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |        Answered: CLOCK_REALTIME ns at the target, else 0      | 40
 *   |                                                               |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   |                          zero, to 64                          | 48
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
#ifndef CHIMERA_PROBE_H
#define CHIMERA_PROBE_H

#include "common.h"

#include <endian.h>

#define PROBE_MAGIC "CHIMERA1"
#define PROBE_MAGIC_BYTES {'C', 'H', 'I', 'M', 'E', 'R', 'A', '1'}
#define PROBE_SIZE 64

enum { PROBE_REQUEST = 0, PROBE_ANSWER = 1 };

struct probe {
    char magic[8];
    uint32_t flow, sequence; /* network byte order from here on */
    uint8_t direction, reserved[15];
    uint64_t sent_ns, answered_ns;
    uint8_t padding[16];
} __attribute__((packed));

_Static_assert(sizeof(struct probe) == PROBE_SIZE, "the table in probe.h and the struct disagree");

static inline bool is_probe(const void *payload, size_t length) {
    return length >= sizeof(struct probe) && memcmp(payload, PROBE_MAGIC, 8) == 0;
}

/* The recording of `probe send`: one header, then records in the order of events, little-endian. */
#define RECORDING_MAGIC_BYTES {'C', 'H', 'I', 'M', 'P', 'R', 'B', '1'}

struct recording_header {
    char magic[8];
    uint32_t flow, interval_us;
    uint64_t started_ns, ended_ns;
    uint64_t skipped; /* probes the schedule held that a stall of the prober prevented */
} __attribute__((packed));

enum { RECORD_SENT = 0, RECORD_ANSWER = 1 };

struct recording_record {
    uint32_t sequence;
    uint16_t kind;
    uint16_t error;       /* errno of a send that failed: the probe counts as sent and lost */
    uint64_t time_ns;     /* sent: clock before the send; answer: the kernel's receive stamp */
    uint64_t answered_ns; /* answer: when the target answered; sent: 0 */
} __attribute__((packed));

#endif
