/*
 * bookcart: one program for everything. This file reads the command line: `commands` names every command with its usage, its
 * options and what it calls. Whatever is unknown is refused with the usage line and exit code 2, before anything is touched;
 * settings that cannot work are refused with 1.
 */
#include "program.h"

#include "platform/bc_log.h"
#include "platform/bc_picture.h"
#include "platform/bc_random.h"
#include "services/auth/auth.h"
#include "services/cart/cart_service.h"
#include "services/library/library.h"
#include "services/payment/payment.h"
#include "services/question/question.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

#define USAGE_ERROR 2

typedef struct {
    const char *data, *listen, *config, *folder; /* NULL: not given; all but listen are absolute */
    const char *all_of;                          /* NULL: not given */
    const char *words[2];                        /* what is not an option */
    int word_count;
    bool help;
} options_t;

typedef struct {
    const char *name, *usage, *what;
    int words;       /* how many it takes besides options */
    bool listens;    /* takes --listen */
    bool supervises; /* prepares the data folder itself */
    int (*run)(const bc_config_t *config, const options_t *options);
    const char *folder;  /* the option that names a folder, and must be given; NULL: none */
    bool words_may_lack; /* fewer are fine */
    bool has_all_of;     /* takes --all-of */
} command_t;

static int run_up(const bc_config_t *config, const options_t *options) {
    return program_up(config, options->config);
}

static int run_serve(const bc_config_t *config, const options_t *options) {
    static const struct {
        const char *name;
        int (*main)(const bc_config_t *config);
    } services[] = {{"auth", auth_service_main},
                    {"library", library_service_main},
                    {"cart", cart_service_main},
                    {"payment", payment_service_main},
                    {"question", question_service_main}};
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        if (strcmp(options->words[0], services[i].name) == 0) return services[i].main(config);
    }
    fprintf(stderr, "bookcart: serve: no service \"%s\" (there are auth, library, cart, payment, question)\n",
            options->words[0]);
    return USAGE_ERROR;
}

static int run_migrate(const bc_config_t *config, const options_t *options) {
    (void)options; /* takes none */
    if (auth_service_migrate(config) != 0 || library_service_migrate(config) != 0 ||
        cart_service_migrate(config) != 0 || payment_service_migrate(config) != 0 ||
        question_service_migrate(config) != 0)
        return 1;
    printf("bookcart: migrate: every store in %s is at this program's form\n", bc_config_text(config, BC_DATA));
    return 0;
}

static int run_import(const bc_config_t *config, const options_t *options) {
    return library_import(config, options->words[0]);
}

static int run_admin(const bc_config_t *config, const options_t *options) {
    if (strcmp(options->words[0], "create") == 0) return auth_admin_create(config, options->words[1]);
    if (strcmp(options->words[0], "password") == 0) return auth_admin_password(config, options->words[1]);
    fprintf(stderr, "bookcart: admin: unknown \"%s\"; usage: bookcart admin create|password EMAIL --data DIR\n",
            options->words[0]);
    return USAGE_ERROR;
}

static int run_keys(const bc_config_t *config, const options_t *options) {
    if (strcmp(options->words[0], "rotate") != 0) {
        fprintf(stderr, "bookcart: keys: unknown \"%s\"; usage: bookcart keys rotate --data DIR\n", options->words[0]);
        return USAGE_ERROR;
    }
    return auth_keys_rotate(config);
}

static int run_backup(const bc_config_t *config, const options_t *options) {
    return program_backup(config, options->folder);
}

static int run_restore(const bc_config_t *config, const options_t *options) {
    return program_restore(config, options->folder);
}

static int run_events(const bc_config_t *config, const options_t *options) {
    return program_events(config, options->word_count > 0 ? options->words[0] : NULL,
                          options->word_count > 1 ? options->words[1] : NULL, options->all_of);
}

static int run_settings(const bc_config_t *config, const options_t *options) {
    (void)options; /* takes none */
    bc_config_print(config, stdout);
    return 0;
}

