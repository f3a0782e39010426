/*
 * Directives, and the module's entry points. docs/EDGE.md documents each directive; the table below is the only list.
 */
#include "edge/ngx_http_cart_module.h"

#define ZONE_BYTES_MIN       (1024 * 1024)
#define BOOKS_ZONE_BYTES_MIN (2 * 1024 * 1024)
#define SHARDS_DEFAULT       16

static char *set_zone(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_service(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_jwks(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_currency(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_heat(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_percent(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_handler(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_status(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_origins(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_problem_base(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_name(ngx_conf_t *cf, ngx_command_t *command, void *conf);

#define MAIN(name, arguments, set, field)                                                                              \
    {                                                                                                                  \
        ngx_string(name), NGX_HTTP_MAIN_CONF | (arguments), set, NGX_HTTP_MAIN_CONF_OFFSET,                            \
            offsetof(ngx_http_cart_main_conf_t, field), NULL                                                           \
    }
#define LOC(name, contexts, set, field)                                                                                \
    { ngx_string(name), (contexts), set, NGX_HTTP_LOC_CONF_OFFSET, offsetof(ngx_http_cart_loc_conf_t, field), NULL }

static ngx_command_t commands[] = {
    MAIN("cart_zone", NGX_CONF_TAKE1, set_zone, zone),
    MAIN("cart_books_zone", NGX_CONF_TAKE1, set_zone, books_zone),
    MAIN("cart_service", NGX_CONF_TAKE1, set_service, services),
    MAIN("cart_jwks", NGX_CONF_TAKE1, set_jwks, jwks),
    MAIN("cart_issuer", NGX_CONF_TAKE1, set_name, issuer),
    MAIN("cart_audience", NGX_CONF_TAKE1, set_name, audience),
    MAIN("cart_currency", NGX_CONF_TAKE1, set_currency, currency),
    MAIN("cart_write_timeout", NGX_CONF_TAKE1, ngx_conf_set_msec_slot, write_timeout),
    MAIN("cart_stale_max", NGX_CONF_TAKE1, ngx_conf_set_msec_slot, stale_max),
    MAIN("cart_token_cache", NGX_CONF_TAKE1, ngx_conf_set_size_slot, token_cache),
    MAIN("cart_note_ttl", NGX_CONF_TAKE1, ngx_conf_set_msec_slot, note_ttl),
    MAIN("cart_calm_ttl", NGX_CONF_TAKE1, ngx_conf_set_msec_slot, calm_ttl),
    MAIN("cart_active_ttl", NGX_CONF_TAKE1, ngx_conf_set_msec_slot, active_ttl),
    MAIN("cart_active_heat", NGX_CONF_TAKE1, set_heat, active_heat),
    MAIN("cart_high_water", NGX_CONF_TAKE1, set_percent, high_water),
    MAIN("cart_low_water", NGX_CONF_TAKE1, set_percent, low_water),
    MAIN("cart_shards", NGX_CONF_TAKE1, ngx_conf_set_num_slot, shards),
    MAIN("cart_parked_max", NGX_CONF_TAKE1, ngx_conf_set_num_slot, parked_max),
    LOC("cart", NGX_HTTP_LOC_CONF | NGX_CONF_FLAG, set_handler, cart),
    LOC("cart_status", NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, set_status, status),
    LOC("cart_problem", NGX_HTTP_LOC_CONF | NGX_CONF_FLAG, set_handler, problem),
    LOC("cart_pages", NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_FLAG,
        ngx_conf_set_flag_slot, pages),
    LOC("cart_cors", NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_1MORE, set_origins, origins),
    LOC("cart_problem_base", NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
        set_problem_base, problem_base),
    ngx_null_command,
};

/* ---- setters --------------------------------------------------------------------------------------------------------- */

/* nginx says the directive's name before it. Its setters return no const; it only reads. */
static char *wrong(const char *what) {
    return (char *)(uintptr_t)what;
}

static char *refuse(ngx_conf_t *cf, const char *why, ngx_str_t *what) {
    ngx_str_t *arguments = cf->args->elts;
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\": %s \"%V\"", &arguments[0], why, what);
    return NGX_CONF_ERROR;
}

/* name:size */
static char *set_zone(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_main_conf_t *main_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    ngx_uint_t is_books = command->offset == offsetof(ngx_http_cart_main_conf_t, books_zone);
    ngx_shm_zone_t **field = is_books ? &main_conf->books_zone : &main_conf->zone;
    if (*field != NULL) return wrong("is duplicate");
    u_char *colon = (u_char *)ngx_strlchr(arguments[1].data, arguments[1].data + arguments[1].len, ':');
    if (colon == NULL || colon == arguments[1].data) return refuse(cf, "expects name:size, not", &arguments[1]);
    ngx_str_t name = {(size_t)(colon - arguments[1].data), arguments[1].data};
    ngx_str_t text = {arguments[1].len - name.len - 1, colon + 1};
    ssize_t size = ngx_parse_size(&text);
    if (size == NGX_ERROR) return refuse(cf, "cannot read the size in", &arguments[1]);
    if (size < ZONE_BYTES_MIN) return refuse(cf, "needs at least 1m, not", &arguments[1]);
    if (is_books && size < BOOKS_ZONE_BYTES_MIN) return refuse(cf, "needs at least 2m, not", &arguments[1]);
    *field = ngx_shared_memory_add(cf, &name, (size_t)size, &ngx_http_cart_module);
    if (*field == NULL) return NGX_CONF_ERROR;
    if ((*field)->data != NULL) return refuse(cf, "there is a zone of that name already:", &name);
    (*field)->init = is_books ? ngx_http_cart_init_books_zone : ngx_http_cart_init_zone;
    (*field)->data = main_conf;
    return NGX_CONF_OK;
}

/* FNV-1a: the same on every edge, so that all of them send a user to the same service. */
static uint64_t name_hash(const ngx_str_t *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < name->len; i++) hash = (hash ^ name->data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static char *set_service(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_main_conf_t *main_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (main_conf->services.nelts == NGX_HTTP_CART_SERVICES_MAX) return wrong("is given more than 16 times");
    ngx_http_cart_service_t *others = main_conf->services.elts;
    for (ngx_uint_t i = 0; i < main_conf->services.nelts; i++) {
        if (others[i].name.len == arguments[1].len &&
            ngx_memcmp(others[i].name.data, arguments[1].data, arguments[1].len) == 0) {
            return refuse(cf, "names twice", &arguments[1]);
        }
    }
    ngx_url_t url;
    ngx_memzero(&url, sizeof(url));
    url.url = arguments[1];
    if (ngx_parse_url(cf->pool, &url) != NGX_OK) {
        return refuse(cf, url.err != NULL ? url.err : "cannot read the address", &arguments[1]);
    }
    if (url.no_port && url.family != AF_UNIX) return refuse(cf, "needs a port in", &arguments[1]);
    if (url.uri.len > 0) return refuse(cf, "expects unix:path or host:port, not", &arguments[1]);
    ngx_http_cart_service_t *service = ngx_array_push(&main_conf->services);
    if (service == NULL) return NGX_CONF_ERROR;
    service->name = arguments[1];
    service->address = url.addrs[0];
    service->hash = name_hash(&arguments[1]);
    return NGX_CONF_OK;
}

static char *set_jwks(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_main_conf_t *main_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (main_conf->jwks.data != NULL) return wrong("is duplicate");
    main_conf->jwks = arguments[1];
    if (ngx_conf_full_name(cf->cycle, &main_conf->jwks, 1) != NGX_OK) return NGX_CONF_ERROR;
    ngx_file_info_t info;
    if (ngx_http_cart_read_file(cf->pool, cf->log, &main_conf->jwks, &main_conf->jwks_text, &info) != NGX_OK) {
        /* The service that writes it may come up after us; until then no token is good. */
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "\"cart_jwks\": \"%V\" is not there yet", &main_conf->jwks);
        return NGX_CONF_OK;
    }
    uint32_t numbers = 0;
    const char *why = NULL;
    edge_keys_t *keys = edge_keys_parse(main_conf->jwks_text.data, main_conf->jwks_text.len, NULL, &numbers, &why);
    if (keys == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"cart_jwks\": \"%V\": %s", &main_conf->jwks, why);
        return NGX_CONF_ERROR;
    }
    edge_keys_destroy(keys); /* only looked at: a worker makes its own */
    return NGX_CONF_OK;
}

/* cart_issuer, cart_audience */
static char *set_name(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_str_t *arguments = cf->args->elts;
    ngx_str_t *field = (ngx_str_t *)(void *)((char *)conf + command->offset);
    if (field->data != NULL) return wrong("is duplicate");
    if (arguments[1].len == 0 || arguments[1].len > EDGE_TOKEN_NAME_MAX) {
        return refuse(cf, "expects 1 to 128 characters, not", &arguments[1]);
    }
    *field = arguments[1]; /* zero-terminated by nginx's parser */
    return NGX_CONF_OK;
}

static char *set_currency(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_main_conf_t *main_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (main_conf->currency.data != NULL) return wrong("is duplicate");
    ngx_uint_t good = arguments[1].len == EDGE_CURRENCY_CHARS;
    for (size_t i = 0; i < arguments[1].len; i++)
        good = good && arguments[1].data[i] >= 'A' && arguments[1].data[i] <= 'Z';
    if (!good) return refuse(cf, "expects a code of ISO 4217 such as EUR, not", &arguments[1]);
    main_conf->currency = arguments[1];
    return NGX_CONF_OK;
}

/* Requests, up to two decimals, kept as 8.8 fixed point. */
static char *set_heat(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_main_conf_t *main_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (main_conf->active_heat != NGX_CONF_UNSET) return wrong("is duplicate");
    ngx_int_t hundredths = ngx_atofp(arguments[1].data, arguments[1].len, 2);
    if (hundredths == NGX_ERROR || hundredths < 1 || hundredths > 25500) {
        return refuse(cf, "expects 0.01 to 255 requests, not", &arguments[1]);
    }
    main_conf->active_heat = ngx_max(hundredths * 256 / 100, 1);
    return NGX_CONF_OK;
}

/* "90%" or "87.5%", kept in thousandths. */
static char *set_percent(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_str_t *arguments = cf->args->elts;
    ngx_int_t *field = (ngx_int_t *)(void *)((char *)conf + command->offset);
    if (*field != NGX_CONF_UNSET) return wrong("is duplicate");
    size_t length = arguments[1].len;
    if (length < 2 || arguments[1].data[length - 1] != '%')
        return refuse(cf, "expects a share such as 90%, not", &arguments[1]);
    ngx_int_t value = ngx_atofp(arguments[1].data, length - 1, 1);
    if (value == NGX_ERROR || value < 1 || value > 1000) return refuse(cf, "expects 0.1% to 100%, not", &arguments[1]);
    *field = value;
    return NGX_CONF_OK;
}

static char *set_handler(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    char *result = ngx_conf_set_flag_slot(cf, command, conf);
    if (result != NGX_CONF_OK) return result;
    if (*(ngx_flag_t *)(void *)((char *)conf + command->offset) == 0) return NGX_CONF_OK;
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    ngx_http_cart_main_conf_t *main_conf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cart_module);
    if (core->handler != NULL) return wrong("stands beside another handler of this location");
    if (command->offset == offsetof(ngx_http_cart_loc_conf_t, cart)) {
#if (NGX_PCRE)
        if (core->regex != NULL) return wrong("needs a location with a plain prefix");
#endif
        if (core->named || core->noname || core->name.len == 0) return wrong("needs a location with a plain prefix");
        core->handler = ngx_http_cart_handler;
        main_conf->used = 1;
    } else {
        core->handler = ngx_http_cart_problem_handler;
    }
    return NGX_CONF_OK;
}

static char *set_status(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    static const ngx_conf_enum_t forms[] = {{ngx_string("off"), NGX_HTTP_CART_STATUS_OFF},
                                            {ngx_string("on"), NGX_HTTP_CART_STATUS_ANY},
                                            {ngx_string("json"), NGX_HTTP_CART_STATUS_JSON},
                                            {ngx_string("prometheus"), NGX_HTTP_CART_STATUS_PROMETHEUS},
                                            {ngx_string("ready"), NGX_HTTP_CART_STATUS_READY}};
    ngx_http_cart_loc_conf_t *loc_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (loc_conf->status != NGX_CONF_UNSET_UINT) return wrong("is duplicate");
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i].name.len != arguments[1].len ||
            ngx_memcmp(forms[i].name.data, arguments[1].data, arguments[1].len) != 0) {
            continue;
        }
        loc_conf->status = forms[i].value;
        if (loc_conf->status == NGX_HTTP_CART_STATUS_OFF) return NGX_CONF_OK;
        ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
        ngx_http_cart_main_conf_t *main_conf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cart_module);
        if (core->handler != NULL) return wrong("stands beside another handler of this location");
        core->handler = ngx_http_cart_status_handler;
        main_conf->used = 1;
        return NGX_CONF_OK;
    }
    return refuse(cf, "expects on, json, prometheus, ready or off, not", &arguments[1]);
}

static char *set_origins(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_loc_conf_t *loc_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (loc_conf->origins != NGX_CONF_UNSET_PTR) return wrong("is duplicate");
    loc_conf->origins = NULL;
    if (cf->args->nelts == 2 && arguments[1].len == 3 && ngx_memcmp(arguments[1].data, "off", 3) == 0)
        return NGX_CONF_OK;
    loc_conf->origins = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
    if (loc_conf->origins == NULL) return NGX_CONF_ERROR;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        u_char *scheme_end = ngx_strnstr(arguments[i].data, (char *)(uintptr_t) "://", arguments[i].len);
        if (scheme_end == NULL || scheme_end == arguments[i].data ||
            ngx_strlchr(scheme_end + 3, arguments[i].data + arguments[i].len, '/') != NULL ||
            ngx_strlchr(arguments[i].data, arguments[i].data + arguments[i].len, '*') != NULL) {
            return refuse(cf, "expects exact origins such as https://shop.example, not", &arguments[i]);
        }
        ngx_str_t *origin = ngx_array_push(loc_conf->origins);
        if (origin == NULL) return NGX_CONF_ERROR;
        *origin = arguments[i];
    }
    return NGX_CONF_OK;
}

static char *set_problem_base(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
    ngx_http_cart_loc_conf_t *loc_conf = conf;
    ngx_str_t *arguments = cf->args->elts;
    (void)command;
    if (loc_conf->problem_base.data != NULL) return wrong("is duplicate");
    ngx_uint_t good = arguments[1].len > 0 && arguments[1].len <= 256 && arguments[1].data[arguments[1].len - 1] == '/';
    for (size_t i = 0; i < arguments[1].len; i++) {
        u_char c = arguments[1].data[i];
        good = good && c > ' ' && c < 0x7F && c != '"' && c != '\\';
    }
    if (!good) return refuse(cf, "expects an address that ends with /, not", &arguments[1]);
    loc_conf->problem_base = arguments[1];
    return NGX_CONF_OK;
}

/* ---- creation, merging, checks --------------------------------------------------------------------------------------- */

static void *create_main_conf(ngx_conf_t *cf) {
    ngx_http_cart_main_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));
    if (conf == NULL) return NULL;
    if (ngx_array_init(&conf->services, cf->pool, 1, sizeof(ngx_http_cart_service_t)) != NGX_OK) return NULL;
    conf->write_timeout = NGX_CONF_UNSET_MSEC;
    conf->stale_max = NGX_CONF_UNSET_MSEC;
    conf->token_cache = NGX_CONF_UNSET_SIZE;
    conf->note_ttl = conf->calm_ttl = conf->active_ttl = NGX_CONF_UNSET_MSEC;
    conf->active_heat = conf->high_water = conf->low_water = conf->shards = conf->parked_max = NGX_CONF_UNSET;
    return conf;
}

