/*
 * The reader is a state machine over bytes; every byte is looked at once, and once more for UTF-8 at the end of its row.
 *
 *   START ──"──▶ QUOTED ──"──▶ QUOTE ──"──▶ QUOTED          (a doubled quote)
 *     │            │             ├──,──▶ START (next field)
 *     │            │             └─CR/LF─▶ row
 *     └─other─▶ BARE ──,──▶ START (next field);  CR ─▶ CR ──LF──▶ row
 *   any ──structural fault──▶ SKIP ──LF──▶ START of the next row
 *
 * Invariants: `used` ≤ library_csv_row_bytes_max; offsets[0…columns) are rising places in `row`; `fault` is set once a row
 * (the first fault names it).
 */
#include "services/library/library_csv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef enum { AT_START, IN_BARE, IN_QUOTED, AFTER_QUOTE, AFTER_CR, SKIPPING } csv_state_t;

struct library_csv {
    library_csv_row_fn on_row;
    void *context; /* borrowed until destroy */
    csv_state_t state;
    library_csv_fault_t fault; /* of the row being read */
    bool stopped;
    bool finished;
    bool row_begun;    /* something of this row was seen: a byte, or the comma before it */
    unsigned bom_seen; /* bytes of the byte order mark matched; 3 = past the place where it may be */
    uint64_t line;     /* of the next byte */
    uint64_t row_line;
    size_t dropped; /* bytes passed over since the fault */
    size_t columns; /* complete fields */
    size_t used;
    size_t field_start;
    size_t lengths[library_csv_columns_max];
    char *fields[library_csv_columns_max];
    char row[library_csv_row_bytes_max + library_csv_columns_max]; /* each field with its zero */
};

static const unsigned char bom[3] = {0xef, 0xbb, 0xbf};

library_csv_t *library_csv_create(library_csv_row_fn on_row, void *context) {
    assert(on_row != NULL);
    library_csv_t *csv = malloc(sizeof(*csv));
    if (csv == NULL) return NULL;
    memset(csv, 0, offsetof(library_csv_t, row));
    csv->on_row = on_row;
    csv->context = context;
    csv->line = 1;
    csv->row_line = 1;
    return csv;
}

void library_csv_destroy(library_csv_t *csv) {
    free(csv);
}

const char *library_csv_fault_text(library_csv_fault_t fault) {
    switch (fault) {
    case LIBRARY_CSV_OK:
        return "no fault";
    case LIBRARY_CSV_STRAY_QUOTE:
        return "a quote inside an unquoted field";
    case LIBRARY_CSV_AFTER_QUOTE:
        return "text after a closing quote";
    case LIBRARY_CSV_LONE_CR:
        return "a carriage return without a line feed";
    case LIBRARY_CSV_UNTERMINATED:
        return "the file ends inside quotes";
    case LIBRARY_CSV_NOT_UTF8:
        return "not UTF-8";
    case LIBRARY_CSV_CONTROL:
        return "a control character";
    case LIBRARY_CSV_FIELD_TOO_LONG:
        return "a field longer than 64 KiB";
    case LIBRARY_CSV_ROW_TOO_LONG:
        return "a row longer than 256 KiB";
    case LIBRARY_CSV_TOO_MANY_COLUMNS:
        return "more than 64 columns";
    }
    return "unknown";
}

