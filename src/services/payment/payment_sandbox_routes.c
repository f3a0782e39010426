/*
 * The sandbox's own routes: what Stripe's form and the bank's page would do in the customer's browser (public), and what a person
 * would do in Stripe's pages (internal, for tests and demos). With another provider all of them are 404.
 *
 * A repeat under the same Idempotency-Key is answered from the key. The sandbox commits in its own file first: a crash between the
 * two leaves a key without an answer, and the repeat meets the payment as it then is (409), as it would with Stripe.
 */
#include "services/payment/payment_sandbox_routes.h"

#include "platform/bc_once.h"
#include "services/payment/payment_sandbox.h"
#include "services/payment/payment_service.h"

#include <string.h>

static json_t *payment_body(const provider_payment_t *shown) {
    return json_pack("{s:s, s:s, s:s}", "provider", "sandbox", "id", shown->id, "status",
                     sandbox_state_word(shown->state));
}

/* The caller's own payment in the sandbox, or a 404 was set. */
static bool find_own(payment_t *payment, bc_request_t *request, bc_reply_t *reply, const char **id) {
    cart_id_t owner;
    const bc_claims_t *caller = bc_request_caller(request);
    *id = bc_request_part(request, "id");
    if (payment_is_sandbox(payment->provider) && payment_owner_of(payment, *id, &owner) &&
        memcmp(owner.bytes, caller->user.bytes, sizeof(owner.bytes)) == 0)
        return true;
    bc_reply_not_found(reply);
    return false;
}

static void keep_answer(payment_t *payment, bc_once_t *once, const json_t *body) {
    if (once->db == NULL || bc_db_begin(payment->db) != BC_DB_OK) return; /* not kept: the repeat is told 409 */
    bc_once_keep(once, 200, body, NULL);
    (void)bc_db_commit(payment->db); /* likewise */
}

static void answer(payment_t *payment, bc_reply_t *reply, bc_once_t *once, sandbox_result_t result,
                   const provider_payment_t *shown) {
    json_t *body;
    switch (result) {
    case SANDBOX_OK:
        body = payment_body(shown);
        if (body != NULL) keep_answer(payment, once, body);
        bc_reply_json(reply, 200, body);
        return;
    case SANDBOX_DECLINED:
        bc_reply_problem_field(reply, "payment-declined", "payment_method", shown->last_error, NULL);
        return;
    case SANDBOX_STATE:
        bc_reply_problem(reply, "conflict", "the payment's state does not allow it");
        return;
    case SANDBOX_UNKNOWN_METHOD:
        bc_reply_problem_field(reply, "not-acceptable-value", "payment_method", "unknown",
                               "it is none of the test payment methods");
        return;
    case SANDBOX_MISSING:
        bc_reply_not_found(reply);
        return;
    case SANDBOX_FAILED:
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, 1000);
        return;
    }
}

void payment_sandbox_confirm(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    provider_payment_t shown;
    bc_once_t once;
    const char *id;
    bc_reply_cache(reply, "private, no-cache");
    if (!find_own(payment, request, reply, &id) || !bc_once_begin(payment->db, request, reply, BC_ONCE_OPTIONAL, &once))
        return;
    sandbox_result_t result =
        sandbox_confirm(payment->provider, id, bc_request_string(request, "payment_method"), &shown);
    answer(payment, reply, &once, result, &shown);
    bc_once_end(&once, reply);
}

void payment_sandbox_authenticate(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    provider_payment_t shown;
    bc_once_t once;
    const char *id;
    bc_reply_cache(reply, "private, no-cache");
    if (!find_own(payment, request, reply, &id) || !bc_once_begin(payment->db, request, reply, BC_ONCE_OPTIONAL, &once))
        return;
    bool success = json_is_true(json_object_get(bc_request_body(request), "success"));
    sandbox_result_t result = sandbox_authenticate(payment->provider, id, success, &shown);
    answer(payment, reply, &once, result, &shown);
    bc_once_end(&once, reply);
}

void payment_sandbox_refund(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    provider_refund_t shown;
    int64_t amount = json_integer_value(json_object_get(bc_request_body(request), "amount"));
    if (!payment_is_sandbox(payment->provider)) {
        bc_reply_not_found(reply);
        return;
    }
    switch (sandbox_refund_there(payment->provider, bc_request_part(request, "id"), amount, &shown)) {
    case SANDBOX_OK:
        bc_reply_json(reply, 201,
                      json_pack("{s:s, s:s, s:I, s:s}", "id", shown.id, "payment", shown.payment, "amount_minor",
                                (json_int_t)shown.amount_minor, "status", sandbox_refund_word(shown.state)));
        return;
    case SANDBOX_STATE:
        bc_reply_problem(reply, "conflict", "the payment's state or what is left of it does not allow it");
        return;
    case SANDBOX_MISSING:
        bc_reply_not_found(reply);
        return;
    default:
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, 1000);
        return;
    }
}

void payment_sandbox_resend(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    (void)request;
    if (!payment_is_sandbox(payment->provider)) {
        bc_reply_not_found(reply);
    } else if (sandbox_resend(payment->provider)) {
        bc_reply_empty(reply, 202);
    } else {
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, 1000);
    }
}
