/*
 * load: a closed-loop DNS load generator for loopback, made to cost its own
 * core less per query than the server under test costs the other core.
 *
 *   load -s ADDR -p PORT -d FILE [-l SECONDS] [-c SOCKETS] [-q WINDOW]
 *        [-b BATCH] [-e EDNS%] [-D DO%] [-Q RATE] [-t TIMEOUT_MS] [-T] [-S SEED]
 *        [-H PORT -R FILE [-R FILE ...] [-P PERIOD_MS]]
 *
 * FILE is in dnsperf's format: one "name type" a line. The packets are encoded
 * before the clock starts. EDNS% of them (chosen by a seeded generator) carry
 * an OPT record (1232 octets), DO% of those with the DO bit.
 *
 * WINDOW queries are kept outstanding over SOCKETS connected sockets (UDP), or
 * connections with pipelining (-T: TCP). Each turn reads what has come with
 * one recvmmsg and refills the window with one sendmmsg of at most BATCH. It
 * spins: it never sleeps, so the server never has to wake it. With -Q RATE it
 * is paced to that many queries a second instead (still inside the window).
 *
 * A query unanswered after TIMEOUT_MS is counted lost. An answer counts only
 * when its socket, its ID and the QR bit match an outstanding query. Prints
 * one JSON object.
 *
 * With -H it is also the operator: the HTTP requests in the FILEs of -R go in
 * turn to that port, the first after 200 ms, then one every PERIOD_MS once the
 * one before is answered, from the same loop, so that no other process disturbs what is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAXB 256
#define MAXS 256
#define QBUF 320
#define RBUF 4096
#define TCPBUF (1 << 18)

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t rng_state = 88172645463325252ull;
static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

/* ---- queries ---------------------------------------------------------- */
static uint8_t *qdata;
static size_t qdata_len, qdata_cap;
static uint32_t *qoff;
static uint16_t *qlen;
static size_t nq, capq;

static int type_of(const char *s)
{
    static const struct { const char *n; int v; } t[] = {
        {"A", 1}, {"NS", 2}, {"CNAME", 5}, {"SOA", 6}, {"PTR", 12}, {"MX", 15},
        {"TXT", 16}, {"AAAA", 28}, {"SRV", 33}, {"NAPTR", 35}, {"DS", 43},
        {"DNSKEY", 48}, {"SVCB", 64}, {"HTTPS", 65}, {"ANY", 255}, {"CAA", 257}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (!strcasecmp(s, t[i].n))
            return t[i].v;
    if (!strncasecmp(s, "TYPE", 4))
        return atoi(s + 4);
    return -1;
}

static int encode(uint8_t *b, const char *name, int type, int edns, int dob)
{
    memset(b, 0, 12);
    b[5] = 1;
    if (edns)
        b[11] = 1;
    int o = 12;
    const char *p = name;
    while (*p && !(p[0] == '.' && !p[1])) {
        const char *e = strchr(p, '.');
        size_t l = e ? (size_t)(e - p) : strlen(p);
        if (l == 0 || l > 63 || o + l > 250)
            return -1;
        b[o++] = (uint8_t)l;
        memcpy(b + o, p, l);
        o += (int)l;
        p += l;
        if (*p == '.')
            p++;
    }
    b[o++] = 0;
    b[o++] = (uint8_t)(type >> 8);
    b[o++] = (uint8_t)type;
    b[o++] = 0;
    b[o++] = 1;
    if (edns) {
        static const uint8_t opt[11] = {0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0};
        memcpy(b + o, opt, 11);
        if (dob)
            b[o + 7] = 0x80;
        o += 11;
    }
    return o;
}

static void load(const char *path, int edns_pct, int do_pct)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        exit(1);
    }
    char line[1024], name[512], ty[32];
    while (fgets(line, sizeof line, f)) {
        if (line[0] == ';' || line[0] == '#' || sscanf(line, "%511s %31s", name, ty) != 2)
            continue;
        int t = type_of(ty);
        if (t < 0)
            continue;
        if (nq == capq) {
            capq = capq ? capq * 2 : 1 << 16;
            qoff = realloc(qoff, capq * sizeof *qoff);
            qlen = realloc(qlen, capq * sizeof *qlen);
        }
        if (qdata_len + QBUF > qdata_cap) {
            qdata_cap = qdata_cap ? qdata_cap * 2 : 1 << 20;
            qdata = realloc(qdata, qdata_cap);
        }
        int edns = (int)(rng() % 100) < edns_pct;
        int dob = edns && (int)(rng() % 100) < do_pct;
        int n = encode(qdata + qdata_len, name, t, edns, dob);
        if (n < 0)
            continue;
        qoff[nq] = (uint32_t)qdata_len;
        qlen[nq] = (uint16_t)n;
        qdata_len += (size_t)n;
        nq++;
    }
    fclose(f);
    if (!nq) {
        fprintf(stderr, "load: no queries in %s\n", path);
        exit(1);
    }
}

