/* verify.h - what one player has received: is each packet whole, of its channel, next in its numbering? */
#ifndef VERIFY_H
#define VERIFY_H

#include "layout.h"

#include <stdbool.h>
#include <string.h>

struct reception {
    unsigned channel;
    uint64_t packets;
    uint64_t lost;        /* packets of a PID missing in its numbering */
    uint64_t repeated;    /* packets of a PID received again */
    uint64_t torn;        /* not a packet of this channel where one should be */
    uint64_t skipped;     /* bytes dropped to find a packet's start */
    bool pat_first;       /* the first packet was a PAT */
    bool key_first;       /* the first video packet was a random access point */
    uint64_t expected[2]; /* next number of video and of audio, 0 before the first */
    unsigned counter[2];  /* continuity counter less number, of video and of audio */
    uint8_t part[PACKET]; /* a packet of which the end has not come yet */
    size_t part_size;
};

/* False when the continuity counter at the packet's start and the number at its end are not of one packet: a
 * relay that cuts within packets can make a whole one of two halves. */
static inline bool check_number(struct reception *r, bool audio, const uint8_t *packet)
{
    uint64_t number = get_number(packet + NUMBER_AT, NUMBER_BYTES), expected = r->expected[audio];
    unsigned counter = (unsigned)(packet[3] - number) & 15;
    r->expected[audio] = number + 1;
    if (expected == 0) {
        r->counter[audio] = counter;
        if (!audio)
            r->key_first = (packet[3] & 0x20) && packet[4] > 0 && (packet[5] & 0x40);
    } else if (number > expected) {
        r->lost += number - expected;
    } else {
        r->repeated += expected - number;
    }
    return counter == r->counter[audio];
}

/* PSI and null packets may be rebuilt, repeated or left out by a relay; media may not. */
static inline bool is_packet(struct reception *r, const uint8_t *packet)
{
    int pid = (packet[1] & 0x1f) << 8 | packet[2];
    if (packet[0] != 0x47)
        return false;
    if (r->packets++ == 0)
        r->pat_first = pid == PID_PAT;
    if (pid == PID_PAT || pid == PID_PMT || pid == PID_NULL)
        return true;
    if ((pid != PID_VIDEO && pid != PID_AUDIO) || memcmp(packet + MARK_AT, MARK, sizeof MARK) != 0 ||
        get_number(packet + CHANNEL_AT, CHANNEL_BYTES) != r->channel)
        return false;
    return check_number(r, pid == PID_AUDIO, packet);
}

static inline void verify(struct reception *r, const uint8_t *data, size_t size)
{
    while (size > 0) {
        if (r->part_size == 0 && *data != 0x47) { /* out of step */
            r->skipped++, data++, size--;
        } else if (r->part_size == 0 && size >= PACKET) {
            r->torn += !is_packet(r, data);
            data += PACKET, size -= PACKET;
        } else {
            size_t more = PACKET - r->part_size < size ? PACKET - r->part_size : size;
            memcpy(r->part + r->part_size, data, more);
            data += more, size -= more, r->part_size += more;
            if (r->part_size == PACKET) {
                r->torn += !is_packet(r, r->part);
                r->part_size = 0;
            }
        }
    }
}

#endif
