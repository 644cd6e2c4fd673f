// http_listen.c - the address that a server listens on.
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_server.h"
#include "net/http_server_inside.h"

#define LISTEN_BACKLOG 1024

typedef struct {
    char host[256]; // "": all addresses
    char port[8];
} place;

// "host:port" or "[v6]:port".
static status split(place *p, const char *listen, err *e) {
    const char *colon = strrchr(listen, ':');
    size_t n = colon ? (size_t)(colon - listen) : 0;
    const char *from = listen;
    if (n >= 2 && listen[0] == '[' && listen[n - 1] == ']') from++, n -= 2;
    char *end = NULL;
    long number = colon ? strtol(colon + 1, &end, 10) : -1;
    if (n == 0 || n >= sizeof p->host || !end || *end || end == colon + 1 || number < 0 ||
        number > 65535) {
        return err_set(e, ERR_ARG, "listen: expected HOST:PORT, found \"%s\"", listen);
    }
    memcpy(p->host, from, n);
    p->host[n] = 0;
    if (strcmp(p->host, "*") == 0 || strcmp(p->host, "::") == 0) p->host[0] = 0;
    snprintf(p->port, sizeof p->port, "%ld", number);
    return OK;
}

// A socket of IPv6 takes IPv4 too.
static int bind_one(const struct addrinfo *a) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) return -1;
    int one = 1, zero = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

// The first address of that family that can be had; -1 with errno. AF_UNSPEC: of any.
static int bind_first(const struct addrinfo *list, int family) {
    int fd = -1;
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        if (family == AF_UNSPEC || a->ai_family == family) fd = bind_one(a);
    }
    return fd;
}

static int port_of(int fd) {
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &n)) return 0;
    return ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                             : ((struct sockaddr_in *)&bound)->sin_port);
}

status http_listen(int *fd, int *port, const char *at, err *e) {
    place p;
    *fd = -1;
    status rc = split(&p, at, e);
    if (rc) return rc;
    struct addrinfo hint = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    int code = getaddrinfo(p.host[0] ? p.host : NULL, p.port, &hint, &list);
    if (code) return err_set(e, ERR_ARG, "listen on %s: %s", at, gai_strerror(code));
    // All addresses: both families by one socket; IPv4 alone where the machine has no IPv6.
    if (!p.host[0]) *fd = bind_first(list, AF_INET6);
    bool taken = *fd < 0 && errno == EADDRINUSE;
    if (*fd < 0 && !taken) *fd = bind_first(list, AF_UNSPEC);
    int why = errno;
    freeaddrinfo(list);
    if (*fd >= 0) {
        *port = port_of(*fd);
        return OK;
    }
    errno = why;
    if (why == EADDRINUSE) return err_set(e, ERR_BUSY, "listen on %s: the port is taken", at);
    return err_errno(e, "listen on %s", at);
}

status http_listen_check(const char *at, err *e) {
    int fd, port;
    status rc = http_listen(&fd, &port, at, e);
    if (!rc) close(fd);
    return rc;
}
