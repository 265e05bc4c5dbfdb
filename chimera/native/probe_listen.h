/* `probe listen`: what arrives at ports where it does not belong.
 *
 * One process watches many interfaces in many namespaces and counts the probes that arrive, by flow,
 * direction and destination MAC, and all frames by kind of destination. A probe whose destination IP is not
 * the owner's is a stray: it is recorded with its time, so that it can be told which migration it
 * belongs to. Frames that the interface sends are not seen.
 */
#ifndef CHIMERA_PROBE_LISTEN_H
#define CHIMERA_PROBE_LISTEN_H

#include "probe.h"
#include "ring.h"

#define LISTEN_SNAP 192
#define LISTEN_RING ((struct ring_size){.block_bytes = 16 << 10, .blocks = 64})
#define STRAYS_MAX 65536
#define OWNERS_MAX 4 /* addresses of one port */

struct seen {
    uint32_t flow;
    uint8_t direction, destination[6];
    bool for_owner;
    uint64_t count;
};

struct stray {
    uint64_t time_ns;
    uint32_t flow, sequence;
    uint8_t direction, destination[6];
};

struct owner {
    uint8_t address[16];
    size_t length;
};

struct listener {
    const char *netns, *interface;
    char *owner; /* as given */
    struct owner owners[OWNERS_MAX];
    int owner_count; /* 0: nothing is a stray */
    struct ring ring;
    uint64_t broadcast, multicast, unicast, stray_count;
    struct seen *seen;
    size_t seen_count;
    struct stray *strays;
};

/* Where a frame's UDP probe and destination IP are; false where it holds no probe. */
static inline bool find_probe(const struct captured *f, struct probe *probe, const uint8_t **address, size_t *size) {
    size_t at = MAC_PAIR_BYTES;
    if (f->length < at + 2)
        return false;
    uint16_t type = (uint16_t)(f->data[at] << 8 | f->data[at + 1]);
    while ((type == ETHERTYPE_VLAN || type == 0x88a8) && f->length >= at + 6) {
        at += VLAN_TAG_BYTES;
        type = (uint16_t)(f->data[at] << 8 | f->data[at + 1]);
    }
    at += 2;
    const uint8_t *ip = f->data + at;
    size_t room = f->length - at, header;
    if (type == ETHERTYPE_IP && room >= 20 && ip[9] == IPPROTO_UDP) {
        header = (ip[0] & 15) * 4u;
        *address = ip + 16;
        *size = 4;
    } else if (type == ETHERTYPE_IPV6 && room >= 40 && ip[6] == IPPROTO_UDP) {
        header = 40;
        *address = ip + 24;
        *size = 16;
    } else
        return false;
    if (room < header + 8 + sizeof *probe || !is_probe(ip + header + 8, sizeof *probe))
        return false;
    memcpy(probe, ip + header + 8, sizeof *probe);
    return true;
}

static inline void count_probe(struct listener *l, struct seen key) {
    for (size_t i = 0; i < l->seen_count; i++) {
        struct seen *s = &l->seen[i];
        if (s->flow == key.flow && s->direction == key.direction && s->for_owner == key.for_owner &&
            !memcmp(s->destination, key.destination, 6)) {
            s->count++;
            return;
        }
    }
    l->seen = reallocate(l->seen, (l->seen_count + 1) * sizeof *l->seen);
    key.count = 1;
    l->seen[l->seen_count++] = key;
}

static inline void note_stray(struct listener *l, struct stray stray) {
    if (!l->strays)
        l->strays = allocate(STRAYS_MAX * sizeof *l->strays);
    if (l->stray_count < STRAYS_MAX)
        l->strays[l->stray_count] = stray;
    l->stray_count++;
}

static inline bool is_owned(const struct listener *l, const uint8_t *address, size_t size) {
    for (int i = 0; i < l->owner_count; i++)
        if (l->owners[i].length == size && !memcmp(l->owners[i].address, address, size))
            return true;
    return l->owner_count == 0;
}

static inline void hear(void *context, const struct captured *f) {
    struct listener *l = context;
    static const uint8_t everyone[6] = {255, 255, 255, 255, 255, 255};
    if (f->length < ETHER_HDR_LEN)
        return;
    if (!memcmp(f->data, everyone, 6))
        l->broadcast++;
    else if (f->data[0] & 1)
        l->multicast++;
    else
        l->unicast++;
    struct probe probe;
    const uint8_t *address;
    size_t size;
    if (!find_probe(f, &probe, &address, &size))
        return;
    bool for_owner = is_owned(l, address, size);
    struct seen key = {.flow = be32toh(probe.flow), .direction = probe.direction, .for_owner = for_owner};
    memcpy(key.destination, f->data, 6);
    count_probe(l, key);
    if (!for_owner) {
        struct stray stray = {.time_ns = f->time_ns,
                              .flow = key.flow,
                              .sequence = be32toh(probe.sequence),
                              .direction = probe.direction};
        memcpy(stray.destination, f->data, 6);
        note_stray(l, stray);
    }
}

/* -- output ------------------------------------------------------------------------------ */

