#include "platform/bc_log.h"
#include "services/payment/payment_sandbox.h"
#include "services/payment/payment_stripe.h"

#include <string.h>

payment_provider_t *payment_provider_open(const bc_config_t *config) {
    const char *named = bc_config_text(config, BC_PAYMENTS); /* judged: one of the two */
    bool real = strncmp(named, "stripe:", 7) == 0;
    payment_provider_t *provider = real ? payment_stripe_open(config) : payment_sandbox_open(config);
    if (provider != NULL)
        bc_log(BC_LOG_INFO, "payment-provider", bc_f_text("name", provider->ops->name),
               bc_f_text("mode", provider->test ? "test" : "live"));
    return provider;
}