static void default_name(ngx_str_t *field, const char *text) {
    if (field->data != NULL) return;
    field->len = strlen(text);
    field->data = (u_char *)(uintptr_t)text; /* read only from here on */
}

static char *check(ngx_conf_t *cf, const char *directive, const char *why) {
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"%s\": %s", directive, why);
    return NGX_CONF_ERROR;
}

static char *init_policy(ngx_conf_t *cf, ngx_http_cart_main_conf_t *conf) {
    cart_zone_config_t *config = &conf->cart_zone.config;
    cart_policy_t *policy = &config->policy;
    cart_policy_defaults(policy);
    if (conf->note_ttl != NGX_CONF_UNSET_MSEC) policy->note_ttl_s = (uint32_t)(conf->note_ttl / 1000);
    if (conf->calm_ttl != NGX_CONF_UNSET_MSEC) policy->calm_ttl_s = (uint32_t)(conf->calm_ttl / 1000);
    if (conf->active_ttl != NGX_CONF_UNSET_MSEC) policy->active_ttl_s = (uint32_t)(conf->active_ttl / 1000);
    if (conf->active_heat != NGX_CONF_UNSET) policy->active_heat = (uint16_t)conf->active_heat;
    if (conf->high_water != NGX_CONF_UNSET) policy->high_water_permille = (uint16_t)conf->high_water;
    if (conf->low_water != NGX_CONF_UNSET) policy->low_water_permille = (uint16_t)conf->low_water;
    /* A share of the default's distance below, when only the upper mark is given. */
    if (conf->low_water == NGX_CONF_UNSET && policy->low_water_permille >= policy->high_water_permille) {
        policy->low_water_permille = (uint16_t)(policy->high_water_permille - policy->high_water_permille / 16);
    }
    config->stale_max_ms = (uint32_t)conf->stale_max;
    config->shards = conf->shards == NGX_CONF_UNSET ? SHARDS_DEFAULT : (uint16_t)conf->shards;
    if (conf->zone != NULL && conf->shards == NGX_CONF_UNSET) { /* fewer in a small zone */
        while (config->shards > 1 && !ngx_http_cart_zone_fits(config, conf->zone->shm.size)) config->shards /= 2;
    }
    if (policy->low_water_permille >= policy->high_water_permille) {
        return check(cf, "cart_low_water", "must lie below cart_high_water");
    }
    const char *why = cart_zone_config_check(config);
    return why == NULL ? NGX_CONF_OK : check(cf, "cart_zone", why);
}

