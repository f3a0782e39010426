#include "platform/bc_metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static bc_metric_t *list;

static void register_once(bc_metric_t *metric) {
    if (atomic_load_explicit(&metric->registered, memory_order_acquire) != 0) return;
    (void)pthread_mutex_lock(&list_lock); /* a default mutex: fails only on our own misuse */
    if (atomic_load_explicit(&metric->registered, memory_order_relaxed) == 0) {
        metric->next = list;
        list = metric;
        atomic_store_explicit(&metric->registered, 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&list_lock);
}

void bc_metric_add(bc_metric_t *metric, int64_t amount) {
    register_once(metric);
    (void)atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

void bc_metric_set(bc_metric_t *metric, int64_t value) {
    register_once(metric);
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

int64_t bc_metric_get(bc_metric_t *metric) {
    register_once(metric);
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

/* The name without its labels. */
static size_t stem(const char *name) {
    return strcspn(name, "{");
}

static bool described_before(const bc_metric_t *metric, const bc_metric_t *end) {
    for (const bc_metric_t *m = list; m != end; m = m->next) {
        if (stem(m->name) == stem(metric->name) && memcmp(m->name, metric->name, stem(m->name)) == 0) return true;
    }
    return false;
}

char *bc_metrics_page(void) {
    char *page = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&page, &length);
    if (out == NULL) return NULL;
    (void)pthread_mutex_lock(&list_lock);
    for (const bc_metric_t *m = list; m != NULL; m = m->next) {
        if (described_before(m, m)) continue; /* its lines went out with the first of the family */
        (void)fprintf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)stem(m->name), m->name, m->help, (int)stem(m->name),
                      m->name, m->type); /* errors are looked at in fclose */
        for (const bc_metric_t *s = m; s != NULL; s = s->next) {
            if (stem(s->name) != stem(m->name) || memcmp(s->name, m->name, stem(m->name)) != 0) continue;
            (void)fprintf(out, "%s %lld\n", s->name, (long long)atomic_load_explicit(&s->value, memory_order_relaxed));
        }
    }
    (void)pthread_mutex_unlock(&list_lock);
    if (fclose(out) != 0) {
        free(page);
        return NULL;
    }
    return page;
}
