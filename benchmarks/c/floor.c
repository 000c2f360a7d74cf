/* floor.c - the relay that does nothing but send: what the numbers of m3uproxy are ratios to.
 *
 *   floor SOURCE_PORT FLUSH_MS
 *
 * GET <path> plays <path> of the source at 127.0.0.1:SOURCE_PORT; one upstream connection per path, opened by
 * its first viewer and closed by its last. FLUSH_MS = 0 sends what comes as it comes; otherwise all upstreams
 * are read, and all viewers sent to, once every FLUSH_MS milliseconds.
 *
 * It knows nothing of the format but the packet's length: a viewer joins at the live edge, at a packet's
 * start. Each stream has a ring; a viewer that has fallen too far behind finishes its packet and goes on at
 * the edge. */
#define _GNU_SOURCE
#include "loopback.h"

enum { PACKET = 188, EVENTS = 256, READ_MAX = 256 * 1024, READS_PER_TICK = 8, REQUEST_MAX = 2048 };
static const uint64_t RING = PACKET * 4096 * 11; /* 8.5 MB, whole packets */
static const uint64_t LAG_MAX = PACKET * (4096 * 11 - 1) - READS_PER_TICK * READ_MAX;

enum role { STREAM, VIEWER };

struct viewer {
    enum role role;
    int fd;
    struct stream *stream; /* NULL until it has asked */
    uint64_t pos;
    bool blocked;         /* waiting for EPOLLOUT */
    uint8_t rest[PACKET]; /* of the packet in hand when it was moved to the edge */
    size_t rest_from;     /* PACKET when there is none */
    char request[REQUEST_MAX];
    size_t filled;
    struct viewer *next, **link;
};

struct stream {
    enum role role;
    int fd; /* -1 while nobody watches */
    char path[512];
    uint8_t *ring;
    uint64_t head; /* bytes ever received */
    struct viewer *viewers;
    struct stream *next;
};

static int epoll, source_port;
static bool on_tick;
static struct stream *streams;

static void wait_for_room(struct viewer *v, bool wait)
{
    if (v->blocked == wait)
        return;
    v->blocked = wait;
    epoll_set(epoll, EPOLL_CTL_MOD, v->fd, EPOLLIN | (wait ? EPOLLOUT : 0), v);
}

/* Bytes taken; what stays behind waits for writability. A broken socket is dropped by its own event. */
static size_t push(struct viewer *v, const uint8_t *data, size_t size)
{
    ssize_t sent = send(v->fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 || (size_t)sent < size)
        wait_for_room(v, true);
    return sent < 0 ? 0 : (size_t)sent;
}

static void flush(struct viewer *v)
{
    struct stream *s = v->stream;
    if (v->rest_from < PACKET) {
        v->rest_from += push(v, v->rest + v->rest_from, PACKET - v->rest_from);
        if (v->rest_from < PACKET)
            return;
    }
    while (v->pos < s->head) {
        uint64_t at = v->pos % RING, size = s->head - v->pos;
        if (size > RING - at)
            size = RING - at;
        size_t sent = push(v, s->ring + at, size);
        v->pos += sent;
        if (sent < size)
            return;
    }
    wait_for_room(v, false);
}

/* Called while the packet in hand is still in the ring. */
static void move_to_edge(struct viewer *v)
{
    struct stream *s = v->stream;
    uint64_t part = v->pos % PACKET;
    if (part && v->rest_from == PACKET) {
        memcpy(v->rest, s->ring + (v->pos - part) % RING, PACKET);
        v->rest_from = part;
    }
    v->pos = s->head - s->head % PACKET;
}

/* The source answers at once, so its head is read here, blocking, and exactly up to its end. */
static bool skip_head(int fd)
{
    char head[1024];
    for (;;) {
        ssize_t got = recv(fd, head, sizeof head, MSG_PEEK);
        if (got <= 0)
            return false;
        char *end = memmem(head, (size_t)got, "\r\n\r\n", 4);
        if (end)
            return recv(fd, head, (size_t)(end + 4 - head), MSG_WAITALL) > 0;
        if (got == sizeof head)
            return false;
    }
}

