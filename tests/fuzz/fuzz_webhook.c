/* Any bytes as a webhook: the first line is the signature's header, the rest the body. Nothing unsigned may be good, what is rightly
 * signed is, and an event that was read holds only what its limits allow. */
#include "services/payment/payment_stripe_json.h"
#include "services/payment/payment_webhook_signature.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW       1700000000
#define TOLERANCE 300

static void check_event(const char *body, size_t length) {
    provider_event_t event;
    if (!stripe_read_event(body, length, &event)) return;
    if (!stripe_id_good(event.id, "evt_") || event.created_ms < 0 || event.type[0] == '\0') abort();
    if (strlen(event.type) > PROVIDER_TYPE_MAX) abort();
    if (event.payment[0] != '\0' && !stripe_id_good(event.payment, "pi_")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const webhook_secrets_t secrets = {.secrets = {"whsec_old", "whsec_new"}, .count = 2};
    char signed_header[WEBHOOK_SIGNED_BYTES];
    const uint8_t *line = memchr(data, '\n', size);
    size_t head = line == NULL ? size : (size_t)(line - data), skip = line == NULL ? head : head + 1;
    char *header = malloc(head + 1);
    const char *body = (const char *)data + skip;
    if (header == NULL) return 0;
    memcpy(header, data, head);
    header[head] = '\0';
    webhook_sign("whsec_new", body, size - skip, NOW, signed_header);
    webhook_verdict_t verdict = webhook_verify(&secrets, header, body, size - skip, TOLERANCE, NOW);
    if (verdict == WEBHOOK_GOOD) abort(); /* nobody guesses a MAC */
    if (webhook_verify(&secrets, signed_header, body, size - skip, TOLERANCE, NOW) != WEBHOOK_GOOD) abort();
    free(header);
    check_event(body, size - skip);
    return 0;
}
