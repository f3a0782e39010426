/* The numbers of engine, hub and stores, put where /metrics finds them, once a second on the loop. */
#include "services/cart/cart_service_state.h"

#include "platform/bc_metrics.h"

#define GAUGE(field, name, help)                                                                                       \
    { offsetof(engine_stats_t, field), BC_METRIC(name, help, "gauge") }
#define COUNTER(field, name, help)                                                                                     \
    { offsetof(engine_stats_t, field), BC_METRIC(name, help, "counter") }

typedef struct {
    size_t offset; /* of a uint64_t */
    bc_metric_t metric;
} row_t;

static row_t engine_rows[] = {
    GAUGE(resident, "bookcart_cart_resident", "carts in the engine's memory"),
    GAUGE(dirty, "bookcart_cart_dirty", "carts whose last change is not in the base"),
    GAUGE(active, "bookcart_cart_active", "carts of active users"),
    GAUGE(queued, "bookcart_cart_queued", "requests that wait or are being committed"),
    GAUGE(loading, "bookcart_cart_loading", "carts being loaded"),
    GAUGE(bytes_total, "bookcart_cart_memory_bytes", "memory for resident carts"),
    GAUGE(bytes_used, "bookcart_cart_memory_used_bytes", "memory handed out"),
    GAUGE(oldest_dirty_ms, "bookcart_cart_oldest_dirty_ms", "age of the oldest change that is not in the base"),
    COUNTER(commits, "bookcart_cart_commits_total", "group commits"),
    COUNTER(changes, "bookcart_cart_changes_total", "changes applied"),
    COUNTER(repeats, "bookcart_cart_repeats_total", "requests that were repeats"),
    COUNTER(fetches, "bookcart_cart_fetches_total", "images told"),
    COUNTER(loads, "bookcart_cart_loads_total", "carts loaded"),
    COUNTER(saves, "bookcart_cart_saves_total", "carts written to the base"),
    COUNTER(forks, "bookcart_cart_forks_total", "carts merged with another owner's row"),
    COUNTER(merges, "bookcart_cart_merges_total", "guests absorbed"),
    COUNTER(cleared_ttl, "bookcart_cart_cleared_total{by=\"ttl\"}", "carts that left memory"),
    COUNTER(cleared_phase1, "bookcart_cart_cleared_total{by=\"phase1\"}", "carts that left memory"),
    COUNTER(cleared_phase2, "bookcart_cart_cleared_total{by=\"phase2\"}", "carts that left memory"),
};

static bc_metric_t refused[] = {
    BC_METRIC("bookcart_cart_refused_total{reason=\"none\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"late\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"memory\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"journal\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"base-away\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"unknown\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"queue\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"recent\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"feed\"}", "requests refused", "counter"),
    BC_METRIC("bookcart_cart_refused_total{reason=\"stopping\"}", "requests refused", "counter"),
};

static bc_metric_t links = BC_METRIC("bookcart_link_links", "links of edges", "gauge");
static bc_metric_t subscriptions = BC_METRIC("bookcart_link_subscriptions", "seats that are told of changes", "gauge");
static bc_metric_t pushes = BC_METRIC("bookcart_link_pushes_total", "images pushed", "counter");
static bc_metric_t gaps =
    BC_METRIC("bookcart_link_gaps_total", "links that came back too late for a replay", "counter");
static bc_metric_t errors =
    BC_METRIC("bookcart_link_protocol_errors_total", "links that broke the protocol", "counter");
static bc_metric_t journal_bytes = BC_METRIC("bookcart_journal_bytes", "size of the journal", "gauge");
static bc_metric_t journal_limit = BC_METRIC("bookcart_journal_limit_bytes", "its limit", "gauge");
static bc_metric_t journal_segments = BC_METRIC("bookcart_journal_segments", "segments of the journal", "gauge");
static bc_metric_t journal_syncs = BC_METRIC("bookcart_journal_syncs_total", "syncs of the journal", "counter");
static bc_metric_t journal_failures = BC_METRIC("bookcart_journal_sync_failures_total", "syncs that failed", "counter");
static bc_metric_t base_rows = BC_METRIC("bookcart_base_rows_saved_total", "rows written", "counter");
static bc_metric_t base_commits = BC_METRIC("bookcart_base_commits_total", "transactions of the base", "counter");
static bc_metric_t base_failures = BC_METRIC("bookcart_base_failures_total", "transactions that failed", "counter");

void cart_service_measure(cart_service_t *service) {
    engine_stats_t stats;
    engine_stats(service->engine, service->now_ms, &stats);
    atomic_store(&service->is_commit_away, stats.commit_away);
    atomic_store(&service->is_base_away, stats.base_away);
    for (size_t i = 0; i < sizeof engine_rows / sizeof engine_rows[0]; i++) {
        uint64_t value;
        memcpy(&value, (const uint8_t *)&stats + engine_rows[i].offset, sizeof value);
        bc_metric_set(&engine_rows[i].metric, (int64_t)value);
    }
    for (size_t i = 1; i < sizeof refused / sizeof refused[0]; i++) {
        bc_metric_set(&refused[i], (int64_t)stats.refused[i]);
    }
    cart_hub_stats_t hub;
    cart_hub_stats(service->hub, &hub);
    bc_metric_set(&links, (int64_t)hub.links);
    bc_metric_set(&subscriptions, (int64_t)hub.subscriptions);
    bc_metric_set(&pushes, (int64_t)hub.pushes);
    bc_metric_set(&gaps, (int64_t)hub.gaps);
    bc_metric_set(&errors, (int64_t)hub.protocol_errors);
    commit_room_t room = {0};
    service->commit->room(service->commit->state, &room, service->now_ms);
    bc_metric_set(&journal_bytes, (int64_t)room.bytes_used);
    bc_metric_set(&journal_limit, (int64_t)room.bytes_limit);
    bc_metric_set(&journal_segments, (int64_t)room.segments);
    bc_metric_set(&journal_syncs, (int64_t)room.syncs);
    bc_metric_set(&journal_failures, (int64_t)room.sync_failures);
    base_status_t base = {0};
    service->base->status(service->base->state, &base);
    bc_metric_set(&base_rows, (int64_t)base.rows_saved);
    bc_metric_set(&base_commits, (int64_t)base.commits);
    bc_metric_set(&base_failures, (int64_t)base.failures);
}