static char *init_main_conf(ngx_conf_t *cf, void *opaque) {
    ngx_http_cart_main_conf_t *conf = opaque;
    default_name(&conf->issuer, "bookcart");
    default_name(&conf->audience, "bookcart");
    default_name(&conf->currency, "EUR");
    ngx_conf_init_msec_value(conf->write_timeout, 3000);
    ngx_conf_init_msec_value(conf->stale_max, 10000);
    ngx_conf_init_size_value(conf->token_cache, 4 * 1024 * 1024);
    ngx_conf_init_value(conf->parked_max, 8192);
    if (conf->write_timeout < 50 || conf->write_timeout > CART_WORKER_WRITE_TIMEOUT_MAX_MS) {
        return check(cf, "cart_write_timeout", "must lie between 50ms and 30s");
    }
    if (conf->stale_max < 1000 || conf->stale_max > 24 * 3600 * 1000) {
        return check(cf, "cart_stale_max", "must lie between 1s and 24h");
    }
    if (conf->token_cache < EDGE_TOKENS_BYTES_MIN || conf->token_cache > EDGE_TOKENS_BYTES_MAX) {
        return check(cf, "cart_token_cache", "must lie between 4k and 1g");
    }
    if (conf->shards != NGX_CONF_UNSET &&
        (conf->shards < 1 || conf->shards > CART_ZONE_SHARDS_MAX || (conf->shards & (conf->shards - 1)) != 0)) {
        return check(cf, "cart_shards", "must be a power of two from 1 to 64");
    }
    if (conf->parked_max < 1 || conf->parked_max > CART_WORKER_PARKED_MAX) {
        return check(cf, "cart_parked_max", "must lie between 1 and 16384");
    }
    static const struct {
        const char *name;
        size_t offset;
    } seconds[] = {{"cart_note_ttl", offsetof(ngx_http_cart_main_conf_t, note_ttl)},
                   {"cart_calm_ttl", offsetof(ngx_http_cart_main_conf_t, calm_ttl)},
                   {"cart_active_ttl", offsetof(ngx_http_cart_main_conf_t, active_ttl)}};
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        ngx_msec_t value = *(ngx_msec_t *)(void *)((char *)conf + seconds[i].offset);
        if (value != NGX_CONF_UNSET_MSEC && (value < 1000 || value > (ngx_msec_t)7 * 86400 * 1000)) {
            return check(cf, seconds[i].name, "must lie between 1s and 7d");
        }
    }
    return init_policy(cf, conf);
}

