// forward_load: the target and the clients of forward.py (loopback only, bounded in count and time).
//   forward_load backend PORT                      multi-behaviour TCP backend + UDP echo on the same port
//   forward_load bulk PORT CONNS WARM_S RUN_S up|down    prints START, then END <bytes> <secs>
//   forward_load conns PORT COUNT CONCURRENCY      prints START, then END <ok> <fail> <secs> <p50us> <p99us>
//   forward_load ping PORT COUNT                   prints START, then END <p50us> <p99us> <meanus>
//   forward_load idle PORT COUNT                   opens COUNT kept connections, prints READY, closes them on stdin EOF
//   forward_load udp PORT FLOWS RUN_S              prints START, then END <replies> <lost> <secs> <p50us> <p99us>
// A connection to the backend starts with a 16 byte header: op, 9 digits a, 6 digits b.
//   E        echo                              G a      send a bytes (0 = no end), then FIN
//   S        sink until EOF, send 16 byte count        H a b    sink until EOF, wait b ms, send a bytes, FIN
//   F a      send a bytes and FIN at once, then sink   R a b    send a bytes, wait b ms, RST
//   W        stop reading                      Q        statistics, 128 bytes
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 65521
#define BIG (PERIOD * 16)
static char pat[BIG];
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static struct sockaddr_in lo(int port) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return a;
}
static void die(const char *m) { perror(m); exit(1); }
static void nodelay(int fd) { int one = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); }