/* ---- accounting ------------------------------------------------------- */
static uint64_t sent, answered, lost, stray, bytes_in, tc, lat_sum, lat_max, rcodes[16], anzero;
static uint64_t hist[64 * 32]; /* 32 steps to each power of two, from 1 ns */

static void lat_add(uint64_t ns)
{
    lat_sum += ns;
    if (ns > lat_max)
        lat_max = ns;
    if (ns < 32)
        ns = 32;
    int e = 63 - __builtin_clzll(ns);
    hist[e * 32 + (int)((ns >> (e - 5)) & 31)]++;
}

static double lat_pct(double p)
{
    uint64_t want = (uint64_t)(p * (double)answered), c = 0;
    for (int i = 0; i < 64 * 32; i++) {
        c += hist[i];
        if (c > want)
            return (double)((1ull << (i / 32)) + ((uint64_t)(i % 32) << (i / 32 - 5))) / 1000.0;
    }
    return (double)lat_max / 1000.0;
}

struct sock {
    int fd;
    uint16_t next, tail;
    uint32_t inflight;
    uint64_t *slot; /* send time by ID, 0 = free */
    uint8_t *rx, *tx;
    size_t rxn, txn, txo;
};
static struct sock S[MAXS];

static inline void take(struct sock *s, const uint8_t *r, size_t n, uint64_t t)
{
    if (n < 12 || !(r[2] & 0x80)) {
        stray++;
        return;
    }
    uint16_t id = (uint16_t)(r[0] << 8 | r[1]);
    uint64_t st = s->slot[id];
    if (!st) {
        stray++;
        return;
    }
    s->slot[id] = 0;
    s->inflight--;
    answered++;
    bytes_in += n;
    rcodes[r[3] & 15]++;
    if (r[2] & 2)
        tc++;
    if (!(r[6] | r[7]))
        anzero++;
    lat_add(t > st ? t - st : 1);
}

static void expire(struct sock *s, uint64_t t, uint64_t tmo)
{
    while (s->tail != s->next) {
        uint64_t st = s->slot[s->tail];
        if (st) {
            if (t < st + tmo)
                break;
            s->slot[s->tail] = 0;
            s->inflight--;
            lost++;
        }
        s->tail++;
    }
}

/* ---- the operator ----------------------------------------------------- */
#define MAXR 8
static struct {
    int fd, n, turn, waiting;
    char *request[MAXR];
    size_t length[MAXR];
    char head[4096];
    size_t got, body; /* octets of the head so far; of the body to come */
    uint64_t period, next, looked, taken, refused;
} op;

static void request_from(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f || op.n == MAXR) {
        perror(path);
        exit(1);
    }
    op.request[op.n] = malloc(65536);
    op.length[op.n] = fread(op.request[op.n], 1, 65536, f);
    fclose(f);
    op.n++;
}

