/*
 * The SMTP client against a server that says what a test tells it to: what each answer, silence and broken connection means for the
 * mail. (tests/e2e/test_mail.py sends through a real server, with TLS and login.)
 */
#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_mail_send.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What the server says at each point; "" closes the connection there. */
typedef struct {
    const char *greeting, *ehlo, *mail, *rcpt, *data, *end;
} answers_t;

static const answers_t friendly = {"220 hello", "250 there", "250 ok", "250 ok", "354 go", "250 taken"};

static struct {
    int listener;
    uint16_t port;
    answers_t answers;
    pthread_t thread;
    char heard[65536]; /* everything the client sent, read after the thread has ended */
    size_t heard_length;
    int connections;
    bool ignores_quit;
} server;

static bool say(int peer, const char *line) {
    char text[1200];
    if (line[0] == '\0') return false;
    int length = snprintf(text, sizeof(text), "%s\r\n", line);
    return send(peer, text, (size_t)length, MSG_NOSIGNAL) == length;
}

/* The next line of the client, without its end; false: it has gone. */
static bool hear(int peer, char *line, size_t size) {
    size_t used = 0;
    char c;
    while (recv(peer, &c, 1, 0) == 1) {
        if (server.heard_length < sizeof(server.heard) - 1) server.heard[server.heard_length++] = c;
        if (c == '\n') {
            line[used > 0 && line[used - 1] == '\r' ? used - 1 : used] = '\0';
            return true;
        }
        if (used < size - 1) line[used++] = c;
    }
    return false;
}

static void converse(int peer) {
    char line[1200];
    bool body = false;
    if (!say(peer, server.answers.greeting)) return;
    while (hear(peer, line, sizeof(line))) {
        const char *answer = "500 what";
        if (body) {
            if (strcmp(line, ".") != 0) continue;
            body = false;
            answer = server.answers.end;
        } else if (strncmp(line, "EHLO", 4) == 0 || strncmp(line, "HELO", 4) == 0) {
            answer = server.answers.ehlo;
        } else if (strncmp(line, "MAIL", 4) == 0) {
            answer = server.answers.mail;
        } else if (strncmp(line, "RCPT", 4) == 0) {
            answer = server.answers.rcpt;
        } else if (strcmp(line, "DATA") == 0) {
            answer = server.answers.data;
            body = strncmp(answer, "354", 3) == 0;
        } else if (strcmp(line, "QUIT") == 0) {
            answer = server.ignores_quit ? NULL : "221 bye";
        }
        if (answer != NULL && !say(peer, answer)) return;
    }
}

static void *serve(void *argument) {
    (void)argument;
    for (;;) {
        int peer = accept(server.listener, NULL, NULL);
        if (peer < 0) return NULL;
        server.connections++;
        converse(peer);
        (void)close(peer);
    }
}

static void start_server(answers_t answers) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    memset(&server, 0, sizeof(server));
    server.answers = answers;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server.listener, 8), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&address, &length), 0);
    server.port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

/* The client must have gone before. */
static void stop_server(void) {
    (void)shutdown(server.listener, SHUT_RDWR); /* wakes accept */
    assert_int_equal(pthread_join(server.thread, NULL), 0);
    (void)close(server.listener);
    server.heard[server.heard_length] = '\0';
}

static bc_mail_transport_t *connect_to(uint16_t port, const char *more, bc_config_t **config) {
    char text[256], reason[BC_CONFIG_REASON_BYTES];
    int length = snprintf(text, sizeof(text),
                          "BOOKCART_DATA = /tmp/bookcart-none\nBOOKCART_MAIL = smtp://127.0.0.1:%u\n%s", port, more);
    *config = bc_config_create();
    assert_non_null(*config);
    if (!bc_config_read_text(*config, "test", text, (size_t)length, reason) || !bc_config_finish(*config, reason))
        fail_msg("%s", reason);
    bc_mail_transport_t *transport = bc_mail_smtp_create(*config);
    assert_non_null(transport);
    return transport;
}

static const char body[] = "Subject: s\r\n\r\n.dot\r\nlast\r\n";
static const bc_mail_parcel_t parcel = {"x", "shop@example.org", "reader@example.org", body, sizeof(body) - 1};

static bc_mail_outcome_t send_one(answers_t answers, bc_mail_trouble_t *trouble) {
    bc_config_t *config;
    volatile bool stop = false;
    start_server(answers);
    bc_mail_transport_t *transport = connect_to(server.port, "", &config);
    bc_mail_outcome_t outcome = transport->send(transport, &parcel, &stop, trouble);
    transport->destroy(transport);
    stop_server();
    bc_config_destroy(config);
    return outcome;
}

static void a_mail_is_handed_over_as_it_is(void **state) {
    (void)state;
    bc_mail_trouble_t trouble;
    assert_int_equal(send_one(friendly, &trouble), BC_MAIL_DELIVERED);
    assert_non_null(strstr(server.heard, "MAIL FROM:<shop@example.org>"));
    assert_non_null(strstr(server.heard, "RCPT TO:<reader@example.org>"));
    assert_non_null(strstr(server.heard, "DATA\r\nSubject: s\r\n\r\n..dot\r\nlast\r\n.\r\n"));
}

static void mails_share_a_connection(void **state) {
    (void)state;
    bc_config_t *config;
    bc_mail_trouble_t trouble;
    volatile bool stop = false;
    start_server(friendly);
    bc_mail_transport_t *transport = connect_to(server.port, "", &config);
    for (int i = 0; i < 3; i++)
        assert_int_equal(transport->send(transport, &parcel, &stop, &trouble), BC_MAIL_DELIVERED);
    transport->destroy(transport);
    stop_server();
    assert_int_equal(server.connections, 1);
    bc_config_destroy(config);
}

