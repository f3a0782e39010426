/*
 * The queue (table `mails`) and the thread that empties it.
 *
 * One step: take the mail that is due longest → ask for its address if it has none → write it (bc_mail_texts.c, bc_mail_message.c) →
 * hand it to the transport → note what came of it in one commit. No lock is held while anything is sent.
 *
 * 1. A mail's row is its key: what was put once is never put again, and what is noted as sent is never sent again.
 * 2. Between the transport's yes and the commit lies the one moment in which a kill makes a second try. With files it writes the
 *    same bytes to the same name; with SMTP a second copy with the same Message-ID may arrive.
 * 3. A server that is away costs no mail a try: the mailer pauses as a whole, AWAY_FIRST_MS doubling to AWAY_MAX_MS.
 * 4. Address and data are wiped by whatever ends a mail.
 */
#include "platform/bc_mail.h"

#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_mail_message.h"
#include "platform/bc_mail_send.h"
#include "platform/bc_mail_texts.h"
#include "platform/bc_metrics.h"
#include "platform/bc_task.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AWAY_FIRST_MS 1000
#define AWAY_MAX_MS   60000
#define LATER_MS      5000 /* who knows the address is away */
#define RETRY_MAX_MS  (6 * 3600 * 1000LL)
#define TIDY_EVERY_MS (3600 * 1000LL)
#define TIDY_ROWS     1000

enum { WAITS, SENT, FAILED, NOBODY }; /* column state */

struct bc_mailer {
    const bc_config_t *config; /* borrowed */
    bc_db_t *db;               /* borrowed */
    bc_mail_resolve_t resolve;
    void *context;                  /* borrowed */
    bc_mail_transport_t *transport; /* owned */
    bc_task_t *task;                /* owned */
    char url[300];
    char host[256]; /* of Message-ID */
    char from[BC_MAIL_ADDRESS_MAX + 1];
    const volatile bool *stop;      /* borrowed from the task; the mailer's thread only, from here on */
    int64_t away_ms, away_until_ms; /* monotonic; 0: the server is there */
    int64_t tidied_ms;              /* monotonic */
};

/* A row, copied out of the database so that nothing is held while it is sent. */
typedef struct {
    char key[BC_MAIL_KEY_MAX + 1];
    bc_mail_kind_t kind;
    bc_language_t language;
    char address[BC_MAIL_ADDRESS_MAX + 1];
    bool has_user;
    cart_id_t user;
    json_t *data; /* owned */
    int64_t tries, next_ms, created_ms;
    bool broken; /* the row is not what bc_mail_put writes */
} queued_t;

typedef enum { TAKEN, NONE_DUE, NO_DATABASE } take_t;

static bc_metric_t sent_total = BC_METRIC("bookcart_mails_sent_total", "Mails handed over.", "counter");
static bc_metric_t failed_total = BC_METRIC(
    "bookcart_mails_failed_total", "Mails given up: refused, tried too often, or not to be written.", "counter");
static bc_metric_t tries_total =
    BC_METRIC("bookcart_mails_tries_total", "Tries that did not work and are repeated.", "counter");
static bc_metric_t waiting_now = BC_METRIC("bookcart_mails_waiting", "Mails that are not sent yet.", "gauge");

/* --- putting --- */