static void operator_connect(struct sockaddr_in to, int port)
{
    to.sin_port = htons((uint16_t)port);
    op.fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    if (connect(op.fd, (struct sockaddr *)&to, sizeof to) < 0) {
        perror("connect to the API");
        exit(1);
    }
    setsockopt(op.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(op.fd, F_SETFL, O_NONBLOCK);
}

/* A head that is whole: what it says, and how much body comes. */
static void operator_head(void)
{
    op.head[op.got] = 0;
    op.got = 0;
    const char *length = strcasestr(op.head, "content-length:");
    op.body = length ? strtoul(length + 15, NULL, 10) : 0;
    if (!strncmp(op.head, "HTTP/1.1 2", 10)) {
        op.taken++;
    } else {
        op.refused++;
        fprintf(stderr, "load: the API says %.*s\n", (int)strcspn(op.head, "\r"), op.head);
    }
}

/* What has come of a response. */
static void operator_read(void)
{
    static char b[65536];
    ssize_t n;
    while ((n = recv(op.fd, b, sizeof b, MSG_DONTWAIT)) != -1) {
        ssize_t i = 0;
        while (i < n && !op.body && op.got < sizeof op.head - 1) {
            op.head[op.got++] = b[i++];
            if (op.got >= 4 && !memcmp(op.head + op.got - 4, "\r\n\r\n", 4))
                operator_head();
        }
        if (n == 0 || (i < n && !op.body)) {
            fprintf(stderr, "load: the API %s\n", n ? "has too long a head" : "hung up");
            exit(1);
        }
        op.body -= (size_t)(n - i) < op.body ? (size_t)(n - i) : op.body;
        op.waiting = op.got || op.body;
    }
}

static void operate(uint64_t t)
{
    if (t < op.looked + 100000)
        return;
    op.looked = t;
    operator_read();
    if (op.waiting || t < op.next)
        return;
    op.next = t + op.period;
    op.waiting = 1;
    if (send(op.fd, op.request[op.turn], op.length[op.turn], MSG_NOSIGNAL) != (ssize_t)op.length[op.turn]) {
        perror("send to the API");
        exit(1);
    }
    op.turn = (op.turn + 1) % op.n;
}

int main(int argc, char **argv)
{
    const char *addr = "127.0.0.1", *file = NULL;
    int port = 53, socks = 8, window = 192, batch = 64, edns = 0, dop = 0, tcp = 0, tmo_ms = 500;
    int api = 0, period_ms = 200;
    double secs = 5, rate = 0;
    int o;
    while ((o = getopt(argc, argv, "s:p:d:l:c:q:b:e:D:Q:t:TS:H:R:P:")) != -1)
        switch (o) {
        case 's': addr = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'd': file = optarg; break;
        case 'l': secs = atof(optarg); break;
        case 'c': socks = atoi(optarg); break;
        case 'q': window = atoi(optarg); break;
        case 'b': batch = atoi(optarg); break;
        case 'e': edns = atoi(optarg); break;
        case 'D': dop = atoi(optarg); break;
        case 'Q': rate = atof(optarg); break;
        case 't': tmo_ms = atoi(optarg); break;
        case 'T': tcp = 1; break;
        case 'S': rng_state ^= strtoull(optarg, NULL, 10) * 0x9e3779b97f4a7c15ull; break;
        case 'H': api = atoi(optarg); break;
        case 'R': request_from(optarg); break;
        case 'P': period_ms = atoi(optarg); break;
        default: return 2;
        }
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (!file || inet_pton(AF_INET, addr, &a.sin_addr) != 1 || socks < 1 || socks > MAXS ||
        batch < 1 || batch > MAXB || window < socks || secs <= 0 || secs > 600 || !api != !op.n || period_ms < 1) {
        fprintf(stderr, "load: bad arguments\n");
        return 2;
    }
    if ((ntohl(a.sin_addr.s_addr) >> 24) != 127) {
        fprintf(stderr, "load: loopback addresses only\n");
        return 2;
    }
    load(file, edns, dop);
    if (api)
        operator_connect(a, api);

    for (int i = 0; i < socks; i++) {
        S[i].fd = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
        int big = 4 << 20, one = 1;
        if (!tcp) {
            setsockopt(S[i].fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof big);
            setsockopt(S[i].fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
        }
        if (connect(S[i].fd, (struct sockaddr *)&a, sizeof a) < 0) {
            perror("connect");
            return 1;
        }
        if (tcp)
            setsockopt(S[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(S[i].fd, F_SETFL, O_NONBLOCK);
        S[i].slot = calloc(65536, sizeof(uint64_t));
        S[i].next = S[i].tail = (uint16_t)rng();
        if (tcp) {
            S[i].rx = malloc(TCPBUF);
            S[i].tx = malloc(TCPBUF);
        }
    }

    static uint8_t rb[MAXB][RBUF], sb[MAXB][QBUF];
    static struct iovec riov[MAXB], siov[MAXB];
    static struct mmsghdr rm[MAXB], sm[MAXB];
    for (int i = 0; i < batch; i++) {
        riov[i] = (struct iovec){rb[i], RBUF};
        siov[i].iov_base = sb[i];
        rm[i].msg_hdr.msg_iov = &riov[i];
        rm[i].msg_hdr.msg_iovlen = 1;
        sm[i].msg_hdr.msg_iov = &siov[i];
        sm[i].msg_hdr.msg_iovlen = 1;
    }

    uint32_t per = (uint32_t)(window / socks);
    size_t qi = rng() % nq;
    uint64_t t0 = now_ns(), t = t0, end = t0 + (uint64_t)(secs * 1e9), tmo = (uint64_t)tmo_ms * 1000000ull;
    op.period = (uint64_t)period_ms * 1000000ull;
    op.next = t0 + 200000000ull;
    uint64_t next_exp = t0 + 20000000ull, last_answer = t0, closed = 0;
    int sending = 1;
    while (1) {
        if (api && sending)
            operate(t);
        for (int i = 0; i < socks; i++) {
            struct sock *s = &S[i];
            if (s->fd < 0)
                continue;
            if (!tcp) {
                int n = recvmmsg(s->fd, rm, batch, MSG_DONTWAIT, NULL);
                t = now_ns();
                if (n > 0) {
                    last_answer = t;
                    for (int k = 0; k < n; k++)
                        take(s, rb[k], rm[k].msg_len, t);
                }
            } else {
                ssize_t n = recv(s->fd, s->rx + s->rxn, TCPBUF - s->rxn, MSG_DONTWAIT);
                t = now_ns();
                if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                    close(s->fd); /* the server hung up: reconnect once drained */
                    closed++;
                    lost += s->inflight;
                    memset(s->slot, 0, 65536 * sizeof(uint64_t));
                    s->inflight = 0;
                    s->tail = s->next;
                    s->rxn = s->txn = s->txo = 0;
                    s->fd = sending ? socket(AF_INET, SOCK_STREAM, 0) : -1;
                    if (s->fd >= 0) {
                        int one = 1;
                        if (connect(s->fd, (struct sockaddr *)&a, sizeof a) < 0) {
                            close(s->fd);
                            s->fd = -1;
                        } else {
                            setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                            fcntl(s->fd, F_SETFL, O_NONBLOCK);
                        }
                    }
                    continue;
                }
                if (n > 0) {
                    last_answer = t;
                    s->rxn += (size_t)n;
                    size_t p = 0;
                    while (s->rxn - p >= 2) {
                        size_t l = (size_t)(s->rx[p] << 8 | s->rx[p + 1]);
                        if (s->rxn - p - 2 < l)
                            break;
                        take(s, s->rx + p + 2, l, t);
                        p += 2 + l;
                    }
                    memmove(s->rx, s->rx + p, s->rxn - p);
                    s->rxn -= p;
                }
            }
            if (!sending)
                continue;
            uint32_t room = s->inflight < per ? per - s->inflight : 0;
            if (room > (uint32_t)batch)
                room = (uint32_t)batch;
            if (rate > 0) {
                double due = (double)(t - t0) * 1e-9 * rate - (double)sent;
                if (due < 1)
                    room = 0;
                else if ((double)room > due)
                    room = (uint32_t)due;
            }
            if (!tcp) {
                uint32_t k = 0;
                for (; k < room; k++) {
                    if (s->slot[s->next]) { /* an old query still waits under this ID */
                        break;
                    }
                    uint8_t *b = sb[k];
                    memcpy(b, qdata + qoff[qi], qlen[qi]);
                    b[0] = (uint8_t)(s->next >> 8);
                    b[1] = (uint8_t)s->next;
                    siov[k].iov_len = qlen[qi];
                    s->slot[s->next] = t;
                    s->next++;
                    if (++qi == nq)
                        qi = 0;
                }
                if (k) {
                    int n = sendmmsg(s->fd, sm, k, MSG_DONTWAIT);
                    if (n < 0)
                        n = 0;
                    sent += (uint64_t)n;
                    s->inflight += (uint32_t)n;
                    for (uint32_t x = (uint32_t)n; x < k; x++) {
                        s->next--;
                        s->slot[s->next] = 0;
                    }
                }
            } else {
                while (room && s->txn + QBUF < TCPBUF && !s->slot[s->next]) {
                    uint8_t *b = s->tx + s->txn;
                    b[0] = (uint8_t)(qlen[qi] >> 8);
                    b[1] = (uint8_t)qlen[qi];
                    memcpy(b + 2, qdata + qoff[qi], qlen[qi]);
                    b[2] = (uint8_t)(s->next >> 8);
                    b[3] = (uint8_t)s->next;
                    s->txn += 2u + qlen[qi];
                    s->slot[s->next] = t;
                    s->next++;
                    s->inflight++;
                    sent++;
                    room--;
                    if (++qi == nq)
                        qi = 0;
                }
                if (s->txn > s->txo) {
                    ssize_t n = send(s->fd, s->tx + s->txo, s->txn - s->txo, MSG_DONTWAIT | MSG_NOSIGNAL);
                    if (n > 0)
                        s->txo += (size_t)n;
                    if (s->txo == s->txn)
                        s->txo = s->txn = 0;
                }
            }
        }
        if (t >= next_exp) {
            uint32_t out = 0;
            for (int i = 0; i < socks; i++) {
                expire(&S[i], t, tmo);
                out += S[i].inflight;
            }
            next_exp = t + 5000000ull;
            if (t >= end) {
                sending = 0;
                if (!out || t > end + tmo + 100000000ull)
                    break;
            }
        } else if (t >= end && sending) {
            sending = 0;
            next_exp = t;
        }
    }
    for (int i = 0; i < socks; i++)
        lost += S[i].inflight;
    double wall = (double)((last_answer > t0 ? last_answer : t) - t0) * 1e-9;
    if (wall < secs && last_answer < end)
        wall = secs;
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    double cpu = (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
                 ((double)ru.ru_utime.tv_usec + (double)ru.ru_stime.tv_usec) * 1e-6;
    printf("{\"sent\":%llu,\"answered\":%llu,\"lost\":%llu,\"stray\":%llu,\"seconds\":%.6f,\"qps\":%.1f,"
           "\"answered_fraction\":%.6f,\"lat_mean_us\":%.2f,\"lat_p50_us\":%.2f,\"lat_p99_us\":%.2f,"
           "\"lat_p999_us\":%.2f,\"lat_max_us\":%.2f,\"bytes_mean\":%.2f,\"tc\":%llu,\"no_answer_rrs\":%llu,"
           "\"closed\":%llu,\"requests_taken\":%llu,\"requests_refused\":%llu,\"queries_in_file\":%zu,\"generator_cpu_s\":%.3f,\"rcodes\":{",
           (unsigned long long)sent, (unsigned long long)answered, (unsigned long long)lost,
           (unsigned long long)stray, wall, (double)answered / wall,
           sent ? (double)answered / (double)sent : 0,
           answered ? (double)lat_sum / (double)answered / 1000.0 : 0, lat_pct(0.5), lat_pct(0.99),
           lat_pct(0.999), (double)lat_max / 1000.0, answered ? (double)bytes_in / (double)answered : 0,
           (unsigned long long)tc, (unsigned long long)anzero, (unsigned long long)closed, (unsigned long long)op.taken,
           (unsigned long long)op.refused, nq, cpu);
    int first = 1;
    for (int i = 0; i < 16; i++)
        if (rcodes[i]) {
            printf("%s\"%d\":%llu", first ? "" : ",", i, (unsigned long long)rcodes[i]);
            first = 0;
        }
    printf("}}\n");
    return 0;
}
