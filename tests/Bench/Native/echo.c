// The least that answering over a socket takes: an HTTP server that sends every body back as it arrives, a thread per connection. It
// understands what the benchmark's client sends and nothing else.
//
// echo PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 << 10 };

static const char head_end[] = "\r\n\r\n";
static const char length_header[] = "\r\nContent-Length:";

static int send_all(int connection, const char *bytes, size_t count, int flags) {
    while (count > 0) {
        ssize_t sent = send(connection, bytes, count, MSG_NOSIGNAL | flags);
        if (sent <= 0) return -1;
        bytes += sent;
        count -= (size_t)sent;
    }
    return 0;
}

// Receives until a whole head is there. Returns the number of bytes received, 0 where the client has gone or sent no such head.
static size_t receive_head(int connection, char *buffer) {
    size_t received = 0;
    while (!memmem(buffer, received, head_end, strlen(head_end))) {
        ssize_t more = recv(connection, buffer + received, BUFFER_SIZE - received, 0);
        if (more <= 0) return 0;
        received += (size_t)more;
    }
    return received;
}

// Answers one request. Returns -1 where the connection is of no more use.
static int echo_once(int connection, char *buffer) {
    size_t received = receive_head(connection, buffer);
    if (received == 0) return -1;
    char *body = (char *)memmem(buffer, received, head_end, strlen(head_end)) + strlen(head_end);
    body[-1] = 0;
    const char *length_text = strcasestr(buffer, length_header);
    if (!length_text) return -1;
    size_t left = strtoull(length_text + strlen(length_header), NULL, 10);

    char head[128];
    int head_size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", left);
    size_t have = received - (size_t)(body - buffer);
    if (send_all(connection, head, (size_t)head_size, left > 0 ? MSG_MORE : 0)) return -1;
    while (left > 0) {
        if (send_all(connection, body, have, 0)) return -1;
        left -= have;
        if (left == 0) break;
        ssize_t more = recv(connection, buffer, left < BUFFER_SIZE ? left : BUFFER_SIZE, 0);
        if (more <= 0) return -1;
        body = buffer;
        have = (size_t)more;
    }
    return 0;
}

static void *serve(void *argument) {
    int connection = (int)(intptr_t)argument, on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char *buffer = malloc(BUFFER_SIZE);
    while (buffer && echo_once(connection, buffer) == 0) {}
    free(buffer);
    close(connection);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("echo");
        return 1;
    }
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        pthread_t thread;
        if (connection >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)connection) == 0) pthread_detach(thread);
    }
}
