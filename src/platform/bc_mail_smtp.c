/*
 * Mail by SMTP, with libcurl. One handle, so that mails behind each other share a connection.
 *
 * Bounds: CONNECT_MS to be connected, SEND_MS for a whole mail. A stop ends a transfer at once as long as the server cannot have
 * taken the mail, else it waits STOP_MS for the server's word. Without that word (or killed between it and the commit) the mail is
 * sent again, with the same Message-ID: SMTP has no way to ask (RFC 5321 4.2.5, 4.5.3.2.6).
 *
 * A server is hostile input: libcurl bounds its lines; of what it says only the number counts.
 */
#include "platform/bc_mail_send.h"

#include "platform/bc_log.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_MS 10000L
#define SEND_MS    60000L
#define STOP_MS    5000

typedef struct {
    bc_mail_transport_t transport; /* first: what callers hold */
    CURL *handle;                  /* owned */
    char url[300];
    const char *user, *password, *authorities; /* borrowed from the settings */
    bool loopback;
} smtp_t;

/* How far the conversation has come: a failure before the recipient is named is not about this mail. */
typedef enum { AT_GREETING, AT_SENDER, AT_MAIL_ITSELF } point_t;

typedef struct {
    const bc_mail_parcel_t *parcel;
    point_t point;
    size_t handed; /* bytes that curl has taken */
    const volatile bool *stop;
    int64_t stop_seen_ms; /* 0: not yet */
} transfer_t;

const char *bc_mail_smtp_parse(const char *text, bc_mail_server_t *server) {
    bc_mail_server_t parsed = {.tls = strncmp(text, "smtps://", 8) == 0};
    bc_listen_t literal;
    if (!parsed.tls && strncmp(text, "smtp://", 7) != 0)
        return "is neither files:, smtp://host:port nor smtps://host:port";
    const char *rest = text + (parsed.tls ? 8 : 7);
    if (strchr(rest, '@') != NULL)
        return "names user or password: they belong into BOOKCART_MAIL_USER and BOOKCART_MAIL_PASSWORD";
    size_t host = rest[0] == '[' ? strcspn(rest, "]") + 1 : strcspn(rest, ":");
    if (host == 0 || host > strlen(rest) || host >= sizeof(parsed.host)) return "names no mail server";
    memcpy(parsed.host, rest, host);
    parsed.host[host] = '\0';
    if (rest[0] != '[' &&
        strspn(parsed.host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.") < host)
        return "has a character that a host's name has not";
    long port = parsed.tls ? 465 : 25;
    if (rest[host] == ':') {
        size_t digits = strspn(rest + host + 1, "0123456789");
        if (digits == 0 || digits > 5 || rest[host + 1 + digits] != '\0') return "has a port that is no number";
        port = strtol(rest + host + 1, NULL, 10);
        if (port == 0 || port > 65535) return "has a port that is no number";
    } else if (rest[host] != '\0') {
        return "has more than scheme, host and port";
    }
    parsed.port = (uint16_t)port;
    char address[300];
    (void)snprintf(address, sizeof(address), "%s:%ld", parsed.host, port); /* both are bounded */
    bool numeric = bc_listen_parse(address, &literal);
    if (rest[0] == '[' && !numeric) return "has an address that is none";
    parsed.loopback = strcmp(parsed.host, "localhost") == 0 || (numeric && bc_listen_is_loopback(&literal));
    *server = parsed;
    return NULL;
}

static size_t hand_over(char *target, size_t size, size_t count, void *context) {
    transfer_t *transfer = context;
    size_t room = size * count, left = transfer->parcel->length - transfer->handed; /* curl: size is 1 */
    if (left > room) left = room;
    memcpy(target, transfer->parcel->bytes + transfer->handed, left);
    transfer->handed += left;
    return left;
}

/* curl asks about once a second; 1 ends the transfer. */
static int look_at_stop(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    transfer_t *transfer = context;
    (void)a, (void)b, (void)c, (void)d;
    if (transfer->stop == NULL || !*transfer->stop) return 0;
    if (transfer->handed < transfer->parcel->length) return 1;
    if (transfer->stop_seen_ms == 0) transfer->stop_seen_ms = bc_monotonic_ms();
    return bc_monotonic_ms() - transfer->stop_seen_ms > STOP_MS ? 1 : 0;
}

/* curl shows each command that it sends, the login too: nothing is kept or written of them. */
static int look_at_command(CURL *handle, curl_infotype type, char *line, size_t length, void *context) {
    transfer_t *transfer = context;
    (void)handle;
    if (type != CURLINFO_HEADER_OUT) return 0;
    if (length > 5 && strncasecmp(line, "MAIL ", 5) == 0) transfer->point = AT_SENDER;
    if (length > 5 && strncasecmp(line, "RCPT ", 5) == 0) transfer->point = AT_MAIL_ITSELF;
    return 0;
}

static bool set_options(smtp_t *smtp, transfer_t *transfer, struct curl_slist *to) {
    CURL *handle = smtp->handle;
    bool must_encrypt = smtp->user[0] != '\0' && !smtp->loopback;
    bool good =
        curl_easy_setopt(handle, CURLOPT_URL, smtp->url) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "smtp,smtps") == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_PROXY, "") == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, SEND_MS) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_USE_SSL, (long)(must_encrypt ? CURLUSESSL_ALL : CURLUSESSL_TRY)) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_MAIL_FROM, transfer->parcel->from) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_MAIL_RCPT, to) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_READFUNCTION, hand_over) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_READDATA, transfer) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, look_at_stop) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_XFERINFODATA, transfer) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_VERBOSE, 1L) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_DEBUGFUNCTION, look_at_command) == CURLE_OK &&
        curl_easy_setopt(handle, CURLOPT_DEBUGDATA, transfer) == CURLE_OK;
    if (good && smtp->authorities[0] != '\0')
        good = curl_easy_setopt(handle, CURLOPT_CAINFO, smtp->authorities) == CURLE_OK;
    if (good && smtp->user[0] != '\0')
        good = curl_easy_setopt(handle, CURLOPT_USERNAME, smtp->user) == CURLE_OK &&
               curl_easy_setopt(handle, CURLOPT_PASSWORD, smtp->password) == CURLE_OK;
    return good;
}

