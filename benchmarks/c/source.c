/* source.c - an IPTV provider made of one epoll loop.
 *
 *   source TICK_MS
 *
 *   GET /live/<channel>.ts?rate=<bits/s>&burst=<seconds>   an endless transport stream, see layout.h
 *   GET /stats                                         connections to /live: {"open":..,"peak":..,"total":..}
 *
 * A channel is a timeline that runs from before the start of the program: a connection gets it from `burst`
 * seconds ago, in whatever packet that is, and what is due is written every TICK_MS (which may be a fraction:
 * at 8 Mbit/s, 1.5 is the TCP segments of a real line). rate=0 is unpaced: as fast as the reader takes it. */
#define _GNU_SOURCE
#include "layout.h"
#include "loopback.h"

enum { PACKETS_PER_SEND = 1400, HEAD_MAX = 4096, EVENTS = 512 };
static const uint64_t PAST_US = 200 * 1000000ull; /* how much of the timeline lies before the start */
static const uint64_t NOMINAL_RATE = 8000000;     /* what the clock of an unpaced stream pretends */

struct reader {
    int fd;
    bool live;     /* the answer's head is out, the body is running */
    bool blocked;  /* waiting for EPOLLOUT */
    unsigned channel;
    uint64_t rate; /* bits per second, 0 for unpaced */
    uint64_t pos;  /* next byte of the timeline to send */
    char head[HEAD_MAX];
    size_t filled;
    struct reader *next, **link;
};

static int epoll;
static uint64_t epoch;
static struct reader *readers; /* the live ones */
static struct { long open, peak, total; } stats;

static uint8_t template[GROUP][PACKET];
static uint16_t place[GROUP]; /* of each packet among those of its PID in the group */

/* CRC of PSI sections, ISO/IEC 13818-1 annex A. */
static uint32_t crc32_mpeg(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)data[i] << 24;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x80000000 ? crc << 1 ^ 0x04c11db7 : crc << 1;
    }
    return crc;
}

static void header(uint8_t *p, unsigned pid, bool unit_start)
{
    p[0] = 0x47;
    p[1] = (uint8_t)((unit_start ? 0x40 : 0) | pid >> 8);
    p[2] = (uint8_t)pid;
    p[3] = 0x10;
}

