#include "edge/edge_render.h"

#include <assert.h>

#include "edge/edge_mix.h"

/* What the lines leave for the warnings, which stand behind them in the text. */
typedef struct {
    uint64_t book, old_price;
    uint32_t available;
    uint8_t code; /* warning_t */
} warning_t;
enum { WARN_GONE = 1, WARN_OUT_OF_STOCK, WARN_NOT_ENOUGH, WARN_PRICE };

#define WARNINGS_MAX (2 * CART_LINES_MAX) /* a line is gone, or short, and its price may have changed besides */

typedef struct {
    edge_out_t *out;
    const edge_render_options_t *options;
    uint64_t digest, once, subtotal;
    uint32_t count;
    unsigned warning_count;
    warning_t warnings[WARNINGS_MAX];
} state_t;

static void out_money(const state_t *state, uint64_t amount) {
    edge_out_literal(state->out, "{\"amount\":");
    edge_out_u64(state->out, amount);
    edge_out_literal(state->out, ",\"currency\":\"");
    edge_out_bytes(state->out, state->options->currency, EDGE_CURRENCY_CHARS);
    edge_out_literal(state->out, "\"}");
}

static void warn(state_t *state, unsigned code, uint64_t book, uint32_t available, uint64_t old_price) {
    assert(state->warning_count < WARNINGS_MAX);
    state->warnings[state->warning_count++] =
        (warning_t){.book = book, .old_price = old_price, .available = available, .code = (uint8_t)code};
}

static void warn_stock(state_t *state, const edge_book_t *book, uint32_t quantity) {
    if (book->available == 0 || book->availability == CART_OUT_OF_STOCK) {
        warn(state, WARN_OUT_OF_STOCK, book->book, 0, 0);
        state->digest = edge_mix(state->digest, WARN_OUT_OF_STOCK);
    } else if (book->available < quantity) {
        warn(state, WARN_NOT_ENOUGH, book->book, book->available, 0);
        state->digest = edge_mix(state->digest, (uint64_t)book->available << 8 | WARN_NOT_ENOUGH);
    }
}

/* The price that the caller saw last, when it is another one: the oldest change that came after his last look. */
static void warn_price(state_t *state, const edge_book_t *book) {
    if (!state->options->was_shown) return;
    bool changed = false;
    uint64_t old_price = 0;
    for (unsigned i = 0; i < EDGE_BOOKS_PRICES && book->changed_at[i] != 0; i++) {
        if ((int32_t)((uint32_t)book->changed_at[i] - state->options->shown) <= 0) break;
        old_price = book->old_price[i];
        changed = true;
    }
    if (!changed || old_price == book->price_minor) return;
    warn(state, WARN_PRICE, book->book, 0, old_price);
    state->once = edge_mix(edge_mix(state->once, book->book), old_price) | 1;
}

static void add_line(state_t *state, const edge_book_t *book, uint32_t quantity) {
    static const char *const names[] = {"in_stock", "low", "out_of_stock"};
    bool gone = book->state != CART_BOOK_LIVE;
    uint64_t total = gone ? 0 : book->price_minor * quantity;
    state->digest = edge_mix(edge_mix(state->digest, book->digest), quantity);
    if (gone) {
        warn(state, WARN_GONE, book->book, 0, 0);
    } else {
        state->count += quantity;
        state->subtotal += total;
        warn_stock(state, book, quantity);
        warn_price(state, book);
    }
    if (state->out == NULL) return;
    edge_out_u64(state->out, quantity);
    edge_out_literal(state->out, ",\"unit_price\":");
    out_money(state, book->price_minor);
    edge_out_literal(state->out, ",\"total\":");
    out_money(state, total);
    edge_out_literal(state->out, ",\"availability\":\"");
    edge_out_text(state->out, gone ? names[CART_OUT_OF_STOCK] : names[book->availability]);
    edge_out_literal(state->out, "\"}");
}

