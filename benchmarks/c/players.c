/* players.c - players that verify what they are sent.
 *
 *   players PORT GROUP...      GROUP = name:count:channel:bytes_per_second:start_ms:spread_ms:path
 *
 * A group's players ask 127.0.0.1:PORT for `path`, the first of them start_ms after the program's start, the
 * others spread over spread_ms from then; spread 0 is a crowd. bytes_per_second > 0 makes slow readers, 0
 * reads all that comes.
 *
 * A line on standard input is answered by a line with the bytes of bodies received so far; at the end of
 * standard input the program prints its report, a JSON array of groups, and ends. In it, over all players of
 * a group:
 *
 *   served         players that got a 200 and the first byte of a body
 *   failed         refused, badly answered, or ended by the server
 *   lost, repeated, torn, skipped, pat_first, key_first    as in verify.h
 *   first_byte_ms  [median, 95th percentile, most] from connect to the body's first byte
 *   stall_ms       longest time without a byte
 *   mbit           [least, median] rate of a player */
#define _GNU_SOURCE
#include "loopback.h"
#include "verify.h"

enum { EVENTS = 512, NAME_SIZE = 32, PATH_SIZE = 256, HEAD_MAX = 4096 };
enum { READ_MAX = 1 << 20, SLOW_READ_MAX = 1 << 16 };

struct group {
    char name[NAME_SIZE], path[PATH_SIZE];
    int count;
    unsigned channel;
    long bytes_per_second;
    uint64_t start_us, spread_us;
};

enum state { IDLE, CONNECTING, IN_HEAD, IN_BODY, OVER };

struct player {
    const struct group *group;
    int fd;
    enum state state;
    bool failed;
    uint64_t starts, connected, first_byte, latest, longest_gap, allowance_from; /* microseconds */
    uint64_t bytes;
    struct reception got;
    char head[HEAD_MAX];
    size_t filled;
};

static int epoll, port;
static struct group *groups;
static struct player *players;
static int group_count, player_count;
static uint64_t bytes_of_all;

static void finish(struct player *p)
{
    close(p->fd);
    p->fd = -1;
    p->state = OVER;
    p->failed = true; /* a live stream never ends by itself */
}

static void take_body(struct player *p, const uint8_t *data, size_t size, uint64_t now)
{
    if (p->first_byte == 0)
        p->first_byte = now;
    else if (now - p->latest > p->longest_gap)
        p->longest_gap = now - p->latest;
    p->latest = now;
    p->bytes += size;
    bytes_of_all += size;
    verify(&p->got, data, size);
}

/* Only a plain 200 is right: players do not take chunked framing or a part (206) for a live stream. */
static void take_head(struct player *p, const uint8_t *data, size_t size, uint64_t now)
{
    size_t room = HEAD_MAX - 1 - p->filled, taken = size < room ? size : room, before = p->filled;
    memcpy(p->head + p->filled, data, taken);
    p->filled += taken;
    p->head[p->filled] = 0;
    char *end = memmem(p->head, p->filled, "\r\n\r\n", 4);
    if (!end) {
        if (p->filled == HEAD_MAX - 1)
            finish(p);
        return;
    }
    size_t used = (size_t)(end + 4 - p->head) - before;
    end[2] = 0;
    if (strncmp(p->head, "HTTP/1.1 200", 12) != 0 || strcasestr(p->head, "\r\ntransfer-encoding:")) {
        finish(p);
        return;
    }
    p->state = IN_BODY;
    if (size > used)
        take_body(p, data + used, size - used, now);
}

/* Bytes that a reader may take now: a slow one what its rate has earned since it last read. */
static size_t allowance(struct player *p)
{
    if (p->group->bytes_per_second == 0)
        return READ_MAX;
    uint64_t now = now_us(), rate = (uint64_t)p->group->bytes_per_second;
    uint64_t earned = (now - p->allowance_from) * rate / 1000000;
    if (earned < 512)
        return 0;
    p->allowance_from = now;
    return earned < SLOW_READ_MAX ? earned : SLOW_READ_MAX;
}

