/* probe: what the users of a VM notice, measured from inside the network.
 *
 *   probe send --to IP --port P --flow ID [--interval-us 1000] --out FILE [--bind IP] [--grace-ms 300]
 *   probe echo --port P [--out FILE [--interval-us 500]]
 *   probe tcp-server --port P
 *   probe tcp-client --to IP --port P --out FILE [--rate-kbps 8000] [--bind IP] [--deadline-ms 3000]
 *   probe listen --out FILE [IF …] [--netns PATH:IF[:OWNER_IP,…] …]
 *
 * Each prints `ready` once it is at work and ends on SIGTERM with status 0, its FILE written under a temporary
 * name and renamed. SIGUSR1 to send, echo, tcp-client and listen writes FILE now and goes on.
 */
#include "probe_listen.h"
#include "probe_tcp.h"
#include "probe_udp.h"

static uint16_t parse_port(const char *text) { return (uint16_t)parse_number("--port", text, 1, 65535); }

static int main_send(int argc, char **argv) {
    struct send_options o = {.interval_us = 1000, .grace_ms = 300};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = option_value(argc, argv, &i);
        if (!strcmp(name, "--to"))
            o.to = value;
        else if (!strcmp(name, "--port"))
            o.port = value;
        else if (!strcmp(name, "--flow"))
            o.flow = (uint32_t)parse_number(name, value, 0, UINT32_MAX);
        else if (!strcmp(name, "--interval-us"))
            o.interval_us = (uint32_t)parse_number(name, value, 10, 1e8);
        else if (!strcmp(name, "--out"))
            o.out = value;
        else if (!strcmp(name, "--bind"))
            o.bind = value;
        else if (!strcmp(name, "--grace-ms"))
            o.grace_ms = (uint64_t)parse_number(name, value, 0, 60000);
        else
            usage_error("probe send: unexpected '%s'", name);
    }
    if (!o.to || !o.port || !o.out)
        usage_error("probe send needs --to, --port, --flow and --out");
    return probe_send(&o);
}

static int main_echo(int argc, char **argv) {
    struct echo_options o = {.interval_us = 500};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = option_value(argc, argv, &i);
        if (!strcmp(name, "--port"))
            o.port = parse_port(value);
        else if (!strcmp(name, "--interval-us"))
            o.interval_us = (uint32_t)parse_number(name, value, 10, 1e6);
        else if (!strcmp(name, "--out"))
            o.out = value;
        else
            usage_error("probe echo: unexpected '%s'", name);
    }
    if (!o.port)
        usage_error("probe echo needs --port");
    return probe_echo(&o);
}

static int main_client(int argc, char **argv) {
    struct client_options o = {.rate_kbps = 8000, .deadline_ms = 3000};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = option_value(argc, argv, &i);
        if (!strcmp(name, "--to"))
            o.to = value;
        else if (!strcmp(name, "--port"))
            o.port = value;
        else if (!strcmp(name, "--out"))
            o.out = value;
        else if (!strcmp(name, "--bind"))
            o.bind = value;
        else if (!strcmp(name, "--rate-kbps"))
            o.rate_kbps = parse_number(name, value, 1, 1e7);
        else if (!strcmp(name, "--deadline-ms"))
            o.deadline_ms = (uint64_t)parse_number(name, value, 1, 600000);
        else
            usage_error("probe tcp-client: unexpected '%s'", name);
    }
    if (!o.to || !o.port || !o.out)
        usage_error("probe tcp-client needs --to, --port and --out");
    return probe_tcp_client(&o);
}

static int main_listen(int argc, char **argv) {
    struct listener *listeners = allocate((size_t)argc * sizeof *listeners);
    const char *out = NULL;
    int count = 0;
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--out"))
            out = option_value(argc, argv, &i);
        else if (!strcmp(argv[i], "--netns"))
            listeners[count++] = parse_watch((char *)option_value(argc, argv, &i));
        else if (argv[i][0] != '-')
            listeners[count++] = (struct listener){.netns = "", .interface = argv[i], .owner = ""};
        else
            usage_error("probe listen: unexpected '%s'", argv[i]);
    }
    if (!out || !count)
        usage_error("probe listen needs --out and an interface");
    return probe_listen(listeners, count, out);
}

static uint16_t only_port(int argc, char **argv) {
    if (argc != 4 || strcmp(argv[2], "--port"))
        usage_error("probe %s needs --port alone", argv[1]);
    return parse_port(argv[3]);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "send"))
        return main_send(argc, argv);
    if (!strcmp(verb, "echo"))
        return main_echo(argc, argv);
    if (!strcmp(verb, "tcp-server"))
        return probe_tcp_server(only_port(argc, argv));
    if (!strcmp(verb, "tcp-client"))
        return main_client(argc, argv);
    if (!strcmp(verb, "listen"))
        return main_listen(argc, argv);
    usage_error("usage: probe send|echo|tcp-server|tcp-client|listen …");
}
