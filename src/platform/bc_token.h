/*
 * Access tokens: ES256 JSON Web Tokens (RFC 7519, RFC 9068), header {"alg":"ES256","typ":"at+jwt","kid"}, claims iss, aud, sub
 * (usr_…), sid (ses_…), iat, exp, kind, role.
 *
 * Keys live in DATA/keys: `signing-<kid>.json` (private, 0600, with its times) and `jwks.json` (public, replaced by rename).
 * A key passes through: published → signing (when BOOKCART_KEY_PUBLISH has gone by) → retired (a newer one signs) → gone (its
 * last token is dead). Only the auth service writes there, under its lock.
 *
 * Both halves may be used by any thread.
 */
#ifndef BC_TOKEN_H
#define BC_TOKEN_H

#include "cart/cart_id.h"
#include "platform/bc_config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define BC_TOKEN_MAX      2048 /* characters; longer ones are refused unread */
#define BC_TOKEN_LEEWAY_S 5
#define BC_TOKEN_KEYS_MAX 16
#define BC_PREFIX_USER    "usr_"
#define BC_PREFIX_SESSION "ses_"

typedef enum { BC_KIND_GUEST, BC_KIND_CUSTOMER } bc_kind_t;
typedef enum { BC_ROLE_CUSTOMER, BC_ROLE_ADMIN } bc_role_t;

typedef struct {
    cart_id_t user;
    cart_id_t session;
    int64_t issued_s;
    int64_t expires_s;
    bc_kind_t kind;
    bc_role_t role;
} bc_claims_t;

const char *bc_kind_word(bc_kind_t kind);
const char *bc_role_word(bc_role_t role);

typedef enum {
    BC_TOKEN_OK,
    BC_TOKEN_MALFORMED,   /* not a JWT, wrong typ, missing or wrong claims, too long */
    BC_TOKEN_UNKNOWN_KEY, /* kid not published */
    BC_TOKEN_FORGED,      /* the signature, or an alg that is not the key's */
    BC_TOKEN_EXPIRED,
    BC_TOKEN_FOREIGN, /* iss or aud is not ours */
    BC_TOKEN_FAILED   /* no memory */
} bc_token_result_t;

/* --- the issuing half: auth only --- */
typedef struct bc_token_issuer bc_token_issuer_t;

/* Loads DATA/keys; makes the first key when there is none. NULL with a log line when it cannot. The caller destroys it. */
bc_token_issuer_t *bc_token_issuer_create(const bc_config_t *config);
void bc_token_issuer_destroy(bc_token_issuer_t *issuer);

/* Writes a token of at most BC_TOKEN_MAX characters. `typ` is "at+jwt" for access tokens. false: no memory. */
bool bc_token_issue(bc_token_issuer_t *issuer, const char *typ, const bc_claims_t *claims,
                    char token[BC_TOKEN_MAX + 1]);

/* Publishes a new key that signs after BOOKCART_KEY_PUBLISH. false: it could not be written (errno), nothing changed. */
bool bc_token_rotate(bc_token_issuer_t *issuer);
/* Lets time take effect: promotes keys that are due, drops dead ones. Call now and then. */
bool bc_token_tend(bc_token_issuer_t *issuer);
/* The public set {"keys":[…]}; the caller owns it. NULL: no memory. */
json_t *bc_token_jwks(bc_token_issuer_t *issuer);

/* --- the verifying half: every service --- */
typedef struct bc_token_verifier bc_token_verifier_t;

/* Reads DATA/keys/jwks.json whenever it was replaced; one that cannot be read keeps the last. A missing file is allowed (then
 * every key is unknown until it appears). */
bc_token_verifier_t *bc_token_verifier_create(const bc_config_t *config);
void bc_token_verifier_destroy(bc_token_verifier_t *verifier);

/* The signature, then alg (taken from the key, the header must agree), typ, iss, aud, exp, and the form of all claims. *claims is
 * unchanged unless BC_TOKEN_OK. `now_s` is Unix time. */
bc_token_result_t bc_token_verify(bc_token_verifier_t *verifier, const char *typ, const char *token, int64_t now_s,
                                  bc_claims_t *claims);

#endif