static void read_some(struct player *p)
{
    static uint8_t buffer[READ_MAX];
    size_t size = allowance(p);
    if (size == 0)
        return;
    ssize_t got = recv(p->fd, buffer, size, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        finish(p);
    else if (got > 0 && p->state == IN_HEAD)
        take_head(p, buffer, (size_t)got, now_us());
    else if (got > 0)
        take_body(p, buffer, (size_t)got, now_us());
}

static void start(struct player *p)
{
    struct sockaddr_in address = loopback(port);
    int small = SLOW_READ_MAX;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(p->fd >= 0, "socket");
    if (p->group->bytes_per_second)
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    p->state = CONNECTING;
    p->connected = p->allowance_from = now_us();
    if (connect(p->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        finish(p);
    else
        epoll_set(epoll, EPOLL_CTL_ADD, p->fd, EPOLLOUT, p);
}

static void ask(struct player *p)
{
    char request[PATH_SIZE + 200];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: players\r\nAccept: */*\r\n"
                        "Connection: close\r\n\r\n", p->group->path, port);
    if (send(p->fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        finish(p);
        return;
    }
    p->state = IN_HEAD;
    epoll_set(epoll, EPOLL_CTL_MOD, p->fd, p->group->bytes_per_second ? 0 : EPOLLIN, p);
}

/* Slow readers have no events of their own: they read, as they connect, on the tick. */
static void tick_all(void)
{
    uint64_t now = now_us();
    for (struct player *p = players; p < players + player_count; p++) {
        if (p->state == IDLE && now >= p->starts)
            start(p);
        else if (p->group->bytes_per_second && (p->state == IN_HEAD || p->state == IN_BODY))
            read_some(p);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report_group(const struct group *g, uint64_t now)
{
    double *first = zalloc(sizeof *first * (size_t)g->count), *mbit = zalloc(sizeof *mbit * (size_t)g->count);
    int served = 0, failed = 0, pat_first = 0, key_first = 0;
    uint64_t bytes = 0, lost = 0, repeated = 0, torn = 0, skipped = 0, stall = 0;
    for (struct player *p = players; p < players + player_count; p++) {
        if (p->group != g)
            continue;
        failed += p->failed, pat_first += p->got.pat_first, key_first += p->got.key_first;
        bytes += p->bytes, lost += p->got.lost, repeated += p->got.repeated;
        torn += p->got.torn, skipped += p->got.skipped;
        if (!p->first_byte)
            continue;
        uint64_t gap = p->state == IN_BODY ? now - p->latest : 0;
        gap = gap > p->longest_gap ? gap : p->longest_gap;
        stall = gap > stall ? gap : stall;
        first[served] = (double)(p->first_byte - p->connected) / 1e3;
        mbit[served++] = (double)p->bytes * 8 / (double)(p->latest - p->first_byte + 1);
    }
    qsort(first, (size_t)served, sizeof *first, ascending);
    qsort(mbit, (size_t)served, sizeof *mbit, ascending);
    int last = served ? served - 1 : 0;
    printf("{\"name\":\"%s\",\"players\":%d,\"served\":%d,\"failed\":%d,\"pat_first\":%d,\"key_first\":%d,"
           "\"bytes\":%lu,\"lost\":%lu,\"repeated\":%lu,\"torn\":%lu,\"skipped\":%lu,"
           "\"first_byte_ms\":[%.2f,%.2f,%.2f],\"stall_ms\":%.1f,\"mbit\":[%.2f,%.2f]}",
           g->name, g->count, served, failed, pat_first, key_first, bytes, lost, repeated, torn, skipped,
           first[last / 2], first[last * 95 / 100], first[last], (double)stall / 1e3, mbit[0],
           mbit[last / 2]);
    free(first);
    free(mbit);
}

static void report(void)
{
    uint64_t now = now_us();
    for (int i = 0; i < group_count; i++) {
        printf(i ? ",\n" : "[");
        report_group(&groups[i], now);
    }
    printf("]\n");
}

/* False at the end of standard input. */
static bool progress(void)
{
    char line[64];
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        return false;
    printf("%lu\n", bytes_of_all);
    fflush(stdout);
    return true;
}

static void parse_groups(char **specs)
{
    groups = zalloc(sizeof *groups * (size_t)group_count);
    for (int i = 0; i < group_count; i++) {
        struct group *g = &groups[i];
        unsigned long start_ms, spread_ms;
        must(sscanf(specs[i], "%31[^:]:%d:%u:%ld:%lu:%lu:%255s", g->name, &g->count, &g->channel,
                    &g->bytes_per_second, &start_ms, &spread_ms, g->path) == 7, specs[i]);
        g->start_us = start_ms * 1000;
        g->spread_us = spread_ms * 1000;
        player_count += g->count;
    }
}

static void make_players(void)
{
    uint64_t now = now_us();
    struct player *p = players = zalloc(sizeof *players * (size_t)player_count);
    for (struct group *g = groups; g < groups + group_count; g++)
        for (int i = 0; i < g->count; i++, p++)
            *p = (struct player){
                .group = g,
                .fd = -1,
                .got.channel = g->channel,
                .starts = now + g->start_us + g->spread_us * (uint64_t)i / (uint64_t)g->count,
            };
}

int main(int argc, char **argv)
{
    must(argc > 2, "usage: players PORT GROUP...");
    struct epoll_event events[EVENTS];
    int tick = ticker(2);
    port = atoi(argv[1]);
    group_count = argc - 2;
    parse_groups(argv + 2);
    make_players();
    epoll = epoll_create1(0);
    epoll_set(epoll, EPOLL_CTL_ADD, tick, EPOLLIN, &tick);
    epoll_set(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, groups);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            void *owner = events[i].data.ptr;
            struct player *p = owner;
            if (owner == &tick) {
                clear_tick(tick);
                tick_all();
            } else if (owner == groups) {
                if (!progress()) {
                    report();
                    return 0;
                }
            } else if (p->state == CONNECTING) {
                ask(p);
            } else if (p->state != OVER) {
                read_some(p);
            }
        }
    }
}
