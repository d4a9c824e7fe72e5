// splice_forward: the smallest honest TCP forwarder, the "limit" row of forward.py.
// One thread, edge-triggered epoll, no logging, no ACL, no timeouts.
//   splice_forward [-m splice|copy|hybrid] [-b BYTES] LISTEN_PORT BACKEND_PORT      (127.0.0.1 only)
// splice: every byte goes socket -> pipe -> socket (pipes are pooled, an idle connection owns none)
// copy:   recv()/send() through one shared user buffer; what does not fit stays in a per-direction buffer
// hybrid: copy until one recv() fills the small buffer, then that direction splices
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SPLICE, COPY, HYBRID };
static int mode = HYBRID;
static size_t bufsz = 0, pipesz = 256 * 1024;
static char *shared;
static int ep, lfd, accept_paused;
static struct sockaddr_in backend;

struct conn;
struct side { struct conn *c; int fd; };
struct dir {                       // data from side[i] to side[!i]
    int pr, pw;                    // pipe, -1 when none is held
    unsigned char eof, done, bulk, rd, wr, hup; // rd/wr: believed readable / writable; hup: FIN seen, read on to EOF
    size_t n;                      // bytes waiting in pipe or in buf
    size_t off;
    char *buf;
};
struct conn { struct side s[2]; struct dir d[2]; unsigned char connected, queued, dead; struct conn *next; };

static struct conn *again, *graveyard;
static struct { int r, w; } pool[4096];
static int npool;

