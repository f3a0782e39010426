/*
 * Counters and gauges in Prometheus' text format. A metric is a static variable with a name; registering links it into one list
 * per process. Adding is one atomic operation.
 */
#ifndef BC_METRICS_H
#define BC_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct bc_metric {
    const char *name; /* with labels if it has: bookcart_http_requests_total{service="auth"} */
    const char *help;
    const char *type; /* "counter" or "gauge" */
    _Atomic int64_t value;
    struct bc_metric *next; /* the list's own */
    _Atomic int registered;
} bc_metric_t;

#define BC_METRIC(name_, help_, type_)                                                                                 \
    { .name = (name_), .help = (help_), .type = (type_) }

/* Registers on first use. */
void bc_metric_add(bc_metric_t *metric, int64_t amount);
void bc_metric_set(bc_metric_t *metric, int64_t value);
int64_t bc_metric_get(bc_metric_t *metric);

/* The whole page, zero-terminated; the caller frees it. NULL: no memory. */
char *bc_metrics_page(void);

#endif
