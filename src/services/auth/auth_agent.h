/*
 * What a session remembers of the browser it was opened with: "firefox/linux", so that its owner knows it again in the list. A word from
 * a table for each half and nothing of the header itself, which can name a person's machine exactly. Pure.
 */
#ifndef AUTH_AGENT_H
#define AUTH_AGENT_H

#include "services/auth/auth_store.h"

/* `user_agent` NULL or strange: "other/other". */
void auth_agent_name(const char *user_agent, char name[AUTH_AGENT_BYTES]);
/* The two halves of a stored name; "other" where it has none. */
void auth_agent_halves(const char *name, char browser[AUTH_AGENT_BYTES], char system[AUTH_AGENT_BYTES]);

#endif