static void a_server_that_does_not_say_goodbye_is_not_waited_for(void **state) {
    (void)state;
    bc_config_t *config;
    bc_mail_trouble_t trouble;
    volatile bool stop = false;
    start_server(friendly);
    server.ignores_quit = true;
    bc_mail_transport_t *transport = connect_to(server.port, "", &config);
    assert_int_equal(transport->send(transport, &parcel, &stop, &trouble), BC_MAIL_DELIVERED);
    int64_t begin_ms = bc_monotonic_ms();
    transport->destroy(transport);
    assert_true(bc_monotonic_ms() - begin_ms < 5000); /* curl's own patience is 120 s */
    stop_server();
    bc_config_destroy(config);
}

static void each_answer_means_something(void **state) {
    (void)state;
    static const struct {
        const char *point, *answer;
        bc_mail_outcome_t outcome;
    } cases[] = {
        {"greeting", "421 too many", BC_MAIL_AWAY},
        {"greeting", "554 go away", BC_MAIL_AWAY},
        {"greeting", "", BC_MAIL_AWAY},
        {"ehlo", "550 unknown you", BC_MAIL_AWAY},
        {"mail", "550 not from you", BC_MAIL_AWAY},
        {"mail", "530 log in first", BC_MAIL_AWAY},
        {"mail", "451 later", BC_MAIL_AWAY},
        {"rcpt", "450 greylisted", BC_MAIL_AGAIN},
        {"rcpt", "452 mailbox full", BC_MAIL_AGAIN},
        {"rcpt", "550 no such user", BC_MAIL_REFUSED},
        {"rcpt", "", BC_MAIL_AGAIN},
        {"data", "451 later", BC_MAIL_AGAIN},
        {"data", "554 no", BC_MAIL_REFUSED},
        {"end", "451 later", BC_MAIL_AGAIN},
        {"end", "554 spam", BC_MAIL_REFUSED},
        {"end", "", BC_MAIL_AGAIN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        answers_t answers = friendly;
        bc_mail_trouble_t trouble = {NULL, 0};
        const char **place = strcmp(cases[i].point, "greeting") == 0 ? &answers.greeting
                             : strcmp(cases[i].point, "ehlo") == 0   ? &answers.ehlo
                             : strcmp(cases[i].point, "mail") == 0   ? &answers.mail
                             : strcmp(cases[i].point, "rcpt") == 0   ? &answers.rcpt
                             : strcmp(cases[i].point, "data") == 0   ? &answers.data
                                                                     : &answers.end;
        *place = cases[i].answer;
        bc_mail_outcome_t outcome = send_one(answers, &trouble);
        if (outcome != cases[i].outcome)
            fail_msg("%s \"%s\": outcome %d (%s %lld)", cases[i].point, cases[i].answer, outcome, trouble.what,
                     (long long)trouble.code);
        assert_non_null(trouble.what);
    }
}

static void nobody_there_is_away(void **state) {
    (void)state;
    bc_config_t *config;
    bc_mail_trouble_t trouble;
    volatile bool stop = false;
    start_server(friendly);
    uint16_t port = server.port;
    stop_server();
    bc_mail_transport_t *transport = connect_to(port, "", &config);
    assert_int_equal(transport->send(transport, &parcel, &stop, &trouble), BC_MAIL_AWAY);
    assert_string_equal(trouble.what, "connect");
    transport->destroy(transport);
    bc_config_destroy(config);
}

/* A server that is slow to say its last word is waited for when the service stops, but not for ever. */
static void a_stop_ends_a_transfer_that_has_not_handed_over(void **state) {
    (void)state;
    bc_config_t *config;
    bc_mail_trouble_t trouble;
    volatile bool stop = true;
    start_server(friendly);
    bc_mail_transport_t *transport = connect_to(server.port, "", &config);
    bc_mail_outcome_t outcome = transport->send(transport, &parcel, &stop, &trouble);
    assert_true(outcome == BC_MAIL_AWAY || outcome == BC_MAIL_DELIVERED); /* it may be faster than curl asks */
    if (outcome == BC_MAIL_AWAY) assert_string_equal(trouble.what, "stopping");
    transport->destroy(transport);
    stop_server();
    bc_config_destroy(config);
}

static void a_login_that_the_server_does_not_take_is_away(void **state) {
    (void)state;
    bc_config_t *config;
    bc_mail_trouble_t trouble;
    volatile bool stop = false;
    answers_t answers = friendly;
    answers.ehlo = "250-there\r\n250 AUTH PLAIN";
    start_server(answers); /* and answers AUTH with 500 */
    bc_mail_transport_t *transport =
        connect_to(server.port, "BOOKCART_MAIL_USER = shop\nBOOKCART_MAIL_PASSWORD = secret\n", &config);
    assert_int_equal(transport->send(transport, &parcel, &stop, &trouble), BC_MAIL_AWAY);
    transport->destroy(transport);
    stop_server();
    assert_non_null(strstr(server.heard, "AUTH PLAIN"));
    assert_null(strstr(server.heard, "MAIL FROM"));
    bc_config_destroy(config);
}

int main(void) {
    bc_log_init("test", BC_LOG_ALERT + 1);
    if (!bc_random_init() || !bc_client_init()) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mail_is_handed_over_as_it_is),
        cmocka_unit_test(mails_share_a_connection),
        cmocka_unit_test(a_server_that_does_not_say_goodbye_is_not_waited_for),
        cmocka_unit_test(each_answer_means_something),
        cmocka_unit_test(nobody_there_is_away),
        cmocka_unit_test(a_stop_ends_a_transfer_that_has_not_handed_over),
        cmocka_unit_test(a_login_that_the_server_does_not_take_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
