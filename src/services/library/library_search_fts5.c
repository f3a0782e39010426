/*
 * Search inside the library's own database: SQLite FTS5, written in the transaction of the book.
 *
 * Tables, all of them derived from `books` and made anew when LAYOUT differs:
 *   search_layout    one row: layout, and whether every book is in (whole)
 *   search_books     FTS5, rowid = book: whole titles as one word each, title, authors, description; as library_words_line writes them
 *   search_words     every word of a title or author, and in how many books
 *   search_trigrams  three letters ("^em", "emm", … "ma$") → the words that hold them; digits are never corrected
 *
 * Descriptions are searched but teach no words: a typing error is corrected to what titles and authors are made of.
 *
 * A query takes four statements, always: which of its words are known; words near the unknown; books with all words; books with some
 * (which looks for nothing when there were books with all). Cost is bounded by the query's length; where the rarest word is in
 * more than BROAD books, nothing tells them apart and popularity alone ranks them (bm25 would cost the most where it says least).
 */
#include "services/library/library_search.h"

#include "services/library/library_text.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYOUT 1

enum {
    line_bytes = 72 * 1024, /* an index line: at most four times its text */
    whole_bytes = 256,
    steps = 2,            /* of a score, to an octave of bm25 */
    near_max = 4,         /* corrections tried for one word */
    near_rows_max = 3000, /* words looked at for one query */
    broad = 3000,         /* books */
    common_times = 8,     /* among some words, one so much more common than the rarest is left out */
};

static const char sql_make_layout[] =
    "CREATE TABLE IF NOT EXISTS search_layout(layout INTEGER NOT NULL, whole INTEGER NOT NULL)";
static const char sql_layout[] = "SELECT layout, whole FROM search_layout";
static const char *const sql_make[] = {
    "DROP TABLE IF EXISTS search_books",
    "DROP TABLE IF EXISTS search_words",
    "DROP TABLE IF EXISTS search_trigrams",
    "DELETE FROM search_layout",
    "CREATE VIRTUAL TABLE search_books USING fts5(whole, title, authors, description, prefix='1 2 3', "
    "tokenize=\"unicode61 remove_diacritics 2 categories 'L* M* N* Co' tokenchars '+#'\")",
    "CREATE TABLE search_words(word TEXT PRIMARY KEY, books INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE search_trigrams(trigram TEXT NOT NULL, chars INTEGER NOT NULL, word TEXT NOT NULL, "
    "PRIMARY KEY(trigram, chars, word)) WITHOUT ROWID",
};
static const char sql_put_layout[] = "INSERT INTO search_layout(layout, whole) VALUES(?1, 0)";
static const char sql_set_whole[] = "UPDATE search_layout SET whole = 1";

static const char sql_old[] = "SELECT whole, title, authors, description FROM search_books WHERE rowid = ?1";
static const char sql_put[] =
    "INSERT OR REPLACE INTO search_books(rowid, whole, title, authors, description) VALUES(?1, ?2, ?3, ?4, ?5)";
static const char sql_old_of[] =
    "SELECT s.title, s.authors FROM json_each(?1) j CROSS JOIN search_books s ON s.rowid = j.value";
static const char sql_drop[] = "DELETE FROM search_books WHERE rowid IN (SELECT value FROM json_each(?1))";
/* [word, difference]… */
static const char sql_new_words[] = "SELECT json_extract(j.value, '$[0]') FROM json_each(?1) j WHERE NOT EXISTS("
                                    "SELECT 1 FROM search_words w WHERE w.word = json_extract(j.value, '$[0]'))";
static const char sql_count_words[] =
    "INSERT INTO search_words(word, books) SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') "
    "FROM json_each(?1) WHERE true ON CONFLICT(word) DO UPDATE SET books = books + excluded.books";
static const char sql_put_trigrams[] =
    "INSERT OR IGNORE INTO search_trigrams(trigram, chars, word) SELECT json_extract(value, '$[0]'), "
    "json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?1)";