static void make_section(uint8_t *p, unsigned pid, const uint8_t *section, size_t size)
{
    uint32_t crc = crc32_mpeg(section, size);
    memset(p, 0xff, PACKET);
    header(p, pid, true);
    p[4] = 0; /* pointer_field */
    memcpy(p + 5, section, size);
    for (int i = 0; i < 4; i++)
        p[5 + size + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
}

static void make_media(uint8_t *p, unsigned pid, bool unit_start, int filler)
{
    memset(p, filler, PACKET);
    header(p, pid, unit_start);
    memcpy(p + MARK_AT, MARK, sizeof MARK);
}

/* A picture starts with 8 bytes of adaptation field (PCR), a PES header with PTS, and H.264 access unit
 * delimiter and slice; an audio frame with its PES header (length 10 * 184 - 6). */
static void make_unit_starts(uint8_t *video, uint8_t *audio)
{
    static const uint8_t picture[] = {7, 0x10, 0, 0, 0, 0, 0x7e, 0, 0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5,
                                      0x21, 0, 1, 0, 1, 0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41};
    static const uint8_t frame[] = {0, 0, 1, 0xc0, 0x07, 0x2a, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1};
    video[3] = 0x30;
    memcpy(video + 4, picture, sizeof picture);
    memcpy(audio + 4, frame, sizeof frame);
}

static void make_templates(void)
{
    static const uint8_t pat[] = {0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0x00};
    static const uint8_t pmt[] = {2, 0xb0, 23, 0, 1, 0xc1, 0, 0, 0xe1, 0x00, 0xf0, 0,
                                  0x1b, 0xe1, 0x00, 0xf0, 0, 0x0f, 0xe1, 0x01, 0xf0, 0};
    uint16_t video = 0, audio = 0;
    make_section(template[0], PID_PAT, pat, sizeof pat);
    make_section(template[1], PID_PMT, pmt, sizeof pmt);
    for (int i = 2; i < GROUP; i++) {
        bool is_audio = i % 20 == 10;
        place[i] = is_audio ? audio++ : video++;
        make_media(template[i], is_audio ? PID_AUDIO : PID_VIDEO, place[i] == 0, is_audio ? 0xa5 : 0x5a);
    }
    make_unit_starts(template[2], template[10]);
}

/* PTS as in ISO/IEC 13818-1, 2.4.3.7: 33 bits of 90 kHz in five bytes. */
static void put_pts(uint8_t *at, uint64_t t)
{
    at[0] = (uint8_t)(0x21 | (t >> 29 & 0x0e));
    at[1] = (uint8_t)(t >> 22);
    at[2] = (uint8_t)(1 | (t >> 14 & 0xfe));
    at[3] = (uint8_t)(t >> 7);
    at[4] = (uint8_t)(1 | (t << 1 & 0xfe));
}

static void stamp_picture(uint8_t *p, uint64_t group, uint64_t t)
{
    bool access_point = group % GROUPS_PER_ACCESS_POINT == 0;
    p[5] = access_point ? 0x50 : 0x10; /* PCR, random_access_indicator */
    p[6] = (uint8_t)(t >> 25);
    p[7] = (uint8_t)(t >> 17);
    p[8] = (uint8_t)(t >> 9);
    p[9] = (uint8_t)(t >> 1);
    p[10] = (uint8_t)((t & 1) << 7 | 0x7e);
    put_pts(p + 21, t + 9000); /* shown 100 ms after its clock */
    p[35] = access_point ? 0x65 : 0x41; /* IDR slice, other slice */
}

static void make_packet(uint8_t *p, const struct reader *r, uint64_t number)
{
    uint64_t group = number / GROUP, i = number % GROUP;
    uint64_t rate = r->rate ? r->rate : NOMINAL_RATE;
    uint64_t t = group * (GROUP * PACKET * 8ull * 90000) / rate & 0x1ffffffff;
    bool is_audio = i % 20 == 10;
    uint64_t per_group = i < 2 ? 1 : is_audio ? AUDIO_PER_GROUP : VIDEO_PER_GROUP;
    uint64_t index = group * per_group + place[i];

    memcpy(p, template[i], PACKET);
    p[3] |= index & 15; /* continuity_counter */
    if (i < 2)
        return;
    put_number(p + CHANNEL_AT, r->channel, CHANNEL_BYTES);
    put_number(p + NUMBER_AT, index, NUMBER_BYTES);
    if (i == 2)
        stamp_picture(p, group, t);
    if (i == 10)
        put_pts(p + 13, t + 9000);
}

static uint64_t due(uint64_t rate)
{
    return (uint64_t)((__uint128_t)(now_us() - epoch) * rate / (8 * PACKET * 1000000ull)) * PACKET;
}

static void drop(struct reader *r)
{
    if (r->live) {
        stats.open--;
        *r->link = r->next;
        if (r->next)
            r->next->link = r->link;
    }
    close(r->fd);
    free(r);
}

static void wait_for_room(struct reader *r, bool wait)
{
    if (r->blocked == wait)
        return;
    r->blocked = wait;
    epoll_set(epoll, EPOLL_CTL_MOD, r->fd, EPOLLIN | (wait ? EPOLLOUT : 0), r);
}

/* Send what is due; what the socket does not take goes once it is writable. False: the reader is gone. */
static bool feed(struct reader *r)
{
    static uint8_t out[(PACKETS_PER_SEND + 1) * PACKET];
    for (;;) {
        uint64_t until = r->rate ? due(r->rate) : r->pos + PACKETS_PER_SEND * PACKET;
        if (until > r->pos + PACKETS_PER_SEND * PACKET)
            until = r->pos + PACKETS_PER_SEND * PACKET;
        if (until <= r->pos) {
            wait_for_room(r, false);
            return true;
        }
        uint64_t first = r->pos / PACKET, skip = r->pos % PACKET;
        uint64_t count = (until + PACKET - 1) / PACKET - first;
        for (uint64_t i = 0; i < count; i++)
            make_packet(out + i * PACKET, r, first + i);
        ssize_t sent = send(r->fd, out + skip, until - r->pos, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        r->pos += sent > 0 ? (uint64_t)sent : 0;
        if (r->pos < until || !r->rate) {
            wait_for_room(r, true);
            return true;
        }
    }
}

static void start_live(struct reader *r, double burst)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
    uint64_t back = (uint64_t)((double)r->rate * burst / 8 / PACKET) * PACKET;
    r->pos = r->rate ? due(r->rate) - back : 0;
    r->live = true;
    r->next = readers;
    r->link = &readers;
    if (readers)
        readers->link = &r->next;
    readers = r;
    stats.total++;
    if (++stats.open > stats.peak)
        stats.peak = stats.open;
    if (send(r->fd, head, sizeof head - 1, MSG_NOSIGNAL) < 0 || !feed(r))
        drop(r);
}

static void answer_briefly(struct reader *r, const char *status, const char *body)
{
    char out[512];
    int size = snprintf(out, sizeof out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        status, strlen(body), body);
    if (send(r->fd, out, (size_t)size, MSG_NOSIGNAL) < 0)
        perror("answer");
    drop(r);
}

static void answer(struct reader *r)
{
    unsigned long long rate = NOMINAL_RATE;
    double burst = 0;
    char body[128];
    if (sscanf(r->head, "GET /live/%u.ts?rate=%llu&burst=%lf", &r->channel, &rate, &burst) >= 1) {
        r->rate = rate;
        start_live(r, burst < 100 ? burst : 100);
    } else if (strncmp(r->head, "GET /stats ", 11) == 0) {
        snprintf(body, sizeof body, "{\"open\":%ld,\"peak\":%ld,\"total\":%ld}", stats.open, stats.peak,
                 stats.total);
        answer_briefly(r, "200 OK", body);
    } else {
        answer_briefly(r, "404 Not Found", "");
    }
}

static void readable(struct reader *r)
{
    if (r->live)
        r->filled = 0; /* a player that goes on talking is only watched for its end */
    ssize_t got = recv(r->fd, r->head + r->filled, HEAD_MAX - 1 - r->filled, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        drop(r);
    } else if (got > 0) {
        r->filled += (size_t)got;
        r->head[r->filled] = 0;
        if (!r->live && strstr(r->head, "\r\n\r\n"))
            answer(r);
        else if (r->filled == HEAD_MAX - 1)
            drop(r);
    }
}

static void feed_all(void)
{
    for (struct reader *r = readers, *next; r; r = next) {
        next = r->next;
        if (!r->blocked && !feed(r))
            drop(r);
    }
}

int main(int argc, char **argv)
{
    must(argc == 2 && atof(argv[1]) > 0, "usage: source TICK_MS");
    struct epoll_event events[EVENTS];
    int listener = listen_and_announce(), tick = ticker(atof(argv[1])), fd;
    epoch = now_us() - PAST_US;
    make_templates();
    epoll = epoll_create1(0);
    epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    epoll_set(epoll, EPOLL_CTL_ADD, tick, EPOLLIN, &tick);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        bool ticked = false; /* feeding can drop readers: only once their own events of this turn are done */
        for (int i = 0; i < n; i++) {
            struct reader *r = events[i].data.ptr;
            if ((void *)r == &tick) {
                ticked = true;
                clear_tick(tick);
            } else if ((void *)r == &listener) {
                while ((fd = accept_one(listener)) >= 0) {
                    r = zalloc(sizeof *r);
                    r->fd = fd;
                    epoll_set(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, r);
                }
            } else if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
                readable(r);
            } else if (!feed(r)) {
                drop(r);
            }
        }
        if (ticked)
            feed_all();
    }
}
