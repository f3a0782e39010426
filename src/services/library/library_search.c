#include "services/library/library_search.h"

#include "platform/bc_fault.h"
#include "platform/bc_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct library_search {
    const library_engine_t *engine;
    void *state; /* owned */
    bc_db_t *db; /* borrowed */
};

library_search_t *library_search_open(const char *setting, bc_db_t *db) {
    library_search_t *search = calloc(1, sizeof(*search));
    if (search == NULL) return NULL;
    assert(strcmp(setting, "fts5:") == 0); /* the settings were judged: no other engine is known yet */
    search->engine = &library_engine_fts5;
    search->db = db;
    search->state = library_fts5_open(db);
    if (search->state == NULL) {
        bc_log(BC_LOG_ERROR, "search-not-opened", bc_f_text("engine", setting));
        free(search);
        return NULL;
    }
    return search;
}

void library_search_close(library_search_t *search) {
    if (search == NULL) return;
    search->engine->close(search->state);
    free(search);
}

const char *library_search_name(const library_search_t *search) {
    return search->engine->name;
}

void library_search_put(library_search_t *search, const library_book_t *book) {
    if (search->engine->put != NULL) search->engine->put(search->state, book);
}

void library_search_drop(library_search_t *search, const char *books) {
    if (search->engine->drop != NULL) search->engine->drop(search->state, books);
}

void library_search_begin(library_search_t *search) {
    if (search->engine->begin != NULL) search->engine->begin(search->state);
}

void library_search_end(library_search_t *search, bool keep) {
    if (search->engine->end != NULL) search->engine->end(search->state, keep);
}

bool library_search_is_whole(library_search_t *search) {
    return search->engine->is_whole(search->state);
}

bool library_search_set_whole(library_search_t *search) {
    return search->engine->set_whole(search->state);
}

static library_search_result_t ask(library_search_t *search, const char *text, library_found_t *found,
                                   library_search_result_t (*how)(void *, const char *, library_found_t *)) {
    memset(found, 0, sizeof(*found));
    library_search_result_t result =
        bc_fault("library.search-away") ? LIBRARY_SEARCH_AWAY : how(search->state, text, found);
    if (result != LIBRARY_SEARCH_AWAY) return result;
    library_found_free(found);
    found->plain = true;
    return library_search_plain(search->db, text, found);
}

library_search_result_t library_search_find(library_search_t *search, const char *text, library_found_t *found) {
    return ask(search, text, found, search->engine->find);
}

library_search_result_t library_search_suggest(library_search_t *search, const char *text, library_found_t *found) {
    return ask(search, text, found, search->engine->suggest);
}

void library_found_free(library_found_t *found) {
    free(found->hits);
    memset(found, 0, sizeof(*found));
}

bool library_found_add(library_found_t *found, int64_t book, int32_t score) {
    if (found->count == library_hits_max) return false;
    if (found->count == found->room) {
        size_t room = found->room == 0 ? 256 : found->room * 2;
        library_hit_t *grown = realloc(found->hits, room * sizeof(*grown));
        if (grown == NULL) return false;
        found->hits = grown;
        found->room = room;
    }
    found->hits[found->count++] = (library_hit_t){.book = book, .score = score};
    return true;
}

void library_found_term(library_found_t *found, const char *text, bool beginning) {
    assert(strlen(text) <= library_word_bytes_max);
    if (found->term_count == library_terms_max) return; /* what is not marked is found all the same */
    library_term_t *term = &found->terms[found->term_count++];
    memcpy(term->text, text, strlen(text) + 1);
    term->beginning = beginning;
}

size_t library_query_words(const char *text, library_word_t words[library_query_words_max]) {
    library_words_t walk;
    library_word_t word;
    size_t count = 0;
    library_words_begin(&walk, text, true);
    while (count < library_query_words_max && library_words_next(&walk, &word)) {
        if (word.text[0] != '\0') words[count++] = word;
    }
    return count;
}