// ---------------------------------------------------------------- backend
struct bc { int fd; char hdr[16]; int nhdr; char op; uint64_t a, b, in, out; int eof, shut, want; char *pend; int npend; double due; struct bc *tnext; };
static struct bc *timers;
static long accepted, live, eofs, rsts; static uint64_t last_sink;
static int bep;
static void b_ctl(struct bc *c, int ev) { if (c->want == ev) return; c->want = ev; struct epoll_event e = { .events = ev, .data.ptr = c }; epoll_ctl(bep, EPOLL_CTL_MOD, c->fd, &e); }
static void b_close(struct bc *c, int rst) {
    if (rst) { struct linger l = {1, 0}; setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l); }
    close(c->fd); live--;
    for (struct bc **p = &timers; *p; p = &(*p)->tnext) if (*p == c) { *p = c->tnext; break; }
    free(c->pend); free(c);
}
static void b_timer(struct bc *c, uint64_t ms) { c->due = now() + ms / 1000.0; c->tnext = timers; timers = c; b_ctl(c, 0); }
// sends up to c->a pattern bytes; 1 when all are sent, 0 when blocked, -1 on error
static int b_gen(struct bc *c) {
    for (int k = 0; k < 8; k++) {
        uint64_t left = c->a ? c->a - c->out : BIG;
        if (!left) return 1;
        size_t off = c->out % PERIOD, len = BIG - PERIOD; if (len > left) len = left;
        ssize_t n = send(c->fd, pat + off, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) { if (errno == EAGAIN) return 0; return -1; }
        c->out += n;
    }
    return c->a && c->out == c->a ? 1 : 0;
}
static int b_flush(struct bc *c) { // 1 done, 0 blocked, -1 error
    while (c->npend) {
        ssize_t n = send(c->fd, c->pend, c->npend, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) { if (errno == EAGAIN) return 0; return -1; }
        memmove(c->pend, c->pend + n, c->npend - n); c->npend -= n;
    }
    free(c->pend); c->pend = NULL;
    return 1;
}
static void b_advance(struct bc *c) { // op chosen, header complete: what to do next on the write side
    int r;
    switch (c->op) {
    case 'G': case 'F':
        if (c->shut) return;
        r = b_gen(c);
        if (r < 0) { rsts++; b_close(c, 0); return; }
        if (r == 1) { shutdown(c->fd, SHUT_WR); c->shut = 1; b_ctl(c, EPOLLIN); } else b_ctl(c, EPOLLIN | EPOLLOUT);
        return;
    case 'H':
        if (!c->eof) return;
        if (c->b) { uint64_t ms = c->b; c->b = 0; b_timer(c, ms); return; }
        r = b_gen(c);
        if (r < 0) { rsts++; b_close(c, 0); } else if (r == 1) b_close(c, 0); else b_ctl(c, EPOLLOUT);
        return;
    case 'R':
        r = c->a ? b_gen(c) : 1;
        if (r == 0) { b_ctl(c, EPOLLOUT); return; }
        if (c->b) { uint64_t ms = c->b; c->b = 0; b_timer(c, ms); return; }
        b_close(c, 1);
        return;
    case 'W': b_ctl(c, 0); return;
    }
}
static char ebuf[65536];
static void b_event(struct bc *c, int ev) {
    if (ev & EPOLLOUT) {
        if (c->op == 'E') { int r = b_flush(c); if (r < 0) { rsts++; b_close(c, 0); return; } if (r == 1) { if (c->eof) { b_close(c, 0); return; } b_ctl(c, EPOLLIN); } }
        else { b_advance(c); if (!(ev & EPOLLIN)) return; return; }
    }
    if (!(ev & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    if (c->nhdr < 16) {
        ssize_t n = recv(c->fd, c->hdr + c->nhdr, 16 - c->nhdr, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) { n ? rsts++ : eofs++; b_close(c, 0); return; }
        c->nhdr += n;
        if (c->nhdr < 16) return;
        char t[16]; c->op = c->hdr[0];
        memcpy(t, c->hdr + 1, 9); t[9] = 0; c->a = strtoull(t, 0, 10);
        memcpy(t, c->hdr + 10, 6); t[6] = 0; c->b = strtoull(t, 0, 10);
        if (c->op == 'Q') {
            char m[128]; memset(m, ' ', 128);
            int k = snprintf(m, 127, "%ld %ld %ld %ld %llu", live - 1, accepted, eofs, rsts, (unsigned long long)last_sink); m[k] = ' '; m[127] = '\n';
            send(c->fd, m, 128, MSG_NOSIGNAL); b_close(c, 0); return;
        }
        if (c->op != 'E' && c->op != 'S') { b_advance(c); return; }
    }
    for (int k = 0; k < 16; k++) {
        int echo = c->op == 'E';
        ssize_t n = echo ? recv(c->fd, ebuf, sizeof ebuf, MSG_DONTWAIT) : recv(c->fd, ebuf, 1 << 20, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { rsts++; last_sink = c->in; b_close(c, 0); return; }
        if (n == 0) {
            eofs++; c->eof = 1; last_sink = c->in;
            if (c->op == 'S') { char m[17]; snprintf(m, 17, "%016llu", (unsigned long long)c->in); send(c->fd, m, 16, MSG_NOSIGNAL); b_close(c, 0); }
            else if (c->op == 'H') b_advance(c);
            else if (c->npend) b_ctl(c, EPOLLOUT);
            else b_close(c, 0);
            return;
        }
        c->in += n;
        if (echo) {
            ssize_t w = send(c->fd, ebuf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (w < 0) { if (errno != EAGAIN) { rsts++; b_close(c, 0); return; } w = 0; }
            if (w < n) { c->npend = n - w; c->pend = malloc(c->npend); memcpy(c->pend, ebuf + w, c->npend); b_ctl(c, EPOLLOUT); return; }
            if (n < (ssize_t)sizeof ebuf) return;
        }
    }
}
static __attribute__((noreturn)) void backend(int port) {
    int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), u = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = lo(port);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l, (void *)&a, sizeof a) || listen(l, 4096) || bind(u, (void *)&a, sizeof a)) die("backend");
    bep = epoll_create1(0);
    static struct bc L, U;
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = &L }, ev[256];
    epoll_ctl(bep, EPOLL_CTL_ADD, l, &e); e.data.ptr = &U; epoll_ctl(bep, EPOLL_CTL_ADD, u, &e);
    printf("READY\n"); fflush(stdout);
    for (;;) {
        int to = -1;
        if (timers) { double d = 1e9; for (struct bc *t = timers; t; t = t->tnext) if (t->due < d) d = t->due; d = (d - now()) * 1000 + 1; to = d < 0 ? 0 : (int)d; }
        int n = epoll_wait(bep, ev, 256, to);
        for (int k = 0; k < n; k++) {
            struct bc *c = ev[k].data.ptr;
            if (c == &L) {
                for (int j = 0; j < 64; j++) {
                    int fd = accept4(l, NULL, NULL, SOCK_NONBLOCK); if (fd < 0) break;
                    nodelay(fd); accepted++; live++;
                    struct bc *x = calloc(1, sizeof *x); x->fd = fd; x->want = EPOLLIN;
                    struct epoll_event g = { .events = EPOLLIN, .data.ptr = x }; epoll_ctl(bep, EPOLL_CTL_ADD, fd, &g);
                }
            } else if (c == &U) {
                for (int j = 0; j < 64; j++) {
                    struct sockaddr_in p; socklen_t pl = sizeof p;
                    ssize_t r = recvfrom(u, ebuf, sizeof ebuf, 0, (void *)&p, &pl); if (r < 0) break;
                    if (r) sendto(u, ebuf, r, 0, (void *)&p, pl);
                }
            } else b_event(c, ev[k].events);
        }
        double t = now();
        for (struct bc **p = &timers; *p;) { struct bc *c = *p; if (c->due <= t) { *p = c->tnext; c->tnext = NULL; b_advance(c); p = &timers; } else p = &c->tnext; }
    }
}
// ---------------------------------------------------------------- client
static int srcn;
static int dial(int port, int nb) {
    int fd = socket(AF_INET, SOCK_STREAM | (nb ? SOCK_NONBLOCK : 0), 0); if (fd < 0) die("socket");
    int one = 1; setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one); nodelay(fd);
    struct sockaddr_in s = lo(0), d = lo(port); s.sin_addr.s_addr = htonl(0x7f000100 + 2 + (srcn++ % 200));
    if (bind(fd, (void *)&s, sizeof s)) die("bind");
    if (connect(fd, (void *)&d, sizeof d) && errno != EINPROGRESS) { if (nb) { close(fd); return -1; } die("connect"); }
    return fd;
}
static void hdr(char *h, char op, unsigned a, unsigned b) { char t[20]; snprintf(t, 20, "%c%09u%06u", op, a, b); memcpy(h, t, 16); }
static int cmp(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return (x > y) - (x < y); }
static int bulk(int port, int n, double warm, double run, int up) {
    int ep = epoll_create1(0); struct epoll_event ev[64]; int *fds = calloc(n, sizeof *fds);
    for (int i = 0; i < n; i++) {
        fds[i] = dial(port, 0); char h[16]; hdr(h, up ? 'S' : 'G', 0, 0); if (send(fds[i], h, 16, 0) != 16) die("send");
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        struct epoll_event e = { .events = up ? EPOLLOUT : EPOLLIN, .data.fd = fds[i] }; epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &e);
    }
    double t0 = now(), ts = 0; uint64_t bytes = 0; int started = 0; static char b[1 << 16];
    for (;;) {
        int k = epoll_wait(ep, ev, 64, 200);
        double t = now();
        if (!started && t - t0 >= warm) { started = 1; printf("START\n"); fflush(stdout); ts = now(); bytes = 0; }
        if (started && t - ts >= run) break;
        if (t - t0 > warm + run + 5) break;
        for (int i = 0; i < k; i++) {
            ssize_t r = up ? send(ev[i].data.fd, pat, BIG, MSG_NOSIGNAL) : recv(ev[i].data.fd, b, 1 << 20, MSG_TRUNC);
            if (r > 0) bytes += r; else if (r == 0 || errno != EAGAIN) { epoll_ctl(ep, EPOLL_CTL_DEL, ev[i].data.fd, NULL); }
        }
    }
    double el = now() - ts;
    printf("END %llu %.6f\n", (unsigned long long)bytes, el); fflush(stdout);
    return 0;
}
struct cc { int fd, st, got; double t; };
static int conns(int port, int total, int k) {
    int ep = epoll_create1(0); struct epoll_event ev[256]; struct cc *c = calloc(k, sizeof *c); double *lat = calloc(total, sizeof *lat);
    int started = 0, ok = 0, fail = 0; char h[80], b[256]; hdr(h, 'E', 0, 0); memset(h + 16, 'x', 64);
    printf("START\n"); fflush(stdout);
    double t0 = now();
    #define OPEN(x) do { (x)->st = 0; (x)->got = 0; (x)->t = now(); (x)->fd = dial(port, 1); started++; if ((x)->fd < 0) fail++; else { struct epoll_event e = { .events = EPOLLOUT, .data.ptr = (x) }; epoll_ctl(ep, EPOLL_CTL_ADD, (x)->fd, &e); } } while (0)
    for (int i = 0; i < k && started < total; i++) OPEN(&c[i]);
    while (ok + fail < total && now() - t0 < 20) {
        int n = epoll_wait(ep, ev, 256, 1000);
        for (int i = 0; i < n; i++) {
            struct cc *x = ev[i].data.ptr; int end = 0;
            if (x->st == 0) { if (send(x->fd, h, 80, MSG_NOSIGNAL) != 80) { fail++; end = 1; } else { x->st = 1; struct epoll_event e = { .events = EPOLLIN, .data.ptr = x }; epoll_ctl(ep, EPOLL_CTL_MOD, x->fd, &e); } }
            else { ssize_t r = recv(x->fd, b, sizeof b, 0); if (r > 0) { x->got += r; if (x->got >= 64) { lat[ok++] = (now() - x->t) * 1e6; end = 1; } } else if (r == 0 || errno != EAGAIN) { fail++; end = 1; } }
            if (end) { close(x->fd); if (started < total) OPEN(x); }
        }
    }
    double el = now() - t0; fail += total - ok - fail; qsort(lat, ok, sizeof *lat, cmp);
    printf("END %d %d %.6f %.1f %.1f\n", ok, fail, el, ok ? lat[ok / 2] : 0, ok ? lat[ok * 99 / 100] : 0); fflush(stdout);
    return 0;
}
static int ping(int port, int total) {
    int fd = dial(port, 0); char h[16], b[64]; hdr(h, 'E', 0, 0); if (send(fd, h, 16, 0) != 16) die("send");
    struct timeval tv = { 3, 0 }; setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    double *lat = calloc(total, sizeof *lat), sum = 0, t0 = 0; memset(b, 'p', 64); int warm = 200;
    for (int i = -warm; i < total; i++) {
        if (i == 0) { printf("START\n"); fflush(stdout); t0 = now(); }
        double t = now(); int got = 0;
        if (send(fd, b, 64, MSG_NOSIGNAL) != 64) die("send");
        while (got < 64) { ssize_t r = recv(fd, b, 64 - got, 0); if (r <= 0) die("recv"); got += r; }
        if (i >= 0) { lat[i] = (now() - t) * 1e6; sum += lat[i]; }
        if (i > 200 && now() - t0 > 5) { total = i + 1; break; }
    }
    qsort(lat, total, sizeof *lat, cmp);
    printf("END %.2f %.2f %.2f %d\n", lat[total / 2], lat[total * 99 / 100], sum / total, total); fflush(stdout);
    return 0;
}
static int idle(int port, int total, double limit) {
    int ep = epoll_create1(0); struct epoll_event ev[256]; struct cc *c = calloc(total, sizeof *c);
    int started = 0, ok = 0, fail = 0; char h[80], b[256]; hdr(h, 'E', 0, 0); memset(h + 16, 'x', 64); double t0 = now();
    while (ok + fail < total && now() - t0 < limit) {
        while (started < total && started - ok - fail < 32) { struct cc *x = &c[started]; OPEN(x); }
        int n = epoll_wait(ep, ev, 256, 200);
        for (int i = 0; i < n; i++) {
            struct cc *x = ev[i].data.ptr;
            if (x->st == 0) { if (send(x->fd, h, 80, MSG_NOSIGNAL) != 80) { fail++; epoll_ctl(ep, EPOLL_CTL_DEL, x->fd, NULL); } else { x->st = 1; struct epoll_event e = { .events = EPOLLIN, .data.ptr = x }; epoll_ctl(ep, EPOLL_CTL_MOD, x->fd, &e); } }
            else { ssize_t r = recv(x->fd, b, sizeof b, 0); if (r > 0) { x->got += r; if (x->got >= 64) { ok++; epoll_ctl(ep, EPOLL_CTL_DEL, x->fd, NULL); } } else if (r == 0 || errno != EAGAIN) { fail++; epoll_ctl(ep, EPOLL_CTL_DEL, x->fd, NULL); } }
        }
    }
    printf("READY %d %d %.3f\n", ok, total - ok, now() - t0); fflush(stdout);
    char z; while (read(0, &z, 1) > 0) ;
    return 0;
}
static int udp(int port, int flows, double run) {
    int ep = epoll_create1(0); struct epoll_event ev[256]; int *fd = calloc(flows, sizeof *fd); double *ts = calloc(flows, sizeof *ts); double *lat = malloc(sizeof(double) * 2000000);
    struct sockaddr_in d = lo(port); char b[64]; memset(b, 'u', 64); long ok = 0, lost = 0;
    for (int i = 0; i < flows; i++) {
        fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0); if (connect(fd[i], (void *)&d, sizeof d)) die("connect");
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = i }; epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &e);
        ts[i] = now(); send(fd[i], b, 64, 0);
    }
    int started = 0; double t0 = now(), s0 = 0, chk = t0;
    for (;;) {
        int n = epoll_wait(ep, ev, 256, 50); double t = now();
        if (!started && t - t0 > 0.1) { started = 1; printf("START\n"); fflush(stdout); s0 = now(); ok = lost = 0; }
        if (started && t - s0 > run) break;
        for (int i = 0; i < n; i++) { int j = ev[i].data.u32; char r[2048]; if (recv(fd[j], r, sizeof r, 0) > 0) { t = now(); if (ok < 2000000) lat[ok] = (t - ts[j]) * 1e6; ok++; ts[j] = t; send(fd[j], b, 64, 0); } }
        if (t - chk > 0.05) { chk = t; for (int j = 0; j < flows; j++) if (t - ts[j] > 0.2) { lost++; ts[j] = t; send(fd[j], b, 64, 0); } }
    }
    double el = now() - s0; long m = ok < 2000000 ? ok : 2000000; qsort(lat, m, sizeof *lat, cmp);
    printf("END %ld %ld %.6f %.1f %.1f\n", ok, lost, el, m ? lat[m / 2] : 0, m ? lat[m * 99 / 100] : 0); fflush(stdout);
    return 0;
}
int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < BIG; i++) pat[i] = (char)((i % PERIOD) * 7 + ((i % PERIOD) >> 8));
    if (argc < 3) return 2;
    int port = atoi(argv[2]); const char *m = argv[1];
    if (!strcmp(m, "backend")) backend(port);
    if (!strcmp(m, "bulk") && argc == 7) return bulk(port, atoi(argv[3]), atof(argv[4]), atof(argv[5]), !strcmp(argv[6], "up"));
    if (!strcmp(m, "conns") && argc == 5) return conns(port, atoi(argv[3]), atoi(argv[4]));
    if (!strcmp(m, "ping") && argc == 4) return ping(port, atoi(argv[3]));
    if (!strcmp(m, "idle") && argc >= 4) return idle(port, atoi(argv[3]), argc > 4 ? atof(argv[4]) : 40);
    if (!strcmp(m, "udp") && argc == 5) return udp(port, atoi(argv[3]), atof(argv[4]));
    return 2;
}
