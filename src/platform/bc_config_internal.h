/* What bc_config.c and bc_config_together.c share; nobody else includes it. */
#ifndef BC_CONFIG_INTERNAL_H
#define BC_CONFIG_INTERNAL_H

#include "platform/bc_config.h"

/* Writes the reason and is false. */
__attribute__((format(printf, 2, 3))) bool bc_config_refuse(char *reason, const char *format, ...);

/* Every word of a list, in turn, into `word`; false at the end, or with *too_long when one does not fit. */
bool bc_config_next_word(const char **rest, char *word, size_t size, bool *too_long);

/* Where the value came from: "shop.conf:12", "environment", "default". Borrowed from the config. */
const char *bc_config_origin(const bc_config_t *config, bc_key_t key);

/* false: *reason says which setting does not go with which. */
bool bc_config_judge_together(const bc_config_t *config, char reason[BC_CONFIG_REASON_BYTES]);

#endif
