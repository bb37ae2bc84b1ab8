/* A WebSocket server that only passes bytes on: the limit of what any chat server can reach on this machine.
 *
 *   relay PORT COMMAND ARGUMENT...
 *
 * Each text message starts the command, which gets it on stdin; what one read of its stdout returns is one frame. There
 * is one thread, no parsing, no history and no check of what clients send. Made to be measured, not to be used.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 16, HEAD = 10, ASKED = 640 };

struct client {
    int socket, pipe, upgraded, pipe_watched;
    uint32_t asked, at, size; /* bytes in question; of the frame in answer: written, and in all */
    char *answer;             /* while a part of it is unwritten */
    char question[ASKED];
};
/* What epoll tells: which end of which client; the lowest bit says that it is the pipe. */
#define PIPE(client) ((uintptr_t)(client) | 1)

static int loop;
static char **command, **surroundings, buffer[HEAD + ROOM];

static void watch(int operation, int fd, uint32_t events, uintptr_t what)
{
    struct epoll_event event = {.events = events, .data.u64 = what};
    epoll_ctl(loop, operation, fd, &event);
}

/* SHA-1 of at most 119 bytes (RFC 3174), for the handshake. */
static void sha1(const char *text, size_t length, uint8_t digest[20])
{
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    uint8_t block[128] = {0};
    size_t blocks = length < 56 ? 1 : 2;
    memcpy(block, text, length);
    block[length] = 0x80;
    uint64_t bits = htobe64(length * 8);
    memcpy(block + 64 * blocks - 8, &bits, 8);
    for (size_t n = 0; n < blocks; n++) {
#define ROTATE(x, by) ((x) << (by) | (x) >> (32 - (by)))
        for (int i = 0; i < 80; i++) {
            uint32_t word;
            memcpy(&word, block + 64 * n + 4 * (i & 15), 4);
            w[i] = i < 16 ? ntohl(word) : ROTATE(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        }
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
            uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t next = ROTATE(a, 5) + f + e + k + w[i];
            e = d, d = c, c = ROTATE(b, 30), b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 5; i++) {
        uint32_t word = htonl(h[i]);
        memcpy(digest + 4 * i, &word, 4);
    }
}

static void upgrade(struct client *client)
{
    static const char name[] = "\r\nSec-WebSocket-Key: ", guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[24 + sizeof guid], accept[29] = {0}, answer[256];
    uint8_t digest[21] = {0};
    const char *key = strcasestr(client->question, name);
    if (!key || strlen(key) < sizeof name + 24)
        return;
    memcpy(text, key + sizeof name - 1, 24);
    memcpy(text + 24, guid, sizeof guid);
    sha1(text, 24 + sizeof guid - 1, digest);
    for (int i = 0; i < 7; i++) {
        uint32_t three = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            accept[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
    }
    accept[27] = '=';
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    client->upgraded = write(client->socket, answer, length) == length;
}

static void end(struct client *client)
{
    if (client->pipe >= 0)
        close(client->pipe);
    close(client->socket);
    free(client->answer);
    client->socket = -1; /* freed after the round of events that may still name it */
}

static void run(struct client *client, const char *prompt, size_t length)
{
    int in[2], out[2];
    pid_t pid;
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    if (!posix_spawnp(&pid, command[0], &actions, NULL, command, surroundings) && write(in[1], prompt, length) > 0) {
        client->pipe = out[0];
        fcntl(client->pipe, F_SETFL, O_NONBLOCK);
        watch(EPOLL_CTL_ADD, client->pipe, EPOLLIN, PIPE(client));
        client->pipe_watched = 1;
    } else {
        close(out[0]);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]), close(in[1]), close(out[1]);
}

/* Masked text frames of less than 126 bytes; the next one waits for the end of the command before. */
static void questions(struct client *client)
{
    uint8_t *frame = (uint8_t *)client->question;
    while (client->pipe < 0 && client->asked >= 6 && client->asked >= 6u + (frame[1] & 127)) {
        uint32_t length = frame[1] & 127;
        for (uint32_t i = 0; i < length; i++)
            frame[6 + i] ^= frame[2 + i % 4];
        if ((frame[0] & 15) == 1)
            run(client, client->question + 6, length);
        client->asked -= 6 + length;
        memmove(frame, frame + 6 + length, client->asked);
    }
}

static void from_client(struct client *client)
{
    ssize_t size = read(client->socket, client->question + client->asked, ASKED - 1 - client->asked);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN)
            end(client);
        return;
    }
    client->asked += size;
    client->question[client->asked] = 0;
    if (!client->upgraded) {
        char *rest = strstr(client->question, "\r\n\r\n");
        if (!rest)
            return;
        upgrade(client);
        client->asked -= rest + 4 - client->question;
        memmove(client->question, rest + 4, client->asked);
    }
    questions(client);
}