static void out_warnings(const state_t *state) {
    edge_out_t *out = state->out;
    for (unsigned i = 0; i < state->warning_count; i++) {
        const warning_t *warning = &state->warnings[i];
        if (i > 0) edge_out_literal(out, ",");
        edge_out_literal(out, "{\"code\":\"");
        switch (warning->code) {
        case WARN_GONE:
            edge_out_literal(out, "gone");
            break;
        case WARN_OUT_OF_STOCK:
            edge_out_literal(out, "out-of-stock");
            break;
        case WARN_NOT_ENOUGH:
            edge_out_literal(out, "not-enough-stock");
            break;
        default:
            edge_out_literal(out, "price-changed");
            break;
        }
        edge_out_literal(out, "\",\"book\":");
        edge_out_u64(out, warning->book);
        if (warning->code == WARN_NOT_ENOUGH) {
            edge_out_literal(out, ",\"available\":");
            edge_out_u64(out, warning->available);
        } else if (warning->code == WARN_PRICE) {
            edge_out_literal(out, ",\"old_price\":");
            out_money(state, warning->old_price);
        }
        edge_out_literal(out, "}");
    }
}

static void out_head(edge_out_t *out, const cart_image_t *image) {
    edge_out_literal(out, "{\"version\":\"");
    edge_out_u64(out, image->place.version);
    edge_out_literal(out, "\",\"lines\":[");
}

static void out_tail(const state_t *state) {
    edge_out_literal(state->out, "],\"count\":");
    edge_out_u64(state->out, state->count);
    edge_out_literal(state->out, ",\"subtotal\":");
    out_money(state, state->subtotal);
    edge_out_literal(state->out, ",\"warnings\":[");
    out_warnings(state);
    edge_out_literal(state->out, "]}");
}

/* One line: the book's text straight into its place. */
static edge_render_result_t render_line(state_t *state, edge_books_t *books, const cart_line_t *line, bool first) {
    char aside[EDGE_BOOKS_TEXT_MAX];
    edge_out_t *out = state->out;
    edge_book_t book;
    if (out != NULL && !first) edge_out_literal(out, ",");
    char *text = out == NULL ? aside : out->at;
    size_t room = out == NULL ? sizeof(aside) : (size_t)(out->end - out->at);
    edge_book_found_t found = edge_books_read(books, line->book, &book, text, room);
    if (found == EDGE_BOOK_MISSING) return EDGE_RENDER_MISSING;
    if (found == EDGE_BOOK_NO_ROOM) return EDGE_RENDER_NO_ROOM;
    if (out != NULL) out->at += book.text_length;
    add_line(state, &book, line->quantity);
    return out != NULL && out->full ? EDGE_RENDER_NO_ROOM : EDGE_RENDER_OK;
}

edge_render_result_t edge_render_cart(edge_out_t *out, const cart_image_t *image, edge_books_t *books,
                                      const edge_render_options_t *options, edge_rendered_t *rendered) {
    state_t state;
    state.out = out;
    state.options = options;
    state.digest = edge_mix(image->line_count, 0);
    state.once = 0;
    state.subtotal = 0;
    state.count = 0;
    state.warning_count = 0;
    assert(image->line_count <= CART_LINES_MAX);
    rendered->position = edge_books_position(books);
    rendered->missing_count = 0;
    edge_books_expect(books, image->lines, image->line_count);
    if (out != NULL) out_head(out, image);
    for (unsigned i = 0; i < image->line_count; i++) {
        edge_render_result_t result = render_line(&state, books, &image->lines[i], i == 0);
        if (result == EDGE_RENDER_NO_ROOM) return result;
        if (result == EDGE_RENDER_MISSING) rendered->missing[rendered->missing_count++] = image->lines[i].book;
    }
    if (rendered->missing_count > 0) return EDGE_RENDER_MISSING;
    if (out != NULL) {
        out_tail(&state);
        if (out->full) return EDGE_RENDER_NO_ROOM;
    }
    rendered->tag = (edge_etag_t){.place = image->place, .digest = state.digest, .once = state.once};
    rendered->once = state.once != 0;
    return EDGE_RENDER_OK;
}