/* The length of the well-formed sequence at `p`, 0 if there is none (table 3-7 of the Unicode standard). */
static size_t utf8_sequence(const unsigned char *p, size_t left) {
    unsigned char c = p[0];
    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return 0;
    size_t length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (length > left) return 0;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    if (c == 0xe0) low = 0xa0;
    if (c == 0xed) high = 0x9f;
    if (c == 0xf0) low = 0x90;
    if (c == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return length;
}

bool library_utf8_valid(const char *bytes, size_t size) {
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t i = 0; i < size;) {
        size_t length = utf8_sequence(p + i, size - i);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

static void note_fault(library_csv_t *csv, library_csv_fault_t fault) {
    if (csv->fault == LIBRARY_CSV_OK) csv->fault = fault;
}

/* The fault leaves it open where quotes begin and end: the next LF is the next certain place. */
static void lose_structure(library_csv_t *csv, library_csv_fault_t fault) {
    note_fault(csv, fault);
    csv->state = SKIPPING;
}

static void begin_row(library_csv_t *csv) {
    csv->state = AT_START;
    csv->fault = LIBRARY_CSV_OK;
    csv->row_begun = false;
    csv->row_line = csv->line;
    csv->dropped = 0;
    csv->columns = 0;
    csv->used = 0;
    csv->field_start = 0;
}

static void end_field(library_csv_t *csv) {
    csv->row_begun = true;
    if (csv->fault != LIBRARY_CSV_OK) return;
    if (csv->columns == library_csv_columns_max) {
        note_fault(csv, LIBRARY_CSV_TOO_MANY_COLUMNS);
        return;
    }
    assert(csv->used < sizeof(csv->row));
    csv->fields[csv->columns] = csv->row + csv->field_start;
    csv->lengths[csv->columns] = csv->used - csv->field_start;
    csv->row[csv->used++] = '\0';
    csv->field_start = csv->used;
    csv->columns++;
}

static void deliver_row(library_csv_t *csv) {
    for (size_t i = 0; i < csv->columns && csv->fault == LIBRARY_CSV_OK; i++) {
        if (!library_utf8_valid(csv->fields[i], csv->lengths[i])) note_fault(csv, LIBRARY_CSV_NOT_UTF8);
    }
    library_csv_row_t row = {.line = csv->row_line, .fault = csv->fault};
    if (csv->fault == LIBRARY_CSV_OK) {
        row.field_count = csv->columns;
        row.fields = csv->fields;
        row.lengths = csv->lengths;
    }
    if (!csv->on_row(csv->context, &row)) csv->stopped = true;
}

/* At the line break that ends a row, `line` already names the next one. */
static void end_row(library_csv_t *csv) {
    if (csv->state != SKIPPING && (csv->row_begun || csv->fault != LIBRARY_CSV_OK)) end_field(csv);
    if (csv->row_begun || csv->fault != LIBRARY_CSV_OK) deliver_row(csv);
    begin_row(csv);
}

static void append(library_csv_t *csv, unsigned char c) {
    csv->row_begun = true;
    bool quoted = csv->state == IN_QUOTED;
    if ((c < 0x20 && c != '\t' && !(quoted && (c == '\r' || c == '\n'))) || c == 0x7f) {
        note_fault(csv, LIBRARY_CSV_CONTROL);
    }
    if (csv->fault != LIBRARY_CSV_OK) {
        /* Nothing is kept of a faulty row, but its end is still looked for: not for ever, a quote may be lost too. */
        if (++csv->dropped == library_csv_row_bytes_max) csv->state = SKIPPING;
    } else if (csv->used - csv->field_start == library_csv_field_bytes_max) {
        lose_structure(csv, LIBRARY_CSV_FIELD_TOO_LONG);
    } else if (csv->used - csv->columns == library_csv_row_bytes_max) {
        lose_structure(csv, LIBRARY_CSV_ROW_TOO_LONG);
    } else {
        csv->row[csv->used++] = (char)c;
    }
}

static void take_unquoted(library_csv_t *csv, unsigned char c) {
    switch (c) {
    case ',':
        end_field(csv);
        csv->state = AT_START;
        break;
    case '\n':
        end_row(csv);
        break;
    case '\r':
        csv->state = AFTER_CR;
        break;
    case '"':
        csv->row_begun = true;
        if (csv->state == AT_START) {
            csv->state = IN_QUOTED;
        } else {
            lose_structure(csv, csv->state == AFTER_QUOTE ? LIBRARY_CSV_AFTER_QUOTE : LIBRARY_CSV_STRAY_QUOTE);
        }
        break;
    default:
        if (csv->state == AFTER_QUOTE) {
            lose_structure(csv, LIBRARY_CSV_AFTER_QUOTE);
        } else {
            csv->state = IN_BARE;
            append(csv, c);
        }
    }
}

static void take(library_csv_t *csv, unsigned char c) {
    if (c == '\n') csv->line++;
    switch (csv->state) {
    case AT_START:
    case IN_BARE:
        take_unquoted(csv, c);
        break;
    case IN_QUOTED:
        if (c == '"') {
            csv->state = AFTER_QUOTE;
        } else {
            append(csv, c);
        }
        break;
    case AFTER_QUOTE:
        if (c == '"') {
            csv->state = IN_QUOTED;
            append(csv, c);
        } else {
            take_unquoted(csv, c);
        }
        break;
    case AFTER_CR:
        if (c == '\n') {
            end_row(csv);
        } else {
            csv->row_begun = true;
            lose_structure(csv, LIBRARY_CSV_LONE_CR);
        }
        break;
    case SKIPPING:
        if (c == '\n') end_row(csv);
        break;
    }
}

bool library_csv_feed(library_csv_t *csv, const char *bytes, size_t size) {
    assert(!csv->finished);
    for (size_t i = 0; i < size && !csv->stopped; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (csv->bom_seen < sizeof(bom)) {
            if (c == bom[csv->bom_seen]) {
                csv->bom_seen++;
                continue;
            }
            /* Not a mark after all: what looked like its beginning was text. */
            unsigned matched = csv->bom_seen;
            csv->bom_seen = sizeof(bom);
            for (unsigned k = 0; k < matched; k++) take(csv, bom[k]);
        }
        take(csv, c);
    }
    return !csv->stopped;
}

bool library_csv_finish(library_csv_t *csv) {
    assert(!csv->finished);
    csv->finished = true;
    if (csv->stopped) return false;
    if (csv->bom_seen < sizeof(bom)) {
        for (unsigned k = 0; k < csv->bom_seen; k++) take(csv, bom[k]);
    }
    if (csv->state == IN_QUOTED) lose_structure(csv, LIBRARY_CSV_UNTERMINATED);
    if (csv->state == AFTER_CR) lose_structure(csv, LIBRARY_CSV_LONE_CR);
    end_row(csv);
    return !csv->stopped;
}