static void *create_loc_conf(ngx_conf_t *cf) {
    ngx_http_cart_loc_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));
    if (conf == NULL) return NULL;
    conf->cart = conf->problem = conf->pages = NGX_CONF_UNSET;
    conf->status = NGX_CONF_UNSET_UINT;
    conf->origins = NGX_CONF_UNSET_PTR;
    return conf;
}

static char *merge_loc_conf(ngx_conf_t *cf, void *parent, void *child) {
    ngx_http_cart_loc_conf_t *previous = parent;
    ngx_http_cart_loc_conf_t *conf = child;
    (void)cf;
    ngx_conf_merge_ptr_value(conf->origins, previous->origins, NULL);
    ngx_conf_merge_value(conf->pages, previous->pages, 0);
    if (conf->problem_base.data == NULL) conf->problem_base = previous->problem_base;
    default_name(&conf->problem_base, "/problems/");
    return NGX_CONF_OK;
}

/* Our configuration in the cycle that runs; NULL at a start, and when the module was not loaded then. */
static ngx_http_cart_main_conf_t *running_conf(const ngx_cycle_t *cycle) {
    ngx_cycle_t *old = cycle->old_cycle;
    if (old == NULL || old->conf_ctx == NULL || old->modules == NULL) return NULL;
    for (ngx_uint_t i = 0; old->modules[i] != NULL; i++) {
        if (old->modules[i] == &ngx_http_cart_module) {
            return ngx_http_cycle_get_module_main_conf(old, ngx_http_cart_module);
        }
    }
    return NULL;
}