static const command_t commands[] = {
    {"up", "up --data DIR [--listen ADDR:PORT] [--config FILE]", "everything on one machine, nginx too", 0, true, true,
     .run = run_up},
    {"serve", "serve auth|library|cart|payment|question --data DIR|--config FILE", "one service", 1, false, false,
     .run = run_serve},
    {"migrate", "migrate --data DIR|--config FILE", "bring every store to this program's form", 0, false, false,
     .run = run_migrate},
    {"import", "import FILE.csv --data DIR|--config FILE", "books into the catalogue; a repeat changes nothing", 1,
     false, false, .run = run_import},
    {"admin", "admin create|password EMAIL --data DIR|--config FILE",
     "an administrator, or another password for one; it is read from standard input", 2, false, false,
     .run = run_admin},
    {"keys", "keys rotate --data DIR|--config FILE", "publish a new signing key", 1, false, false, .run = run_keys},
    {"events", "events [list|replay [EVENT]|discard EVENT|discard --all-of TYPE] --data DIR|--config FILE",
     "how far services follow each other; what they could not apply; try that again, or give it up", 2, false, false,
     run_events, .words_may_lack = true, .has_all_of = true},
    {"backup", "backup --to DIR --data DIR|--config FILE", "one cut of everything, while the shop runs", 0, false,
     false, run_backup, .folder = "--to"},
    {"restore", "restore --from DIR --data NEWDIR|--config FILE", "a backup into a new folder; every session ends", 0,
     false, true, run_restore, .folder = "--from"},
    {"settings", "settings --data DIR|--config FILE", "print every setting as it is in force, secrets as ***", 0, true,
     true, .run = run_settings},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out) {
    fprintf(out, "bookcart %s, an online bookstore's back end\n\nusage:\n", BOOKCART_VERSION);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  bookcart %s\n      %s\n", commands[i].usage, commands[i].what);
    fputs("  bookcart settings --reference\n      every setting there is, as the table of docs/OPERATIONS.md\n"
          "  bookcart routes [internal]\n      every public route, or those of the internal listeners: service, "
          "method, path, who may call\n"
          "  bookcart problems\n      every problem of the API: name, status, titles\n"
          "  bookcart --help | --version\n\n"
          "Settings come from --config FILE (KEY = value) and from the environment, which wins.\n",
          out);
}

/* An absolute path of `text`, which lives as long as the program. NULL: it does not fit or there is no memory. */
static const char *absolute(const char *text) {
    if (text[0] == '/') return text;
    char here[PATH_MAX];
    char *path = NULL;
    if (getcwd(here, sizeof(here)) == NULL || asprintf(&path, "%s/%s", here[1] == '\0' ? "" : here, text) < 0)
        return NULL;
    return path;
}

/* false after a message. */
static bool read_options(const command_t *command, int count, char **arguments, options_t *options) {
    options_t read = {0};
    bool only_words = false;
    bool help = false;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        if (only_words || argument[0] != '-') {
            if (read.word_count == command->words) {
                fprintf(stderr, "bookcart: %s: too much: \"%s\"\n", command->name, argument);
                return false;
            }
            read.words[read.word_count++] = argument;
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            only_words = true;
            continue;
        }
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            help = true;
            continue;
        }
        const char **place = strcmp(argument, "--data") == 0                                     ? &read.data
                             : strcmp(argument, "--config") == 0                                 ? &read.config
                             : command->listens && strcmp(argument, "--listen") == 0             ? &read.listen
                             : command->has_all_of && strcmp(argument, "--all-of") == 0          ? &read.all_of
                             : command->folder != NULL && strcmp(argument, command->folder) == 0 ? &read.folder
                                                                                                 : NULL;
        if (place == NULL) {
            fprintf(stderr, "bookcart: %s: unknown option %s\n", command->name, argument);
            return false;
        }
        if (*place != NULL || i + 1 == count || arguments[i + 1][0] == '\0') {
            fprintf(stderr, "bookcart: %s: %s %s\n", command->name, argument,
                    *place != NULL ? "is given twice" : "needs a value");
            return false;
        }
        *place = arguments[++i];
    }
    read.help = help;
    int least = command->words_may_lack ? 0 : command->words;
    if (!help && (read.word_count < least || (command->folder != NULL && read.folder == NULL))) {
        fprintf(stderr, "bookcart: %s: something is missing\n", command->name);
        return false;
    }
    if (read.data != NULL) read.data = absolute(read.data);
    if (read.config != NULL) read.config = absolute(read.config);
    if (read.folder != NULL) read.folder = absolute(read.folder);
    *options = read;
    return true;
}