static bool open_upstream(struct stream *s)
{
    struct sockaddr_in address = loopback(source_port);
    char request[600];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", s->path);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        send(fd, request, (size_t)size, MSG_NOSIGNAL) != size || !skip_head(fd)) {
        close(fd);
        return false;
    }
    s->fd = fd;
    s->head = (s->head + PACKET - 1) / PACKET * PACKET; /* a new body starts a new packet */
    if (!on_tick)
        epoll_set(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, s);
    return true;
}

static void end_stream(struct stream *s)
{
    close(s->fd);
    s->fd = -1;
    for (struct viewer *v = s->viewers; v; v = v->next)
        shutdown(v->fd, SHUT_RDWR); /* each is dropped by the event that this causes */
}

static void relay(struct stream *s)
{
    for (int reads = 0; s->fd >= 0 && reads < (on_tick ? READS_PER_TICK : 1); reads++) {
        uint64_t at = s->head % RING, size = RING - at < READ_MAX ? RING - at : READ_MAX;
        ssize_t got = recv(s->fd, s->ring + at, size, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            end_stream(s);
        if (got <= 0)
            break;
        s->head += (uint64_t)got;
        if ((uint64_t)got < size)
            break;
    }
    for (struct viewer *v = s->viewers; v; v = v->next) {
        if (s->head - v->pos > LAG_MAX)
            move_to_edge(v);
        if (!v->blocked)
            flush(v);
    }
}

static void drop(struct viewer *v)
{
    struct stream *s = v->stream;
    if (s) {
        *v->link = v->next;
        if (v->next)
            v->next->link = v->link;
        if (!s->viewers && s->fd >= 0)
            end_stream(s);
    }
    close(v->fd);
    free(v);
}

static struct stream *stream_at(const char *path)
{
    struct stream *s = streams;
    while (s && strcmp(s->path, path) != 0)
        s = s->next;
    if (!s) {
        s = zalloc(sizeof *s);
        s->role = STREAM;
        s->fd = -1;
        s->ring = zalloc(RING);
        strcpy(s->path, path);
        s->next = streams;
        streams = s;
    }
    return s;
}

static bool join(struct viewer *v)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
    char path[512];
    if (sscanf(v->request, "GET %511s", path) != 1)
        return false;
    struct stream *s = stream_at(path);
    if (s->fd < 0 && !open_upstream(s))
        return false;
    v->stream = s;
    v->pos = s->head - s->head % PACKET;
    v->next = s->viewers;
    v->link = &s->viewers;
    if (s->viewers)
        s->viewers->link = &v->next;
    s->viewers = v;
    return send(v->fd, head, sizeof head - 1, MSG_NOSIGNAL) > 0;
}

static void readable(struct viewer *v)
{
    if (v->stream)
        v->filled = 0; /* only its end is of interest now */
    ssize_t got = recv(v->fd, v->request + v->filled, REQUEST_MAX - 1 - v->filled, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        drop(v);
    } else if (got > 0) {
        v->filled += (size_t)got;
        v->request[v->filled] = 0;
        bool whole = !v->stream && strstr(v->request, "\r\n\r\n");
        if ((whole && !join(v)) || v->filled == REQUEST_MAX - 1)
            drop(v);
    }
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept_one(listener)) >= 0) {
        struct viewer *v = zalloc(sizeof *v);
        v->role = VIEWER;
        v->fd = fd;
        v->rest_from = PACKET;
        epoll_set(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, v);
    }
}

int main(int argc, char **argv)
{
    must(argc == 3, "usage: floor SOURCE_PORT FLUSH_MS");
    struct epoll_event events[EVENTS];
    int listener = listen_and_announce(), tick = -1;
    source_port = atoi(argv[1]);
    on_tick = atof(argv[2]) > 0;
    epoll = epoll_create1(0);
    epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    if (on_tick) {
        tick = ticker(atof(argv[2]));
        epoll_set(epoll, EPOLL_CTL_ADD, tick, EPOLLIN, &tick);
    }
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            void *owner = events[i].data.ptr;
            if (owner == &listener) {
                accept_all(listener);
            } else if (owner == &tick) {
                clear_tick(tick);
                for (struct stream *s = streams; s; s = s->next)
                    relay(s);
            } else if (*(enum role *)owner == STREAM) {
                relay(owner);
            } else if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
                readable(owner);
            } else {
                flush(owner);
            }
        }
    }
}