/* After everything was read: what a cart cannot do without. */
static ngx_int_t postconfiguration(ngx_conf_t *cf) {
    ngx_http_cart_main_conf_t *conf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cart_module);
    static ngx_str_t request_id = ngx_string("request_id");
    conf->request_id_index = ngx_http_get_variable_index(cf, &request_id);
    if (conf->request_id_index == NGX_ERROR) return NGX_ERROR;
    if (ngx_http_cart_pages_init(cf) != NGX_OK) return NGX_ERROR;
    if (!conf->used) return NGX_OK;
    const char *missing = conf->zone == NULL          ? "cart_zone"
                          : conf->books_zone == NULL  ? "cart_books_zone"
                          : conf->services.nelts == 0 ? "cart_service"
                          : conf->jwks.data == NULL   ? "cart_jwks"
                                                      : NULL;
    if (missing != NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"cart\" needs \"%s\" in the http block", missing);
        return NGX_ERROR;
    }
    /* A key set that cannot be read now: the one that the old cycle has stays. */
    ngx_http_cart_main_conf_t *old = running_conf(cf->cycle);
    if (conf->jwks_text.len == 0 && old != NULL && old->jwks_text.len > 0) {
        conf->jwks_text.data = ngx_pstrdup(cf->pool, &old->jwks_text);
        if (conf->jwks_text.data == NULL) return NGX_ERROR;
        conf->jwks_text.len = old->jwks_text.len;
    }
    return NGX_OK;
}

static ngx_http_module_t context = {
    ngx_http_cart_add_variables,
    postconfiguration,
    create_main_conf,
    init_main_conf,
    NULL,
    NULL,
    create_loc_conf,
    merge_loc_conf,
};

ngx_module_t ngx_http_cart_module = {
    NGX_MODULE_V1,
    &context,
    commands,
    NGX_HTTP_MODULE,
    NULL,
    NULL,
    ngx_http_cart_init_process,
    NULL,
    NULL,
    ngx_http_cart_exit_process,
    NULL,
    NGX_MODULE_V1_PADDING,
};
