/* loopback.h - the few lines of sockets and clock that the three programs share.
 *
 * Everything listens on 127.0.0.1 at a port that the kernel picks and that the program prints as its first
 * line, so that several runs can share a machine. Linux only (epoll, timerfd). */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* End the program with the reason; none of the three can do anything useful after a failed system call. */
static inline void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
        exit(1);
    }
}

static inline void *zalloc(size_t size)
{
    void *p = calloc(1, size);
    must(p != NULL, "calloc");
    return p;
}

static inline struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

/* Listen on a free port and print it. The backlog takes a crowd that arrives in one moment. */
static inline int listen_and_announce(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(fd >= 0, "socket");
    must(bind(fd, (struct sockaddr *)&address, size) == 0, "bind");
    must(listen(fd, 4096) == 0, "listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* The next waiting connection, non-blocking and without Nagle's delay, or -1. */
static inline int accept_one(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* A timer that becomes readable every `ms` milliseconds (fractions allowed). */
static inline int ticker(double ms)
{
    long ns = (long)(ms * 1e6);
    struct timespec every = {ns / 1000000000, ns % 1000000000};
    struct itimerspec timer = {every, every};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    must(fd >= 0 && timerfd_settime(fd, 0, &timer, NULL) == 0, "timerfd");
    return fd;
}

static inline void clear_tick(int fd)
{
    uint64_t expirations;
    if (read(fd, &expirations, sizeof expirations) < 0)
        return; /* EAGAIN: another event of the same turn has read it */
}

static inline void epoll_set(int epoll, int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = owner};
    must(epoll_ctl(epoll, operation, fd, &event) == 0, "epoll_ctl");
}

#endif
