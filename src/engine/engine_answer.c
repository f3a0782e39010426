/*
 * Answers: the only way out of the engine. Whoever calls engine_answer has made sure that what the answer says is durable
 * (engine_commit.c); engine_refuse is for refusals that were decided on no cart at all.
 */
#include "engine/engine_state.h"

#include <assert.h>
#include <stdio.h>

void engine_log(engine_t *engine, int level, const char *event, const cart_id_t *user, const char *detail) {
    if (engine->owner.log == NULL) return;
    char text[256];
    char id[CART_ID_CHARS + 1] = "";
    if (user != NULL) cart_id_format("usr_", user, id);
    /* Truncation only shortens a log line. */
    (void)snprintf(text, sizeof text, "%s%s%s", id, user != NULL && detail[0] != '\0' ? " " : "", detail);
    engine->owner.log(engine->owner.context, level, event, text);
}

void engine_store_log(void *context, int level, const char *event, const char *detail) {
    const engine_t *engine = context;
    if (engine->owner.log != NULL) engine->owner.log(engine->owner.context, level, event, detail);
}

static void count(engine_t *engine, const engine_slot_t *slot) {
    engine_stats_t *stats = &engine->stats;
    if (slot->verdict.outcome == CART_REFUSED) {
        stats->refused[slot->verdict.reason & 15]++;
    } else if (slot->kind == SLOT_FETCH) {
        stats->fetches++;
    } else if (slot->verdict.outcome == CART_REPEATED) {
        stats->repeats++;
    } else if (slot->verdict.outcome == CART_APPLIED) {
        if (slot->kind == SLOT_MERGE)
            stats->merges++;
        else
            stats->changes++;
    }
}

void engine_answer(engine_t *engine, engine_slot_ref_t ref, const cart_image_t *image) {
    engine_slot_t *slot = engine_slot(engine, ref);
    const engine_owner_t *owner = &engine->owner;
    assert(slot->verdict.outcome != 0);
    count(engine, slot);
    switch ((engine_kind_t)slot->kind) {
    case SLOT_CHANGE:
        owner->done(owner->context, &slot->origin, &slot->user, &slot->verdict, image);
        break;
    case SLOT_FETCH:
        owner->cart(owner->context, &slot->origin, &slot->user, &slot->verdict, image);
        break;
    case SLOT_MERGE: {
        engine_merge_report_t report = {0};
        if (slot->merge != NULL) {
            report.lines = slot->merge->lines;
            report.line_count = slot->merge->count;
            report.repeated = slot->merge->repeated;
        }
        owner->merged(owner->context, &slot->origin, &slot->verdict, image, &report);
        break;
    }
    }
    engine_slot_give(engine, ref);
}

void engine_refuse(engine_t *engine, engine_slot_ref_t ref, uint8_t outcome, uint8_t reason) {
    engine_slot_t *slot = engine_slot(engine, ref);
    assert(outcome == CART_REFUSED || outcome == CART_SESSION_ENDED);
    slot->verdict = (cart_verdict_t){.outcome = outcome, .reason = reason};
    engine_answer(engine, ref, NULL);
}