/* Of each word: in how many books it stands, and (a sum, so rather too many) in how many there is a longer one beginning with it. */
static const char sql_known[] =
    "SELECT j.key, COALESCE((SELECT w.books FROM search_words w WHERE w.word = j.value), 0), "
    "COALESCE((SELECT SUM(w.books) FROM search_words w WHERE w.word > j.value AND w.word < j.value || char(1114111)), "
    "0) "
    "FROM json_each(?1) j";
/* [word's number, trigram, least chars, most chars, least trigrams in common] */
static const char sql_near[] =
    "SELECT n.i, t.word, w.books FROM (SELECT json_extract(value, '$[0]') AS i, json_extract(value, '$[1]') AS "
    "trigram, "
    "json_extract(value, '$[2]') AS least, json_extract(value, '$[3]') AS most, json_extract(value, '$[4]') AS common "
    "FROM json_each(?1)) n CROSS JOIN search_trigrams t ON t.trigram = n.trigram AND t.chars BETWEEN n.least AND "
    "n.most "
    "CROSS JOIN search_words w ON w.word = t.word WHERE w.books > 0 GROUP BY n.i, t.word, w.books "
    "HAVING COUNT(*) >= MAX(n.common) ORDER BY COUNT(*) DESC, t.word LIMIT ?2";
/* ?2: whether to look at all; ?3: whether to rank. */
static const char sql_match[] =
    "SELECT rowid, CASE WHEN ?3 THEN bm25(search_books, 6.0, 4.0, 1.5, 0.3) ELSE 0 END FROM search_books "
    "WHERE ?2 AND search_books MATCH ?1 LIMIT ?4";
static const char sql_suggest[] = "SELECT rowid FROM search_books WHERE search_books MATCH ?1 LIMIT ?2";

/* A word that a book has got (+1) or lost (−1). */
typedef struct {
    char text[library_word_bytes_max + 1];
    int64_t difference;
} word_count_t;

typedef struct {
    bc_db_t *db; /* borrowed */
    /* Under the database's lock: */
    word_count_t *counts; /* owned: words put or dropped, not written yet */
    size_t count_count, count_room;
    bool together; /* between begin and end */
    char whole[whole_bytes * 3 + 3], title[line_bytes], authors[line_bytes], description[line_bytes];
} fts5_t;

/* --- open --- */

static bool run(bc_db_t *db, const char *sql) {
    return bc_run(bc_db_prepare(db, sql)) == BC_DB_DONE;
}

static bool read_layout(bc_db_t *db, int64_t *layout, bool *whole) {
    bc_statement_t *statement = bc_db_prepare(db, sql_layout);
    bc_db_result_t result = bc_step(statement);
    if (result == BC_DB_ROW) {
        *layout = bc_column_int(statement, 0);
        *whole = bc_column_int(statement, 1) != 0;
    }
    bc_statement_done(statement);
    return result == BC_DB_ROW || result == BC_DB_DONE;
}

static bool make_tables(bc_db_t *db) {
    for (size_t i = 0; i < sizeof(sql_make) / sizeof(sql_make[0]); i++) {
        if (!run(db, sql_make[i])) return false;
    }
    bc_statement_t *statement = bc_db_prepare(db, sql_put_layout);
    bc_bind_int(statement, 1, LAYOUT);
    return bc_run(statement) == BC_DB_DONE;
}

void *library_fts5_open(bc_db_t *db) {
    fts5_t *fts5 = calloc(1, sizeof(*fts5));
    if (fts5 == NULL || bc_db_begin(db) != BC_DB_OK) {
        free(fts5);
        return NULL;
    }
    fts5->db = db;
    int64_t layout = 0;
    bool whole = false;
    bool good = run(db, sql_make_layout) && read_layout(db, &layout, &whole) && (layout == LAYOUT || make_tables(db));
    if (!good) {
        bc_db_rollback(db);
    } else {
        good = bc_db_commit(db) == BC_DB_OK;
    }
    if (good) return fts5;
    free(fts5);
    return NULL;
}