/* What a failed transfer means. `reply` is the server's last number, 0 when it said none. */
static bc_mail_outcome_t judge(CURLcode code, long reply, point_t point, bc_mail_trouble_t *trouble) {
    *trouble = (bc_mail_trouble_t){"smtp", reply != 0 ? reply : (long)code};
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        trouble->what = "stopping";
        return BC_MAIL_AWAY;
    }
    if (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_USE_SSL_FAILED ||
        code == CURLE_SSL_CACERT_BADFILE) {
        *trouble = (bc_mail_trouble_t){"tls", code};
        return BC_MAIL_AWAY;
    }
    if (code == CURLE_LOGIN_DENIED || reply == 530 || reply == 535 || reply == 538) {
        trouble->what = "login";
        return BC_MAIL_AWAY;
    }
    if (point != AT_MAIL_ITSELF) {
        trouble->what = point == AT_GREETING ? "connect" : "sender";
        return BC_MAIL_AWAY;
    }
    return reply >= 500 && reply <= 599 ? BC_MAIL_REFUSED : BC_MAIL_AGAIN;
}

static bc_mail_outcome_t send_by_smtp(bc_mail_transport_t *self, const bc_mail_parcel_t *parcel,
                                      const volatile bool *stop, bc_mail_trouble_t *trouble) {
    smtp_t *smtp = (smtp_t *)self;
    transfer_t transfer = {.parcel = parcel, .stop = stop};
    char to[BC_MAIL_ADDRESS_MAX + 3];
    assert(parcel->length > 0);
    (void)snprintf(to, sizeof(to), "<%s>", parcel->to); /* bounded by its form */
    struct curl_slist *recipients = curl_slist_append(NULL, to);
    if (recipients == NULL || !set_options(smtp, &transfer, recipients)) {
        curl_easy_reset(smtp->handle);
        curl_slist_free_all(recipients);
        *trouble = (bc_mail_trouble_t){"memory", 0};
        return BC_MAIL_AWAY;
    }
    CURLcode code = curl_easy_perform(smtp->handle);
    long reply = 0;
    (void)curl_easy_getinfo(smtp->handle, CURLINFO_RESPONSE_CODE, &reply); /* stays 0 */
    curl_easy_reset(smtp->handle); /* keeps the connection, forgets this mail and this frame */
    curl_slist_free_all(recipients);
    if (code == CURLE_OK) return BC_MAIL_DELIVERED;
    return judge(code, reply, transfer.point, trouble);
}

static void destroy_smtp(bc_mail_transport_t *self) {
    smtp_t *smtp = (smtp_t *)self;
    curl_socket_t socket = CURL_SOCKET_BAD;
    /* curl says QUIT and would wait two minutes for a server that does not answer. A stop has less time than that. */
    if (curl_easy_getinfo(smtp->handle, CURLINFO_ACTIVESOCKET, &socket) == CURLE_OK && socket != CURL_SOCKET_BAD)
        (void)shutdown(socket, SHUT_RDWR); /* gone already: as good */
    curl_easy_cleanup(smtp->handle);
    free(smtp);
}

bc_mail_transport_t *bc_mail_smtp_create(const bc_config_t *config) {
    bc_mail_server_t server;
    const char *wrong = bc_mail_smtp_parse(bc_config_text(config, BC_MAIL), &server);
    assert(wrong == NULL); /* judged with the settings */
    smtp_t *smtp = wrong == NULL ? calloc(1, sizeof(*smtp)) : NULL;
    if (smtp != NULL) smtp->handle = curl_easy_init();
    if (smtp == NULL || smtp->handle == NULL) {
        bc_log(BC_LOG_ERROR, "mail-not-started", bc_f_text("reason", "no memory"));
        free(smtp);
        return NULL;
    }
    (void)snprintf(smtp->url, sizeof(smtp->url), "%s://%s:%u", server.tls ? "smtps" : "smtp", server.host,
                   server.port); /* bounded */
    smtp->user = bc_config_text(config, BC_MAIL_USER);
    smtp->password = bc_config_text(config, BC_MAIL_PASSWORD);
    smtp->authorities = bc_config_text(config, BC_MAIL_CA);
    smtp->loopback = server.loopback;
    smtp->transport = (bc_mail_transport_t){send_by_smtp, destroy_smtp};
    return &smtp->transport;
}