void bc_mail_put(bc_db_t *db, const bc_mail_t *mail) {
    assert(strlen(mail->key) > 0 && strlen(mail->key) <= BC_MAIL_KEY_MAX);
    assert(mail->address != NULL || mail->user != NULL);
    assert(mail->kind < BC_MAIL_KIND_COUNT && mail->language < BC_LANGUAGE_COUNT);
    /* Counted by the mailer's thread and by every put since: near enough for a bound, and no query of a request. */
    if (bc_metric_get(&waiting_now) >= BC_MAIL_QUEUE_MAX) {
        bc_log(BC_LOG_ERROR, "mail-queue-full", bc_f_text("kind", bc_mail_kind_word(mail->kind)));
        return;
    }
    if (mail->address != NULL && !bc_mail_address_fits(mail->address)) {
        bc_log(BC_LOG_ALERT, "mail-address-unfit", bc_f_text("kind", bc_mail_kind_word(mail->kind)));
        return;
    }
    char *data = json_dumps(mail->data, JSON_COMPACT);
    if (data == NULL) {
        bc_db_spoil(db); /* no memory, or our own mistake: the change and its mail are one */
        return;
    }
    int64_t now_ms = bc_time_ms();
    bc_statement_t *put = bc_db_prepare(db, BC_SQL_INSERT_IGNORE
                                        "mails(mail_key, kind, language, user_id, address, data, next_ms, created_ms) "
                                        "VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
    bc_bind_text(put, 1, mail->key);
    bc_bind_text(put, 2, bc_mail_kind_word(mail->kind));
    bc_bind_text(put, 3, bc_language_tag(mail->language));
    if (mail->user != NULL) {
        bc_bind_id(put, 4, mail->user);
    } else {
        bc_bind_null(put, 4);
    }
    bc_bind_text(put, 5, mail->address);
    bc_bind_text(put, 6, data);
    bc_bind_int(put, 7, now_ms);
    bc_bind_int(put, 8, now_ms);
    if (bc_run(put) == BC_DB_DONE && bc_db_changes(db) == 1) bc_metric_add(&waiting_now, 1);
    free(data);
}

void bc_mail_forget(bc_db_t *db, const cart_id_t *user) {
    bc_statement_t *forget =
        bc_db_prepare(db, "UPDATE mails SET state = 3, user_id = NULL, address = NULL, data = NULL "
                          "WHERE state = 0 AND user_id = ?");
    bc_bind_id(forget, 1, user);
    (void)bc_run(forget); /* an error sticks */
}

/* --- taking --- */

static void read_row(bc_statement_t *row, queued_t *mail) {
    const char *key = bc_column_text(row, 0), *kind = bc_column_text(row, 1), *tag = bc_column_text(row, 2);
    const char *address = bc_column_text(row, 4), *data = bc_column_text(row, 5);
    json_error_t ignored;
    (void)snprintf(mail->key, sizeof(mail->key), "%s", key == NULL ? "" : key); /* put has bounded both */
    (void)snprintf(mail->address, sizeof(mail->address), "%s", address == NULL ? "" : address);
    mail->broken = kind == NULL || !bc_mail_kind_parse(kind, &mail->kind);
    mail->language = bc_language_choose(tag);
    mail->has_user = bc_column_id(row, 3, &mail->user);
    mail->data = data == NULL ? NULL : json_loads(data, 0, &ignored);
    mail->broken = mail->broken || mail->data == NULL || (mail->address[0] == '\0' && !mail->has_user);
    mail->tries = bc_column_int(row, 6);
    mail->next_ms = bc_column_int(row, 7);
    mail->created_ms = bc_column_int(row, 8);
}

/* The mail that is due longest; NONE_DUE: *wait_ms until the next is (negative: there is none). */
static take_t take(bc_mailer_t *mailer, queued_t *mail, int64_t *wait_ms) {
    take_t result = NONE_DUE;
    *wait_ms = -1;
    bc_db_enter(mailer->db);
    bc_statement_t *first =
        bc_db_prepare(mailer->db, "SELECT mail_key, kind, language, user_id, address, data, tries, next_ms, created_ms "
                                  "FROM mails WHERE state = 0 ORDER BY next_ms LIMIT 1");
    if (bc_step(first) == BC_DB_ROW) {
        *wait_ms = bc_column_int(first, 7) - bc_time_ms();
        if (*wait_ms <= 0) {
            read_row(first, mail);
            result = TAKEN;
        } else if (*wait_ms > RETRY_MAX_MS) {
            *wait_ms = RETRY_MAX_MS; /* the clock was set back */
        }
    }
    bc_statement_done(first);
    if (!bc_db_is_sound(mailer->db)) result = NO_DATABASE;
    bc_db_leave(mailer->db);
    return result;
}

/* --- noting what came of it: false when the database is closed --- */

static bool note(bc_mailer_t *mailer, const queued_t *mail, int state, int64_t next_ms, bool counts) {
    if (bc_db_begin(mailer->db) != BC_DB_OK) return false;
    bc_statement_t *update;
    if (state == WAITS) {
        update = bc_db_prepare(mailer->db,
                               "UPDATE mails SET tries = tries + ?, next_ms = ? WHERE mail_key = ? AND state = 0");
        bc_bind_int(update, 1, counts ? 1 : 0);
        bc_bind_int(update, 2, next_ms);
        bc_bind_text(update, 3, mail->key);
    } else {
        update =
            bc_db_prepare(mailer->db, "UPDATE mails SET state = ?, tries = tries + 1, sent_ms = ?, user_id = NULL, "
                                      "address = NULL, data = NULL WHERE mail_key = ? AND state = 0");
        bc_bind_int(update, 1, state);
        bc_bind_int(update, 2, bc_time_ms());
        bc_bind_text(update, 3, mail->key);
    }
    (void)bc_run(update); /* an error sticks */
    bool good = bc_db_commit(mailer->db) == BC_DB_OK;
    if (good && state != WAITS) bc_metric_add(&waiting_now, -1);
    return good;
}

static bool give_up(bc_mailer_t *mailer, const queued_t *mail, const char *name, const char *why, int64_t code) {
    bc_metric_add(&failed_total, 1);
    bc_log(BC_LOG_ERROR, "mail-failed", bc_f_text("mail", name), bc_f_text("kind", bc_mail_kind_word(mail->kind)),
           bc_f_text("reason", why), bc_f_int("code", code), bc_f_int("tries", mail->tries + 1));
    return note(mailer, mail, FAILED, 0, true);
}

static bool try_later(bc_mailer_t *mailer, const queued_t *mail, const char *name, const bc_mail_trouble_t *trouble) {
    if (mail->tries + 1 >= BC_MAIL_TRIES_MAX) return give_up(mailer, mail, name, trouble->what, trouble->code);
    int64_t pause_ms = bc_config_number(mailer->config, BC_MAIL_RETRY);
    for (int64_t i = 0; i < mail->tries && pause_ms < RETRY_MAX_MS; i++) pause_ms *= 2;
    if (pause_ms > RETRY_MAX_MS) pause_ms = RETRY_MAX_MS;
    bc_metric_add(&tries_total, 1);
    bc_log(BC_LOG_WARN, "mail-again", bc_f_text("mail", name), bc_f_text("kind", bc_mail_kind_word(mail->kind)),
           bc_f_text("reason", trouble->what), bc_f_int("code", trouble->code), bc_f_int("in_ms", pause_ms));
    return note(mailer, mail, WAITS, bc_time_ms() + pause_ms, true);
}

/* The mail goes behind the others: should it be the one that a server does not survive, it holds nobody up. */
static bool pause_all(bc_mailer_t *mailer, const queued_t *mail, const bc_mail_trouble_t *trouble) {
    if (mailer->away_ms == 0)
        bc_log(BC_LOG_WARN, "mail-away", bc_f_text("reason", trouble->what), bc_f_int("code", trouble->code));
    mailer->away_ms = mailer->away_ms == 0 ? AWAY_FIRST_MS : mailer->away_ms * 2;
    if (mailer->away_ms > AWAY_MAX_MS) mailer->away_ms = AWAY_MAX_MS;
    mailer->away_until_ms = bc_monotonic_ms() + mailer->away_ms;
    return note(mailer, mail, WAITS, bc_time_ms() + mailer->away_ms, false);
}

static void go_on(bc_mailer_t *mailer) {
    if (mailer->away_ms > 0) bc_log(BC_LOG_INFO, "mail-back");
    mailer->away_ms = 0;
}

/* --- sending --- */

static bc_mail_outcome_t send_written(bc_mailer_t *mailer, const queued_t *mail, const char *name, const char *subject,
                                      const char *text, bc_mail_trouble_t *trouble) {
    char *bytes = NULL, file[128];
    size_t length = 0;
    const bc_mail_letter_t letter = {
        .from_name = bc_config_text(mailer->config, BC_SHOP_NAME),
        .from_address = mailer->from,
        .to = mail->address,
        .name = name,
        .host = mailer->host,
        .language = mail->language,
        .date_ms = mail->created_ms,
        .subject = subject,
        .text = text,
    };
    *trouble = (bc_mail_trouble_t){"memory", 0};
    if (!bc_mail_compose(&letter, &bytes, &length)) return BC_MAIL_AGAIN;
    /* Sorts by time; the hash keeps two mails of one millisecond apart. */
    (void)snprintf(file, sizeof(file), "%013lld-%s-%.16s", (long long)mail->created_ms, bc_mail_kind_word(mail->kind),
                   name); /* bounded parts */
    const bc_mail_parcel_t parcel = {file, mailer->from, mail->address, bytes, length};
    bc_mail_outcome_t outcome = BC_MAIL_AGAIN;
    *trouble = (bc_mail_trouble_t){"fault", 0};
    if (!bc_fault("mail.send")) outcome = mailer->transport->send(mailer->transport, &parcel, mailer->stop, trouble);
    free(bytes);
    return outcome;
}

/* false: the database is closed. */
static bool send_resolved(bc_mailer_t *mailer, const queued_t *mail, const char *name) {
    const bc_mail_facts_t facts = {bc_config_text(mailer->config, BC_SHOP_NAME), mailer->url, mail->kind,
                                   mail->language, mail->data};
    char *subject = NULL, *text = NULL;
    const char *missing = NULL;
    bc_mail_trouble_t trouble = {"memory", 0};
    if (!bc_mail_address_fits(mail->address)) return give_up(mailer, mail, name, "address", 0);
    if (!bc_mail_write(&facts, &subject, &text, &missing)) {
        return missing != NULL ? give_up(mailer, mail, name, missing, 0) : try_later(mailer, mail, name, &trouble);
    }
    bc_mail_outcome_t outcome = send_written(mailer, mail, name, subject, text, &trouble);
    free(subject);
    free(text);
    if (outcome == BC_MAIL_AWAY) return pause_all(mailer, mail, &trouble);
    go_on(mailer);
    if (outcome == BC_MAIL_REFUSED) return give_up(mailer, mail, name, trouble.what, trouble.code);
    if (outcome == BC_MAIL_AGAIN) return try_later(mailer, mail, name, &trouble);
    if (bc_fault("mail.sent")) return true; /* the mail has gone out and nobody noted it */
    bc_metric_add(&sent_total, 1);
    bc_log(BC_LOG_INFO, "mail-sent", bc_f_text("mail", name), bc_f_text("kind", bc_mail_kind_word(mail->kind)));
    return note(mailer, mail, SENT, 0, true);
}

/* false: the database is closed. */
static bool send_one(bc_mailer_t *mailer, queued_t *mail) {
    char name[BC_MAIL_NAME_CHARS + 1];
    bc_mail_name(mail->key, name);
    if (mail->broken) return give_up(mailer, mail, name, "row", 0);
    if (mail->address[0] != '\0') return send_resolved(mailer, mail, name);
    bc_mail_found_t found = mailer->resolve == NULL
                                ? BC_MAIL_NOBODY
                                : mailer->resolve(mailer->context, &mail->user, mail->address, &mail->language);
    switch (found) {
    case BC_MAIL_FOUND:
        return send_resolved(mailer, mail, name);
    case BC_MAIL_LATER:
        return note(mailer, mail, WAITS, bc_time_ms() + LATER_MS, false);
    case BC_MAIL_NOBODY:
        break;
    }
    bc_log(BC_LOG_INFO, "mail-to-nobody", bc_f_text("mail", name), bc_f_text("kind", bc_mail_kind_word(mail->kind)));
    return note(mailer, mail, NOBODY, 0, true);
}

/* Counts what waits, and removes what is older than events are kept: until then the same key could be put again. */
static void tend(bc_mailer_t *mailer) {
    int64_t now_ms = bc_monotonic_ms(), waiting = -1;
    if (mailer->tidied_ms != 0 && now_ms - mailer->tidied_ms < TIDY_EVERY_MS) return;
    if (bc_db_begin(mailer->db) != BC_DB_OK) return;
    bc_statement_t *tidy = bc_db_prepare(
        mailer->db, "DELETE FROM mails WHERE mail_key IN (SELECT mail_key FROM (SELECT mail_key FROM mails "
                    "WHERE state IN (1, 2, 3) AND next_ms < ? LIMIT ?) AS old)");
    bc_bind_int(tidy, 1, bc_time_ms() - bc_config_number(mailer->config, BC_EVENTS_KEEP));
    bc_bind_int(tidy, 2, TIDY_ROWS);
    bool more = bc_run(tidy) == BC_DB_DONE && bc_db_changes(mailer->db) == TIDY_ROWS;
    bc_statement_t *count = bc_db_prepare(mailer->db, "SELECT COUNT(*) FROM mails WHERE state = 0");
    if (bc_step(count) == BC_DB_ROW) waiting = bc_column_int(count, 0);
    bc_statement_done(count);
    if (waiting >= 0) bc_metric_set(&waiting_now, waiting); /* under the lock that puts count under */
    if (bc_db_commit(mailer->db) == BC_DB_OK && !more) mailer->tidied_ms = now_ms;
}

static int64_t step(bc_task_t *task, void *context) {
    bc_mailer_t *mailer = context;
    mailer->stop = bc_task_stop_flag(task);
    tend(mailer);
    while (!bc_task_stopping(task)) {
        int64_t away_ms = mailer->away_ms == 0 ? 0 : mailer->away_until_ms - bc_monotonic_ms(), wait_ms = -1;
        if (away_ms > 0) return away_ms;
        queued_t mail = {.data = NULL};
        take_t taken = take(mailer, &mail, &wait_ms);
        bool good = taken == TAKEN && send_one(mailer, &mail);
        json_decref(mail.data);
        if (taken == NONE_DUE) return wait_ms < 0 || wait_ms > TIDY_EVERY_MS ? TIDY_EVERY_MS : wait_ms;
        if (!good) return bc_db_is_open(mailer->db) ? AWAY_MAX_MS : -1;
    }
    return -1;
}

/* --- life --- */

/* Host of the public URL, without port; what is no plain host name (an IPv6 address) becomes localhost. */
static void read_host(bc_mailer_t *mailer) {
    const char *start = strstr(mailer->url, "://");
    start = start == NULL ? "" : start + 3;
    size_t length = strcspn(start, ":/");
    if (length == 0 || length >= sizeof(mailer->host) || start[0] == '[') {
        (void)snprintf(mailer->host, sizeof(mailer->host), "localhost");
        return;
    }
    memcpy(mailer->host, start, length);
    mailer->host[length] = '\0';
}

static bool read_settings(bc_mailer_t *mailer) {
    if (!bc_config_public_url(mailer->config, mailer->url, sizeof(mailer->url))) return false;
    read_host(mailer);
    const char *from = bc_config_text(mailer->config, BC_MAIL_FROM);
    bool number = strspn(mailer->host, "0123456789.") == strlen(mailer->host);
    int length = from[0] != '\0'
                     ? snprintf(mailer->from, sizeof(mailer->from), "%s", from)
                     : snprintf(mailer->from, sizeof(mailer->from), "noreply@%s", number ? "localhost" : mailer->host);
    return length > 0 && (size_t)length < sizeof(mailer->from) && bc_mail_address_fits(mailer->from);
}

bc_mailer_t *bc_mailer_create_with(const bc_config_t *config, bc_db_t *db, bc_mail_resolve_t resolve, void *context,
                                   bc_mail_transport_t *transport) {
    if (transport == NULL) return NULL;
    bc_mailer_t *mailer = calloc(1, sizeof(*mailer));
    if (mailer == NULL) {
        bc_log(BC_LOG_ERROR, "mail-not-started", bc_f_text("reason", "no memory"));
        transport->destroy(transport);
        return NULL;
    }
    mailer->config = config;
    mailer->db = db;
    mailer->resolve = resolve;
    mailer->context = context;
    mailer->transport = transport;
    if (!read_settings(mailer)) {
        bc_log(BC_LOG_ERROR, "mail-not-started",
               bc_f_text("reason", "no address to send from: set BOOKCART_MAIL_FROM"));
        bc_mailer_destroy(mailer);
        return NULL;
    }
    mailer->task = bc_task_create("mailer", step, mailer);
    if (mailer->task == NULL) {
        bc_mailer_destroy(mailer);
        return NULL;
    }
    return mailer;
}

bc_mailer_t *bc_mailer_create(const bc_config_t *config, bc_db_t *db, bc_mail_resolve_t resolve, void *context) {
    bool files = strcmp(bc_config_text(config, BC_MAIL), "files:") == 0;
    return bc_mailer_create_with(config, db, resolve, context,
                                 files ? bc_mail_files_create(config) : bc_mail_smtp_create(config));
}

void bc_mailer_wake(bc_mailer_t *mailer) {
    if (mailer != NULL) bc_task_wake(mailer->task);
}

void bc_mailer_stop(bc_mailer_t *mailer) {
    if (mailer != NULL) bc_task_stop(mailer->task);
}

void bc_mailer_destroy(bc_mailer_t *mailer) {
    if (mailer == NULL) return;
    bc_task_destroy(mailer->task);
    mailer->transport->destroy(mailer->transport);
    free(mailer);
}