static bool load_config(const options_t *options, bc_config_t **result, char *reason) {
    bc_config_t *config = bc_config_create();
    if (config == NULL) {
        (void)snprintf(reason, PROGRAM_REASON, "no memory");
        return false;
    }
    if ((options->config != NULL && !bc_config_read_file(config, options->config, reason)) ||
        !bc_config_read_environment(config, environ, reason) ||
        (options->data != NULL && !bc_config_set(config, BC_DATA, options->data, "--data", reason)) ||
        (options->listen != NULL && !bc_config_set(config, BC_LISTEN, options->listen, "--listen", reason)) ||
        !bc_config_finish(config, reason)) {
        bc_config_destroy(config);
        return false;
    }
    *result = config;
    return true;
}

/* Everything but `up` works on the data folder as its owner. */
static bool enter_data(const bc_config_t *config, char *reason) {
    program_parent_t parent = program_parent();
    program_owner_t owner;
    return program_data_prepare(config, &owner, reason) && program_become(&owner, &parent, reason);
}

static int run_command(const command_t *command, int count, char **arguments) {
    options_t options;
    if (!read_options(command, count, arguments, &options)) {
        fprintf(stderr, "usage: bookcart %s\n", command->usage);
        return USAGE_ERROR;
    }
    if (options.help) {
        printf("usage: bookcart %s\n  %s\n", command->usage, command->what);
        return 0;
    }
    char reason[PROGRAM_REASON] = "";
    bc_config_t *config = NULL;
    if (!load_config(&options, &config, reason)) {
        fprintf(stderr, "bookcart: %s: %s\n", command->name, reason);
        return 1;
    }
    bc_log_level_t level = BC_LOG_INFO;
    (void)bc_log_level_parse(bc_config_text(config, BC_LOG_LEVEL), &level); /* judged with the settings */
    bc_log_init(command->run == run_serve ? options.words[0] : command->name, level);
    int code = 1;
    if (!command->supervises && !enter_data(config, reason)) {
        fprintf(stderr, "bookcart: %s: %s\n", command->name, reason);
    } else if (!bc_random_init()) {
        fprintf(stderr, "bookcart: %s: no randomness from the kernel\n", command->name);
    } else {
        code = command->run(config, &options);
    }
    bc_config_destroy(config);
    return code;
}

int main(int argc, char **argv) {
    /* Not a command for people: what bc_picture_recode starts. */
    if (argc == 2 && strcmp(argv[1], BC_PICTURE_WORKER) == 0) return bc_picture_worker_main();
    (void)umask(077); /* nothing we make is for others */
    if (argc < 2) {
        print_help(stderr);
        return USAGE_ERROR;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("bookcart %s\n", BOOKCART_VERSION);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "settings") == 0 && strcmp(argv[2], "--reference") == 0) {
        bc_config_print_reference(stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "routes") == 0) return program_routes(stdout);
    if (argc == 3 && strcmp(argv[1], "routes") == 0 && strcmp(argv[2], "internal") == 0)
        return program_internal_routes(stdout);
    if (argc == 2 && strcmp(argv[1], "problems") == 0) return program_problems(stdout);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) return run_command(&commands[i], argc - 2, argv + 2);
    }
    fprintf(stderr,
            "bookcart: unknown command \"%s\"\nusage: bookcart "
            "up|serve|migrate|import|admin|keys|events|backup|restore|settings … (bookcart "
            "--help)\n",
            argv[1]);
    return USAGE_ERROR;
}
