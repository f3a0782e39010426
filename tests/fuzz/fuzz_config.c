/*
 * A settings file of any bytes: taken or refused with a reason, never read past its end. What is taken must finish or be refused, print, and be
 * taken again as printed (secrets aside): what bc_config_print writes is a settings file.
 */
#include "platform/bc_config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_and_read_again(const bc_config_t *config) {
    char *page = NULL, reason[BC_CONFIG_REASON_BYTES] = "";
    size_t length = 0;
    FILE *out = open_memstream(&page, &length);
    if (out == NULL) return;
    bc_config_print(config, out);
    if (fclose(out) == 0 && bc_config_text(config, BC_SERVICE_KEY)[0] == '\0') {
        bc_config_t *again = bc_config_create();
        if (again != NULL) {
            /* Listeners are empty without a data folder: such a page is refused, and must be for that reason. */
            bool good = bc_config_read_text(again, "printed", page, length, reason);
            assert(good || bc_config_text(config, BC_DATA)[0] == '\0');
            for (int key = 0; good && key < BC_KEY_COUNT; key++)
                assert(strcmp(bc_config_text(config, (bc_key_t)key), bc_config_text(again, (bc_key_t)key)) == 0);
        }
        bc_config_destroy(again);
    }
    free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char reason[BC_CONFIG_REASON_BYTES] = "";
    bc_config_t *config = bc_config_create();
    if (config == NULL) return 0;
    /* NAME_FILE would open files that the input names. */
    if (memmem(data, size, "_FILE", 5) != NULL) {
        bc_config_destroy(config);
        return 0;
    }
    bool good = bc_config_read_text(config, "fuzz", (const char *)data, size, reason);
    assert(good || strncmp(reason, "fuzz:", 5) == 0);
    if (good) {
        good = bc_config_finish(config, reason);
        assert(good || reason[0] != '\0');
        if (good) print_and_read_again(config);
    }
    bc_config_destroy(config);
    return 0;
}
