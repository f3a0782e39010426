/* How commands reach the services of a data folder: their names, their internal listeners, the key. */
#include "program.h"

#include "platform/bc_secret.h"

#include <unistd.h>

const program_service_t program_services[PROGRAM_SERVICES] = {{"auth", BC_AUTH_INTERNAL},
                                                              {"library", BC_LIBRARY_INTERNAL},
                                                              {"cart", BC_CART_INTERNAL},
                                                              {"payment", BC_PAYMENT_INTERNAL},
                                                              {"question", BC_QUESTION_INTERNAL}};

bool program_service_key(const bc_config_t *config, const char *command, char *key, size_t size) {
    char path[PATH_MAX];
    bool is_there = bc_config_is_set(config, BC_SERVICE_KEY) ||
                    (bc_config_path(config, "keys/service.key", path, sizeof(path)) && access(path, R_OK) == 0);
    if (is_there && bc_secret_service_key(config, false, key, size)) return true;
    fprintf(stderr, "bookcart: %s: %s has no service key: no shop was ever started on it\n", command,
            bc_config_text(config, BC_DATA));
    return false;
}