static void fts5_close(void *engine) {
    free(((fts5_t *)engine)->counts);
    free(engine);
}

static bool fts5_is_whole(void *engine) {
    fts5_t *fts5 = engine;
    int64_t layout = 0;
    bool whole = false;
    bc_db_enter(fts5->db);
    bool read = read_layout(fts5->db, &layout, &whole);
    bc_db_leave(fts5->db);
    return read && whole;
}

static bool fts5_set_whole(void *engine) {
    return run(((fts5_t *)engine)->db, sql_set_whole);
}

/* --- the words that are known --- */

typedef struct {
    char *line;        /* owned copy, cut into words */
    const char **list; /* owned; sorted, each once */
    size_t count;
} word_set_t;

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void word_set_free(word_set_t *set) {
    free(set->line);
    free(set->list);
}

static bool word_set_make(const char *title, const char *authors, word_set_t *set) {
    size_t size = strlen(title) + strlen(authors) + 2, words = 0;
    *set = (word_set_t){.line = malloc(size), .list = malloc(size * sizeof(*set->list))};
    if (set->line == NULL || set->list == NULL) return false;
    (void)snprintf(set->line, size, "%s %s", title, authors); /* made to fit */
    for (char *rest = NULL, *word = strtok_r(set->line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        set->list[words++] = word;
    qsort(set->list, words, sizeof(*set->list), compare_texts);
    for (size_t i = 0; i < words; i++) {
        if (set->count == 0 || strcmp(set->list[set->count - 1], set->list[i]) != 0)
            set->list[set->count++] = set->list[i];
    }
    return true;
}

/* Notes what is in `set` and not in `other`. false without memory. */
static bool note_difference(fts5_t *fts5, const word_set_t *set, const word_set_t *other, int64_t difference) {
    for (size_t i = 0; i < set->count; i++) {
        if (other->count > 0 && bsearch(&set->list[i], other->list, other->count, sizeof(*other->list), compare_texts))
            continue;
        if (fts5->count_count == fts5->count_room) {
            size_t room = fts5->count_room == 0 ? 256 : fts5->count_room * 2;
            word_count_t *grown = realloc(fts5->counts, room * sizeof(*grown));
            if (grown == NULL) return false;
            fts5->counts = grown;
            fts5->count_room = room;
        }
        word_count_t *count = &fts5->counts[fts5->count_count++];
        (void)snprintf(count->text, sizeof(count->text), "%s", set->list[i]); /* a word: it fits */
        count->difference = difference;
    }
    return true;
}

typedef void (*trigram_fn)(void *context, const char *trigram);

/* "^em" "emm" "mma" "ma$". Nothing for words under three letters or with digits. Returns the word's letters, 0: nothing. */
static size_t each_trigram(const char *word, trigram_fn take, void *context) {
    const char *starts[library_word_bytes_max + 3];
    char framed[library_word_bytes_max + 3];
    size_t points = 0;
    if (strpbrk(word, "0123456789+#") != NULL) return 0;
    (void)snprintf(framed, sizeof(framed), "^%s$", word); /* made to fit */
    const char *at = framed;
    while (*at != '\0') {
        starts[points++] = at;
        (void)library_utf8_next(&at); /* only the step counts */
    }
    starts[points] = at;
    if (points < 5) return 0;
    for (size_t i = 0; i + 3 <= points; i++) {
        char trigram[16];
        (void)snprintf(trigram, sizeof(trigram), "%.*s", (int)(starts[i + 3] - starts[i]), starts[i]); /* 12 at most */
        take(context, trigram);
    }
    return points - 2;
}

typedef struct {
    library_text_t *json;
    const char *word;
    size_t letters;
} trigrams_t;

static void put_trigram(void *context, const char *trigram) {
    const trigrams_t *to = context;
    library_text_next(to->json);
    library_text_print(to->json, "[\"%s\",%zu,\"%s\"]", trigram, to->letters, to->word);
}

static size_t letters_of(const char *word) {
    size_t letters = 0;
    for (; *word != '\0'; letters++) (void)library_utf8_next(&word); /* only the step counts */
    return letters;
}

static int compare_counts(const void *a, const void *b) {
    return strcmp(((const word_count_t *)a)->text, ((const word_count_t *)b)->text);
}

/* What was noted, as JSON: each word once, those that came and went left out. */
static void put_counts(fts5_t *fts5, library_text_t *json) {
    qsort(fts5->counts, fts5->count_count, sizeof(*fts5->counts), compare_counts);
    library_text_put(json, "[");
    for (size_t i = 0, next; i < fts5->count_count; i = next) {
        int64_t sum = 0;
        for (next = i; next < fts5->count_count && compare_counts(&fts5->counts[i], &fts5->counts[next]) == 0; next++)
            sum += fts5->counts[next].difference;
        if (sum == 0) continue;
        library_text_next(json); /* words hold nothing that JSON would escape */
        library_text_print(json, "[\"%s\",%lld]", fts5->counts[i].text, (long long)sum);
    }
    library_text_put(json, "]");
    fts5->count_count = 0;
}

static void run_with(bc_db_t *db, const char *sql, const library_text_t *json) {
    bc_statement_t *statement = bc_db_prepare(db, sql);
    bc_bind_text(statement, 1, json->bytes);
    (void)bc_run(statement); /* errors stick */
}

/* Writes what was noted. Statements: 3. */
static void write_words(fts5_t *fts5) {
    library_text_t counts = {0}, trigrams = {0};
    if (fts5->count_count == 0) return;
    put_counts(fts5, &counts);
    library_text_put(&trigrams, "[");
    bc_statement_t *fresh = bc_db_prepare(fts5->db, sql_new_words);
    bc_bind_text(fresh, 1, counts.failed ? "[]" : counts.bytes);
    while (bc_step(fresh) == BC_DB_ROW) {
        const char *word = bc_column_text(fresh, 0);
        trigrams_t to = {.json = &trigrams, .word = word, .letters = letters_of(word)};
        (void)each_trigram(word, put_trigram, &to); /* none for short ones */
    }
    bc_statement_done(fresh);
    library_text_put(&trigrams, "]");
    if (counts.failed || trigrams.failed) {
        bc_db_spoil(fts5->db);
    } else {
        run_with(fts5->db, sql_put_trigrams, &trigrams);
        run_with(fts5->db, sql_count_words, &counts);
    }
    library_text_free(&counts);
    library_text_free(&trigrams);
}

static void change_words(fts5_t *fts5, const char *old_title, const char *old_authors, const char *title,
                         const char *authors) {
    word_set_t before = {0}, after = {0};
    if (!fts5->together) fts5->count_count = 0; /* of a transaction that was given up */
    bool good = word_set_make(old_title, old_authors, &before) && word_set_make(title, authors, &after) &&
                note_difference(fts5, &after, &before, 1) && note_difference(fts5, &before, &after, -1);
    if (!good) bc_db_spoil(fts5->db);
    if (good && !fts5->together) write_words(fts5);
    word_set_free(&before);
    word_set_free(&after);
}

static void fts5_begin(void *engine) {
    fts5_t *fts5 = engine;
    fts5->together = true;
    fts5->count_count = 0;
}

static void fts5_end(void *engine, bool keep) {
    fts5_t *fts5 = engine;
    fts5->together = false;
    if (keep) write_words(fts5);
}

/* --- writing --- */

/* A title as it may be asked for in one word: as it stands, without what follows a colon or bracket, and that without its article. */
static void write_whole(const char *title, char *whole, size_t size) {
    static const char *const articles[] = {"the ", "a ",   "an ", "le ",  "la ",  "les ", "un ", "une ", "der ", "die ",
                                           "das ", "ein ", "el ", "los ", "las ", "il ",  "lo ", "i ",   "gli ", "o "};
    char one[whole_bytes], shorter[library_title_bytes_max + 1], folded[LIBRARY_FOLD_BYTES_MAX];
    library_words_whole(title, one, sizeof(one));
    size_t used = (size_t)snprintf(whole, size, "%s", one);
    (void)snprintf(shorter, sizeof(shorter), "%s", title); /* checked: it fits */
    size_t end = strcspn(shorter, "(:;");
    if (end > 0) shorter[end] = '\0';
    library_words_whole(shorter, one, sizeof(one));
    if (end > 0 && end < strlen(title)) used += (size_t)snprintf(whole + used, size - used, " %s", one);
    library_fold(shorter, folded, sizeof(folded));
    for (size_t i = 0; i < sizeof(articles) / sizeof(articles[0]); i++) {
        size_t length = strlen(articles[i]);
        if (strncmp(folded, articles[i], length) != 0) continue;
        library_words_whole(folded + length, one, sizeof(one));
        (void)snprintf(whole + used, size - used, " %s", one); /* three of them fit */
        return;
    }
}

static void write_lines(fts5_t *fts5, const library_book_t *book) {
    write_whole(book->title, fts5->whole, sizeof(fts5->whole));
    library_words_line(book->title, fts5->title, sizeof(fts5->title));
    library_words_line(book->description == NULL ? "" : book->description, fts5->description,
                       sizeof(fts5->description));
    size_t used = 0;
    fts5->authors[0] = '\0';
    for (size_t i = 0; i < book->author_count && used + 2 < sizeof(fts5->authors); i++) {
        if (i > 0) fts5->authors[used++] = ' ';
        library_words_line(book->authors[i], fts5->authors + used, sizeof(fts5->authors) - used);
        used += strlen(fts5->authors + used);
    }
}

static bool column_is(bc_statement_t *statement, int column, const char *text) {
    const char *stored = bc_column_text(statement, column);
    return stored != NULL && strcmp(stored, text) == 0;
}

/* Statements: 1 when no text of the book is different, else 2, and 3 for other words than before. */
static void fts5_put(void *engine, const library_book_t *book) {
    fts5_t *fts5 = engine;
    write_lines(fts5, book);
    bc_statement_t *old = bc_db_prepare(fts5->db, sql_old);
    bc_bind_int(old, 1, book->id);
    bool there = bc_step(old) == BC_DB_ROW;
    bool same_words = there && column_is(old, 1, fts5->title) && column_is(old, 2, fts5->authors);
    bool same = same_words && column_is(old, 0, fts5->whole) && column_is(old, 3, fts5->description);
    if (!same_words) {
        const char *title = there ? bc_column_text(old, 1) : "", *authors = there ? bc_column_text(old, 2) : "";
        change_words(fts5, title == NULL ? "" : title, authors == NULL ? "" : authors, fts5->title, fts5->authors);
    }
    bc_statement_done(old);
    if (same) return;
    bc_statement_t *put = bc_db_prepare(fts5->db, sql_put);
    bc_bind_int(put, 1, book->id);
    bc_bind_text(put, 2, fts5->whole);
    bc_bind_text(put, 3, fts5->title);
    bc_bind_text(put, 4, fts5->authors);
    bc_bind_text(put, 5, fts5->description);
    (void)bc_run(put); /* errors stick */
}

/* Statements: 5, however many books. */
static void fts5_drop(void *engine, const char *books) {
    fts5_t *fts5 = engine;
    bool alone = !fts5->together;
    if (alone) fts5_begin(fts5);
    bc_statement_t *old = bc_db_prepare(fts5->db, sql_old_of);
    bc_bind_text(old, 1, books);
    while (bc_step(old) == BC_DB_ROW) change_words(fts5, bc_column_text(old, 0), bc_column_text(old, 1), "", "");
    bc_statement_done(old);
    bc_statement_t *drop = bc_db_prepare(fts5->db, sql_drop);
    bc_bind_text(drop, 1, books);
    (void)bc_run(drop); /* errors stick */
    if (alone) fts5_end(fts5, true);
}

/* --- finding --- */

typedef struct {
    char text[library_word_bytes_max + 1];
    int distance;
    int64_t books;
} near_t;

typedef struct {
    library_word_t word;
    int64_t exact, longer; /* books */
    bool last;
    near_t near[near_max]; /* best first */
    size_t near_count;
} asked_t;

typedef struct {
    asked_t words[library_query_words_max];
    size_t count;
} query_t;

static int edits_allowed(size_t letters) {
    return letters < 3 ? 0 : letters <= 5 ? 1 : 2;
}

static bool ask_known(bc_db_t *db, query_t *query) {
    library_text_t json = {0};
    library_text_put(&json, "[");
    for (size_t i = 0; i < query->count; i++) {
        library_text_next(&json);
        library_text_print(&json, "\"%s\"", query->words[i].word.text);
    }
    library_text_put(&json, "]");
    bc_statement_t *statement = bc_db_prepare(db, sql_known);
    bc_bind_text(statement, 1, json.failed ? "[]" : json.bytes);
    bc_db_result_t result;
    while ((result = bc_step(statement)) == BC_DB_ROW) {
        int64_t i = bc_column_int(statement, 0);
        assert(i >= 0 && (size_t)i < query->count);
        query->words[i].exact = bc_column_int(statement, 1);
        query->words[i].longer = bc_column_int(statement, 2);
    }
    bc_statement_done(statement);
    bool good = result == BC_DB_DONE && !json.failed;
    library_text_free(&json);
    return good;
}

typedef struct {
    library_text_t *json;
    size_t number, letters;
    int edits;
} asking_t;

static void ask_trigram(void *context, const char *trigram) {
    const asking_t *asking = context;
    size_t edits = (size_t)asking->edits;
    /* An edit touches three trigrams, a swap four. */
    size_t common = asking->letters > 4 * edits + 1 ? asking->letters - 4 * edits : 1;
    library_text_next(asking->json);
    library_text_print(asking->json, "[%zu,\"%s\",%zu,%zu,%zu]", asking->number, trigram, asking->letters - edits,
                       asking->letters + edits, common);
}

static void keep_near(asked_t *asked, const char *word, int64_t books) {
    int most = edits_allowed(asked->word.points);
    near_t one = {.books = books};
    if (strlen(word) > library_word_bytes_max) return;
    one.distance = library_words_distance(asked->word.text, word, most);
    if (one.distance > most) return;
    memcpy(one.text, word, strlen(word) + 1);
    size_t at = asked->near_count;
    while (at > 0 && (one.distance < asked->near[at - 1].distance ||
                      (one.distance == asked->near[at - 1].distance && one.books > asked->near[at - 1].books)))
        at--;
    if (at == near_max) return;
    if (asked->near_count < near_max) asked->near_count++;
    memmove(&asked->near[at + 1], &asked->near[at], (asked->near_count - at - 1) * sizeof(near_t));
    asked->near[at] = one;
}

static bool ask_near(bc_db_t *db, query_t *query) {
    library_text_t json = {0};
    library_text_put(&json, "[");
    for (size_t i = 0; i < query->count; i++) {
        const library_word_t *word = &query->words[i].word;
        int edits = edits_allowed(word->points);
        if (query->words[i].exact > 0 || edits == 0) continue;
        asking_t asking = {.json = &json, .number = i, .letters = word->points, .edits = edits};
        (void)each_trigram(word->text, ask_trigram, &asking); /* none for numbers */
    }
    library_text_put(&json, "]");
    bc_statement_t *statement = bc_db_prepare(db, sql_near);
    bc_bind_text(statement, 1, json.failed ? "[]" : json.bytes);
    bc_bind_int(statement, 2, near_rows_max);
    bc_db_result_t result;
    while ((result = bc_step(statement)) == BC_DB_ROW) {
        int64_t i = bc_column_int(statement, 0);
        assert(i >= 0 && (size_t)i < query->count);
        keep_near(&query->words[i], bc_column_text(statement, 1), bc_column_int(statement, 2));
    }
    bc_statement_done(statement);
    /* Words that are one edit away make those two away improbable. */
    for (size_t i = 0; i < query->count; i++) {
        asked_t *asked = &query->words[i];
        while (asked->near_count > 0 && asked->near[asked->near_count - 1].distance > asked->near[0].distance)
            asked->near_count--;
    }
    bool good = result == BC_DB_DONE && !json.failed;
    library_text_free(&json);
    return good;
}

/* As the beginning of longer words: the last one, and what is no word by itself. */
static bool is_beginning(const asked_t *asked) {
    bool long_enough = asked->word.points >= 2 || (unsigned char)asked->word.text[0] >= 0x80;
    return long_enough && (asked->exact == 0 || (asked->last && asked->word.open));
}

static bool is_corrected(const asked_t *asked, bool some) {
    return asked->near_count > 0 && (some || asked->longer == 0 || !asked->last);
}

/* ("emna" OR "emna"* OR "emma"); words are letters, digits, + and #: quoted they are words to FTS5 whatever they spell. */
static int64_t put_word(library_text_t *text, const asked_t *asked, bool some, library_found_t *found) {
    int64_t books = asked->exact;
    bool beginning = is_beginning(asked);
    library_text_print(text, "(\"%s\"", asked->word.text);
    if (beginning) {
        library_text_print(text, " OR \"%s\"*", asked->word.text);
        books += asked->longer;
    }
    library_found_term(found, asked->word.text, beginning);
    for (size_t i = 0; i < asked->near_count && is_corrected(asked, some); i++) {
        library_text_print(text, " OR \"%s\"", asked->near[i].text);
        library_found_term(found, asked->near[i].text, false);
        books += asked->near[i].books;
    }
    library_text_put(text, ")");
    return books;
}

/* All words, or the whole title written as one. */
static void write_all(const query_t *query, const char *whole, library_text_t *text, bool *rank,
                      library_found_t *found) {
    int64_t rarest = INT64_MAX;
    library_text_put(text, "(");
    for (size_t i = 0; i < query->count; i++) {
        if (i > 0) library_text_put(text, " AND ");
        int64_t books = put_word(text, &query->words[i], false, found);
        if (books < rarest) rarest = books;
    }
    library_text_put(text, ")");
    if (whole[0] != '\0') {
        library_text_print(text, " OR whole:\"%s\"", whole);
        if (strlen(whole) >= 4) library_text_print(text, " OR whole:\"%s\"*", whole);
    }
    *rank = rarest <= broad;
}

/* Any word; those that are so common that they say nothing beside the rarest are left out. */
static void write_some(const query_t *query, library_text_t *text, bool *rank, library_found_t *found) {
    int64_t rarest = INT64_MAX, sum = 0;
    for (size_t i = 0; i < query->count; i++) {
        int64_t books = query->words[i].exact;
        if (books > 0 && books < rarest) rarest = books;
    }
    for (size_t i = 0; i < query->count; i++) {
        if (rarest < INT64_MAX && query->words[i].exact > rarest * common_times) continue;
        if (text->used > 0) library_text_put(text, " OR ");
        sum += put_word(text, &query->words[i], true, found);
    }
    *rank = sum <= broad;
}

/* bm25 is negative, better is less. What differs by less than a step is one score, and popularity decides: the length of a subtitle or
 * the number of translators says nothing about what is meant. */
static int32_t score_of(double bm25) {
    return bm25 >= -1e-9 ? -30 * steps : (int32_t)lround(steps * log2(-bm25));
}

static bool match(bc_db_t *db, const char *expression, bool look, bool rank, library_found_t *found) {
    bc_statement_t *statement = bc_db_prepare(db, sql_match);
    bc_bind_text(statement, 1, expression);
    bc_bind_int(statement, 2, look ? 1 : 0);
    bc_bind_int(statement, 3, rank ? 1 : 0);
    bc_bind_int(statement, 4, library_hits_max);
    bc_db_result_t result;
    bool good = true;
    while (good && (result = bc_step(statement)) == BC_DB_ROW)
        good =
            library_found_add(found, bc_column_int(statement, 0), rank ? score_of(bc_column_double(statement, 1)) : 0);
    bc_statement_done(statement);
    return good && result == BC_DB_DONE;
}

static bool find_entered(bc_db_t *db, query_t *query, const char *whole, library_found_t *found) {
    library_text_t text = {0};
    bool rank = false;
    bool good = ask_known(db, query) && ask_near(db, query);
    if (good) {
        write_all(query, whole, &text, &rank, found);
        good = !text.failed && match(db, text.bytes, true, rank, found);
    }
    if (good) {
        bool some = found->count == 0;
        library_text_free(&text);
        if (some) {
            found->term_count = 0;
            found->some = true;
            write_some(query, &text, &rank, found);
        }
        good = !text.failed && match(db, some ? text.bytes : "\"\"", some, rank, found);
    }
    library_text_free(&text);
    return good;
}

static library_search_result_t fts5_find(void *engine, const char *text, library_found_t *found) {
    fts5_t *fts5 = engine;
    library_word_t words[library_query_words_max];
    char whole[whole_bytes];
    query_t query;
    memset(&query, 0, sizeof(query));
    query.count = library_query_words(text, words);
    for (size_t i = 0; i < query.count; i++) query.words[i] = (asked_t){.word = words[i], .last = i + 1 == query.count};
    library_words_whole(text, whole, sizeof(whole));
    if (query.count == 0) return LIBRARY_SEARCH_OK; /* signs alone: nothing to look for */
    bc_db_t *db = bc_db_enter_read(fts5->db);
    bool good = find_entered(db, &query, whole, found);
    bc_db_leave(db);
    return good ? LIBRARY_SEARCH_OK : LIBRARY_SEARCH_FAILED;
}

static library_search_result_t fts5_suggest(void *engine, const char *text, library_found_t *found) {
    fts5_t *fts5 = engine;
    library_word_t words[library_query_words_max];
    library_text_t expression = {0};
    size_t count = library_query_words(text, words);
    if (count == 0) return LIBRARY_SEARCH_OK;
    library_text_put(&expression, "{title authors} : (");
    for (size_t i = 0; i < count; i++) {
        library_text_print(&expression, "%s\"%s\"*", i == 0 ? "" : " AND ", words[i].text);
        library_found_term(found, words[i].text, true);
    }
    library_text_put(&expression, ")");
    bc_db_t *db = bc_db_enter_read(fts5->db);
    bc_statement_t *statement = bc_db_prepare(db, sql_suggest);
    bc_bind_text(statement, 1, expression.failed ? NULL : expression.bytes);
    bc_bind_int(statement, 2, library_hits_max);
    bc_db_result_t result = BC_DB_FAILED;
    bool good = !expression.failed;
    while (good && (result = bc_step(statement)) == BC_DB_ROW)
        good = library_found_add(found, bc_column_int(statement, 0), 0);
    bc_statement_done(statement);
    bc_db_leave(db);
    library_text_free(&expression);
    return good && result == BC_DB_DONE ? LIBRARY_SEARCH_OK : LIBRARY_SEARCH_FAILED;
}

const library_engine_t library_engine_fts5 = {
    .name = "fts5",
    .put = fts5_put,
    .drop = fts5_drop,
    .begin = fts5_begin,
    .end = fts5_end,
    .is_whole = fts5_is_whole,
    .set_whole = fts5_set_whole,
    .find = fts5_find,
    .suggest = fts5_suggest,
    .close = fts5_close,
};
