/*
 * Pairs of tokens: how they go out and how a refresh token comes in.
 *
 * Rules of the cookie: it is set only when the caller asked for it ("transport":"cookie"), then the body has no refresh token; it is read
 * by refresh and logout only, only beside a JSON content type and the shop's own Origin, and only when the body names no token. A
 * cross-site form can send neither that type nor that origin. Access tokens are never read from cookies.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool auth_transport_read(bc_request_t *request, bc_reply_t *reply, auth_transport_t *transport) {
    const char *word = bc_request_string(request, "transport");
    if (word == NULL || strcmp(word, "body") == 0) {
        *transport = AUTH_BY_BODY;
    } else if (strcmp(word, "cookie") == 0) {
        *transport = AUTH_BY_COOKIE;
    } else {
        bc_reply_problem_field(reply, "not-acceptable-value", "transport", "unknown", "body or cookie");
        return false;
    }
    return true;
}

/* Whether `origin` is the shop's own: scheme, host and port of BOOKCART_PUBLIC_URL, or of the listener when there is none. Browsers leave
 * a scheme's own port out. */
static bool own_origin(const auth_t *auth, const char *origin) {
    char own[BC_CONFIG_VALUE_MAX + 16];
    const char *url = bc_config_text(auth->config, BC_PUBLIC_URL);
    if (url[0] != '\0') {
        (void)snprintf(own, sizeof(own), "%s", url); /* a setting fits */
    } else {
        bool tls = bc_config_text(auth->config, BC_TLS_CERT)[0] != '\0';
        (void)snprintf(own, sizeof(own), "%s://%s", tls ? "https" : "http", bc_config_text(auth->config, BC_LISTEN));
    }
    char *host = strstr(own, "://");
    if (origin == NULL || host == NULL) return false;
    host += 3;
    host[strcspn(host, "/")] = '\0';
    const char *plain_port = strncasecmp(own, "https:", 6) == 0 ? ":443" : ":80";
    size_t length = strlen(host), port = strlen(plain_port);
    if (length > port && strcmp(host + length - port, plain_port) == 0) host[length - port] = '\0';
    return strcasecmp(origin, own) == 0;
}

const char *auth_refresh_take(auth_t *auth, bc_request_t *request, bc_reply_t *reply, auth_transport_t *transport) {
    const char *token = bc_request_string(request, "refresh_token");
    if (token != NULL) {
        *transport = AUTH_BY_BODY;
        return token;
    }
    token = bc_request_cookie(request, AUTH_COOKIE);
    if (token == NULL) {
        bc_reply_problem_field(reply, "malformed-request", "refresh_token", "required", "the field is missing");
        return NULL;
    }
    /* The form of the request was checked: a content type that is there is JSON. */
    if (bc_request_header(request, "Content-Type") == NULL) {
        bc_reply_problem(reply, "unsupported-media-type", "a cookie is read beside a JSON content type only");
        return NULL;
    }
    if (!own_origin(auth, bc_request_header(request, "Origin"))) {
        bc_reply_problem(reply, "forbidden", "a cookie is read from the shop's own origin only");
        return NULL;
    }
    *transport = AUTH_BY_COOKIE;
    return token;
}

static void set_cookie(bc_reply_t *reply, const char *value, int64_t seconds) {
    char cookie[AUTH_REFRESH_CHARS + 160];
    (void)snprintf(cookie, sizeof(cookie),
                   AUTH_COOKIE "=%s; Path=" AUTH_COOKIE_PATH "; Max-Age=%lld; Secure; HttpOnly; SameSite=Strict", value,
                   (long long)seconds); /* fits by its size */
    bc_reply_header(reply, "Set-Cookie", cookie);
}

void auth_cookie_clear(bc_reply_t *reply) {
    set_cookie(reply, "", 0);
}

void auth_pair_store(auth_t *auth, const cart_id_t *session, int64_t now_ms, char refresh[AUTH_REFRESH_CHARS]) {
    unsigned char hash[AUTH_TOKEN_HASH_BYTES];
    auth_refresh_text_random(refresh);
    auth_refresh_text_hash(refresh, hash);
    auth_store_put_token(auth->db, hash, session, now_ms + auth->refresh_life_ms, 0);
}

json_t *auth_user_json(const auth_user_t *user) {
    char id[CART_ID_CHARS + 1];
    cart_id_format(BC_PREFIX_USER, &user->id, id);
    bool guest = user->kind == BC_KIND_GUEST;
    return json_pack("{s:s, s:s, s:s, s:s?, s:b, s:s?}", "id", id, "kind", bc_kind_word(user->kind), "role",
                     bc_role_word(user->role), "email", guest ? NULL : user->email, "email_verified",
                     user->email_verified, "name", guest ? NULL : user->name);
}

void auth_answer_pair(auth_t *auth, bc_reply_t *reply, int status, const auth_pair_t *pair, json_t *cart_merge) {
    char token[BC_TOKEN_MAX + 1];
    int64_t now_s = pair->now_ms / 1000;
    if (now_s < pair->user->tokens_from_s) now_s = pair->user->tokens_from_s; /* a second ahead at most */
    bc_claims_t claims = {.user = pair->user->id,
                          .session = *pair->session,
                          .issued_s = now_s,
                          .expires_s = now_s + auth->access_life_ms / 1000,
                          .kind = pair->user->kind,
                          .role = pair->user->role};
    if (!bc_token_issue(auth->issuer, "at+jwt", &claims, token)) {
        json_decref(cart_merge);
        auth_answer_unavailable(reply);
        return;
    }
    bool by_cookie = pair->transport == AUTH_BY_COOKIE;
    if (by_cookie) set_cookie(reply, pair->refresh, auth->refresh_life_ms / 1000);
    bc_reply_json(reply, status,
                  json_pack("{s:s, s:s, s:I, s:s*, s:o, s:o*}", "access_token", token, "token_type", "Bearer",
                            "expires_in", (json_int_t)(auth->access_life_ms / 1000), "refresh_token",
                            by_cookie ? NULL : pair->refresh, "user", auth_user_json(pair->user), "cart_merge",
                            cart_merge));
}