static int pipe_get(struct dir *d) {
    if (d->pr >= 0) return 0;
    if (npool) { npool--; d->pr = pool[npool].r; d->pw = pool[npool].w; return 0; }
    int p[2];
    if (pipe2(p, O_NONBLOCK | O_CLOEXEC) < 0) return -1;
    fcntl(p[0], F_SETPIPE_SZ, pipesz);
    d->pr = p[0]; d->pw = p[1];
    return 0;
}
static void pipe_put(struct dir *d, int clean) {
    if (d->pr < 0) return;
    if (clean && npool < 4096) { pool[npool].r = d->pr; pool[npool].w = d->pw; npool++; }
    else { close(d->pr); close(d->pw); }
    d->pr = d->pw = -1;
}
static void kill_conn(struct conn *c, int reset) {
    if (c->dead) return;
    c->dead = 1;
    for (int i = 0; i < 2; i++) {
        pipe_put(&c->d[i], c->d[i].n == 0);
        free(c->d[i].buf);
        if (c->s[i].fd >= 0) {
            if (reset) { struct linger l = {1, 0}; setsockopt(c->s[i].fd, SOL_SOCKET, SO_LINGER, &l, sizeof l); }
            close(c->s[i].fd);
        }
    }
    if (!c->queued) { c->next = graveyard; graveyard = c; }
    if (accept_paused) {
        accept_paused = 0;
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
        epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &e);
    }
}
// moves data one way; returns -1 on a fatal error, 1 if there is more to do (fairness), 0 if blocked
static int pump(struct conn *c, int i) {
    struct dir *d = &c->d[i];
    int src = c->s[i].fd, dst = c->s[!i].fd;
    for (int turn = 0; turn < 16; turn++) {
        if (d->done) return 0;
        if (d->n == 0) {
            if (d->eof) { shutdown(dst, SHUT_WR); d->done = 1; pipe_put(d, 1); return 0; }
            if (!d->rd) { pipe_put(d, 1); return 0; }
            ssize_t r;
            if (d->bulk) {
                if (pipe_get(d) < 0) { d->bulk = 0; continue; }
                r = splice(src, NULL, d->pw, NULL, pipesz, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            } else
                r = recv(src, shared, bufsz, 0);
            if (r < 0) {
                if (errno == EAGAIN) { d->rd = 0; pipe_put(d, 1); return 0; }
                return -1;
            }
            if (r == 0) { d->eof = 1; continue; }
            if (d->bulk) d->n = r;
            else {
                size_t sent = 0;
                if (d->wr) {
                    ssize_t w = send(dst, shared, r, MSG_NOSIGNAL);
                    if (w < 0) { if (errno != EAGAIN) return -1; w = 0; }
                    sent = w;
                    if (sent < (size_t)r) d->wr = 0;
                }
                if (sent < (size_t)r) {
                    d->n = r - sent; d->off = 0;
                    d->buf = malloc(d->n);
                    memcpy(d->buf, shared + sent, d->n);
                    return 0;
                }
                if ((size_t)r == bufsz) { if (mode == HYBRID) d->bulk = 1; }
                else if (!d->hup) { d->rd = 0; return 0; }   // short read: wait for the next edge
                continue;
            }
        }
        if (!d->wr) return 0;
        ssize_t w;
        if (d->buf) w = send(dst, d->buf + d->off, d->n, MSG_NOSIGNAL);
        else w = splice(d->pr, NULL, dst, NULL, d->n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (w < 0) { if (errno == EAGAIN) { d->wr = 0; return 0; } return -1; }
        d->n -= w; d->off += w;
        if (d->n == 0) { free(d->buf); d->buf = NULL; d->off = 0; }
    }
    return 1;
}
static void work(struct conn *c) {
    if (c->dead || !c->connected) return;
    int a = pump(c, 0), b = a < 0 ? -1 : pump(c, 1);
    if (a < 0 || b < 0) { kill_conn(c, 1); return; }
    if (c->d[0].done && c->d[1].done) { kill_conn(c, 0); return; }
    if ((a || b) && !c->queued) { c->queued = 1; c->next = again; again = c; }
}
static void do_accept(void) {
    for (int k = 0; k < 64; k++) {
        int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) { accept_paused = 1; epoll_ctl(ep, EPOLL_CTL_DEL, lfd, NULL); }
            return;
        }
        int b = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (b < 0) { close(fd); continue; }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        c->s[0] = (struct side){c, fd}; c->s[1] = (struct side){c, b};
        for (int i = 0; i < 2; i++) { c->d[i].pr = c->d[i].pw = -1; c->d[i].bulk = mode == SPLICE; }
        if (connect(b, (struct sockaddr *)&backend, sizeof backend) < 0 && errno != EINPROGRESS) { kill_conn(c, 1); continue; }
        for (int i = 0; i < 2; i++) {
            struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &c->s[i] };
            epoll_ctl(ep, EPOLL_CTL_ADD, c->s[i].fd, &e);
        }
    }
}
int main(int argc, char **argv) {
    int o;
    while ((o = getopt(argc, argv, "m:b:p:")) > 0) {
        if (o == 'm') mode = !strcmp(optarg, "splice") ? SPLICE : !strcmp(optarg, "copy") ? COPY : HYBRID;
        if (o == 'b') bufsz = atoi(optarg);
        if (o == 'p') pipesz = atoi(optarg);
    }
    if (argc - optind != 2) { fprintf(stderr, "usage: splice_forward [-m splice|copy|hybrid] [-b BYTES] [-p PIPE] LISTEN_PORT BACKEND_PORT\n"); return 2; }
    if (!bufsz) bufsz = mode == COPY ? 256 * 1024 : 16 * 1024;
    shared = malloc(bufsz);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[optind])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    backend = a; backend.sin_port = htons(atoi(argv[optind + 1]));
    int one = 1;
    lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(lfd, (struct sockaddr *)&a, sizeof a) || listen(lfd, 4096)) { perror("listen"); return 1; }
    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL }, ev[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &e);
    for (;;) {
        int n = epoll_wait(ep, ev, 256, again ? 0 : -1);
        for (int k = 0; k < n; k++) {
            struct side *s = ev[k].data.ptr;
            if (!s) { do_accept(); continue; }
            struct conn *c = s->c;
            if (c->dead) continue;
            int i = s != &c->s[0];
            if (ev[k].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->d[i].rd = 1;
            if (ev[k].events & (EPOLLRDHUP | EPOLLHUP)) c->d[i].hup = 1;
            if (ev[k].events & EPOLLOUT) {
                c->d[!i].wr = 1;
                if (i == 1) c->connected = 1;
            }
            if (ev[k].events & EPOLLERR) { kill_conn(c, 1); continue; }
            work(c);
        }
        struct conn *q = again; again = NULL;
        while (q) { struct conn *nx = q->next; q->queued = 0; if (q->dead) { q->next = graveyard; graveyard = q; } else work(q); q = nx; }
        while (graveyard) { struct conn *nx = graveyard->next; free(graveyard); graveyard = nx; }
    }
}