static inline void json_mac(FILE *file, const uint8_t *mac) {
    fprintf(file, "\"%02x:%02x:%02x:%02x:%02x:%02x\"", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static inline void write_listener(FILE *file, struct listener *l) {
    fputs("{\"namespace\": ", file);
    json_string(file, l->netns);
    fputs(", \"interface\": ", file);
    json_string(file, l->interface);
    fputs(", \"owner\": ", file);
    json_string(file, l->owner);
    fprintf(file, ", \"broadcast\": %" PRIu64 ", \"multicast\": %" PRIu64 ", \"unicast\": %" PRIu64, l->broadcast,
            l->multicast, l->unicast);
    fprintf(file, ", \"dropped\": %" PRIu64 ", \"probes\": [", ring_dropped(&l->ring));
    for (size_t i = 0; i < l->seen_count; i++) {
        const struct seen *s = &l->seen[i];
        fprintf(file, "%s{\"flow\": %u, \"direction\": %u, \"destination\": ", i ? ", " : "", s->flow, s->direction);
        json_mac(file, s->destination);
        fprintf(file, ", \"for_owner\": %s, \"count\": %" PRIu64 "}", s->for_owner ? "true" : "false", s->count);
    }
    fprintf(file, "], \"stray_count\": %" PRIu64 ", \"strays\": [", l->stray_count);
    for (size_t i = 0; i < l->stray_count && i < STRAYS_MAX; i++) {
        const struct stray *s = &l->strays[i];
        fprintf(file, "%s{\"time_ns\": %" PRIu64 ", \"flow\": %u, \"sequence\": %u, \"direction\": %u, ",
                i ? ", " : "", s->time_ns, s->flow, s->sequence, s->direction);
        fputs("\"destination\": ", file);
        json_mac(file, s->destination);
        fputc('}', file);
    }
    fputs("]}", file);
}

static inline void write_listeners(struct listener *listeners, int count, const char *path, uint64_t started_ns) {
    await_retirement();
    for (int i = 0; i < count; i++)
        drain(&listeners[i].ring, hear, &listeners[i]);
    struct output out = output_open(path);
    fprintf(out.file, "{\"started_ns\": %" PRIu64 ", \"ended_ns\": %" PRIu64 ", \"interfaces\": [", started_ns,
            realtime_ns());
    for (int i = 0; i < count; i++) {
        if (i)
            fputs(",\n", out.file);
        write_listener(out.file, &listeners[i]);
    }
    fputs("]}\n", out.file);
    output_commit(&out);
}

/* -- set-up ------------------------------------------------------------------------------ */

static inline void parse_owners(struct listener *l) {
    char *rest = strdup(l->owner);
    for (char *text; (text = strsep(&rest, ",")) != NULL;) {
        if (l->owner_count == OWNERS_MAX)
            usage_error("probe: more than %d addresses for %s", OWNERS_MAX, l->interface);
        struct owner *o = &l->owners[l->owner_count++];
        bool six = strchr(text, ':') != NULL;
        o->length = six ? 16 : 4;
        if (inet_pton(six ? AF_INET6 : AF_INET, text, o->address) != 1)
            usage_error("probe: '%s' is not an IP address", text);
    }
}

/* NETNS_PATH:INTERFACE[:OWNER_IP,…]; an owner may be an IPv6 address, so only the first two colons part. */
static inline struct listener parse_watch(char *text) {
    struct listener l = {.owner = ""};
    l.netns = strsep(&text, ":");
    l.interface = text ? strsep(&text, ":") : NULL;
    if (!l.interface || !*l.interface)
        usage_error("probe: --netns needs PATH:INTERFACE[:OWNER_IP,…]");
    if (text && *text) {
        l.owner = text;
        parse_owners(&l);
    }
    return l;
}

static inline int probe_listen(struct listener *listeners, int count, const char *path) {
    struct sock_filter snap[] = {BPF_STMT(BPF_RET | BPF_K, LISTEN_SNAP)};
    struct sock_fprog filter = {.len = 1, .filter = snap};
    struct pollfd *watched = allocate((size_t)count * sizeof *watched);
    struct opening *openings = allocate((size_t)count * sizeof *openings);
    for (int i = 0; i < count; i++) {
        struct listener *l = &listeners[i];
        openings[i] = (struct opening){l->netns, l->interface, LISTEN_RING, false, filter, &l->ring};
    }
    open_rings(openings, count);
    for (int i = 0; i < count; i++)
        watched[i] = (struct pollfd){.fd = listeners[i].ring.fd, .events = POLLIN};
    uint64_t started = realtime_ns();
    sigset_t mask = catch_signals();
    announce_ready();
    while (!stop_asked) {
        if (ppoll(watched, (nfds_t)count, NULL, &mask) > 0)
            for (int i = 0; i < count; i++)
                if (watched[i].revents) {
                    clear_error(watched[i].fd);
                    drain(&listeners[i].ring, hear, &listeners[i]);
                }
        if (snapshot_asked) {
            snapshot_asked = 0;
            write_listeners(listeners, count, path, started);
        }
    }
    write_listeners(listeners, count, path, started);
    close_rings(openings, count);
    return 0;
}

#endif
