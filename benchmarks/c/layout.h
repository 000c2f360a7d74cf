/* layout.h - the made-up transport stream (ISO/IEC 13818-1) that source.c writes and players.c verifies.
 *
 * 200 packets make a group: PAT, PMT, one audio frame of 10 packets, one picture of 188 packets. Every 25th
 * picture is a random access point. At 8 Mbit/s a group lasts 37.6 ms, and access points are 0.94 s apart.
 *
 * The last 14 bytes of each audio and video packet say which packet it is: a mark, the channel and the
 * packet's number within its PID, so that a relay may change the order between PIDs but not within one. The
 * numbers are written in groups of seven bits with the top bit set: they never imitate a start code. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdint.h>

enum {
    PACKET = 188,
    GROUP = 200,
    AUDIO_PER_GROUP = 10,
    VIDEO_PER_GROUP = 188,
    GROUPS_PER_ACCESS_POINT = 25,
};

enum { PID_PAT = 0, PID_VIDEO = 0x100, PID_AUDIO = 0x101, PID_PMT = 0x1000, PID_NULL = 0x1fff };

enum { MARK_AT = 174, CHANNEL_AT = 178, CHANNEL_BYTES = 2, NUMBER_AT = 180, NUMBER_BYTES = 8 };

static const char MARK[4] = {'S', 'E', 'Q', '!'};

static inline void put_number(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(0x80 | (value >> 7 * i & 0x7f));
}

static inline uint64_t get_number(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)(at[i] & 0x7f) << 7 * i;
    return value;
}

#endif
