/* The Stripe provider: payment_provider.h over Stripe's HTTP API. */
#ifndef PAYMENT_STRIPE_H
#define PAYMENT_STRIPE_H

#include "services/payment/payment_provider.h"

/* NULL after a log line. config is borrowed until destroy; it has judged the keys. */
payment_provider_t *payment_stripe_open(const bc_config_t *config);

#endif