/* Write what is left of a frame; while some is, the pipe is not read. */
static void to_client(struct client *client)
{
    ssize_t written = write(client->socket, client->answer + client->at, client->size - client->at);
    if (written > 0)
        client->at += written;
    if (client->at == client->size) {
        free(client->answer);
        client->answer = NULL;
        watch(EPOLL_CTL_MOD, client->socket, EPOLLIN, (uintptr_t)client);
        watch(EPOLL_CTL_MOD, client->pipe, EPOLLIN, PIPE(client));
    } else if (written < 0 && errno != EAGAIN) {
        end(client);
    }
}

static void from_command(struct client *client)
{
    ssize_t size = read(client->pipe, buffer + HEAD, ROOM);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN) {
            close(client->pipe);
            client->pipe = -1;
            questions(client);
        }
        return;
    }
    char *head = buffer + HEAD - (size < 126 ? 2 : size < 65536 ? 4 : 10);
    head[0] = (char)0x82; /* a binary frame: a read may cut a character */
    if (size < 126) {
        head[1] = size;
    } else if (size < 65536) {
        head[1] = 126;
        uint16_t length = htobe16(size);
        memcpy(head + 2, &length, 2);
    } else {
        head[1] = 127;
        uint64_t length = htobe64(size);
        memcpy(head + 2, &length, 8);
    }
    size += buffer + HEAD - head;
    ssize_t written = write(client->socket, head, size);
    if (written < 0 && errno != EAGAIN) {
        end(client);
    } else if (written < size) {
        client->at = 0;
        client->size = size - (written > 0 ? written : 0);
        client->answer = memcpy(malloc(client->size), head + size - client->size, client->size);
        watch(EPOLL_CTL_MOD, client->socket, EPOLLIN | EPOLLOUT, (uintptr_t)client);
        watch(EPOLL_CTL_MOD, client->pipe, 0, PIPE(client));
    }
}

int main(int argc, char **argv, char **environment)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (argc < 3) {
        fprintf(stderr, "usage: relay PORT COMMAND ARGUMENT...\n");
        return 2;
    }
    address.sin_port = htons(atoi(argv[1]));
    command = argv + 2, surroundings = environment;
    signal(SIGPIPE, SIG_IGN), signal(SIGCHLD, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("relay");
        return 1;
    }
    loop = epoll_create1(EPOLL_CLOEXEC);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, 0);
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        struct client *ended[256];
        int count = epoll_wait(loop, events, 256, -1), gone = 0;
        for (int i = 0; i < count; i++) {
            uintptr_t what = events[i].data.u64;
            struct client *client = (struct client *)(what & ~(uintptr_t)1);
            if (!client) {
                int socket;
                while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    client = calloc(1, sizeof *client);
                    client->socket = socket, client->pipe = -1;
                    watch(EPOLL_CTL_ADD, socket, EPOLLIN, (uintptr_t)client);
                }
                continue;
            }
            if (client->socket < 0)
                continue;
            if (what & 1) {
                if (client->pipe >= 0 && !client->answer)
                    from_command(client);
            } else {
                if (events[i].events & EPOLLOUT && client->answer)
                    to_client(client);
                if (client->socket >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    from_client(client);
            }
            if (client->socket < 0)
                ended[gone++] = client;
        }
        while (gone)
            free(ended[--gone]);
    }
}
