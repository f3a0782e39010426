/*
 * nginx's configuration, written anew at every start and reload from the settings: nobody edits it.
 *
 * Called by the supervisor, which holds the listening sockets and hands them to nginx; so the addresses here are the ones that
 * were really bound. Pure: settings in, text out (tests/e2e hold nginx itself against it).
 *
 * 1. The cart lives in the module alone; its answers are not compressed and not cached.
 * 2. Nothing but GET and HEAD of the catalogue is ever kept in the page cache, and of that only what the library calls public.
 *    It is asked about by its ETag before each use; workers answer what they were told within the last second (`cart_pages`), so that a
 *    changed price shows within one.
 * 3. Internal routes of services have no location here. The operations server has a listener of its own.
 * 4. Whatever nginx itself answers is problem+json with the request's id, like every answer behind it.
 */
#include "program.h"

#include "platform/bc_images.h"

#include <assert.h>
#include <string.h>

#define PAGE_FRESH      "1s"
#define GRACE_EXTRA_MS  5000
#define CONNECTIONS_MAX 16384

/* Text between double quotes, as nginx's parser reads it. `$` cannot be escaped there, so settings that may hold one must not
 * reach a directive that knows variables; those used below do not. */
static void quote(FILE *out, const char *text) {
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') (void)fputc('\\', out);
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

/* add_header is inherited only where a block has none of its own, so each such block repeats these. */
static void write_safety_headers(FILE *out, const char *indent, bool tls, bool cors) {
    fprintf(out, "%sadd_header X-Content-Type-Options nosniff always;\n", indent);
    if (tls) fprintf(out, "%sadd_header Strict-Transport-Security max-age=31536000 always;\n", indent);
    if (cors) {
        fprintf(out, "%sadd_header Access-Control-Allow-Origin $cors_origin always;\n", indent);
        fprintf(out, "%sadd_header Access-Control-Expose-Headers $cors_expose always;\n", indent);
        fprintf(out, "%sadd_header Vary Origin always;\n", indent);
    }
}

static void write_common_headers(FILE *out, const char *indent, bool tls, bool cors) {
    fprintf(out, "%sadd_header Request-Id $request_id always;\n", indent);
    write_safety_headers(out, indent, tls, cors);
}

/* Whatever nginx answers by itself becomes a problem of the module's making. 502 and 504 say which hop failed, which is not the
 * customer's business: 503, try again. (A named location would not do: a request that nginx could not read has no URI.) */
static void write_problems(FILE *out, bool tls, bool cors) {
    fputs(
        "        error_page 400 403 404 405 408 411 413 414 415 416 421 429 431 494 495 496 497 500 501 503 /problem;\n"
        "        error_page 502 504 =503 /problem;\n        location = /problem {\n            internal;\n            "
        "cart_problem on;\n",
        out);
    write_safety_headers(out, "            ", tls, cors);
    fputs("            add_header Allow $media_allow always;\n        }\n", out);
}

/* --- CORS: exact origins, preflights answered here --- */

static void write_cors_maps(FILE *out, const char *origins) {
    fputs("    map $http_origin $cors_origin { default \"\";", out);
    while (*(origins += strspn(origins, ", \t")) != '\0') {
        size_t length = strcspn(origins, ", \t");
        fprintf(out, " \"%.*s\" $http_origin;", (int)length, origins);
        origins += length;
    }
    fputs(" }\n", out);
    fputs(
        "    map $cors_origin $cors_expose { \"\" \"\"; default "
        "\"ETag, Location, Request-Id, Retry-After, Cart-Status, Cart-Durability, Idempotent-Replayed\"; }\n"
        "    map \"$request_method:$http_access_control_request_method:$cors_origin\" $cors_preflight { default \"\"; "
        "\"~^OPTIONS:[A-Z]+:.+\" 1; }\n",
        out);
}

static void write_preflight(FILE *out) {
    fputs(
        "        if ($cors_preflight) { rewrite ^ /preflight last; }\n"
        "        location = /preflight {\n            internal;\n"
        "            add_header Request-Id $request_id;\n"
        "            add_header Access-Control-Allow-Origin $cors_origin;\n"
        "            add_header Access-Control-Allow-Methods \"GET, HEAD, POST, PUT, PATCH, DELETE\";\n"
        "            add_header Access-Control-Allow-Headers \"Authorization, Content-Type, Idempotency-Key, If-Match, "
        "If-None-Match, Accept-Language, traceparent\";\n"
        "            add_header Access-Control-Max-Age 600;\n            add_header Vary Origin;\n"
        "            return 204;\n        }\n",
        out);
}

/* --- limits by address --- */

typedef struct {
    const char *zone;
    const char *rate;
    unsigned burst; /* more wait, in order, up to this many; then 429 */
    unsigned no_delay;
} limit_t;

/* Generous for a person, tedious for a guesser. */
static const limit_t limit_auth = {"auth", "5r/s", 40, 20};
static const limit_t limit_catalogue = {"catalogue", "100r/s", 400, 200};
static const limit_t limit_shop = {"shop", "20r/s", 100, 50};
static const limit_t limit_cart = {"cart", "100r/s", 400, 200};

static void write_limit_zone(FILE *out, const limit_t *limit) {
    fprintf(out, "    limit_req_zone $limit_key zone=%s:4m rate=%s;\n", limit->zone, limit->rate);
}

static void write_limit(FILE *out, const limit_t *limit, bool limits) {
    if (limits) {
        fprintf(out, "            limit_req zone=%s burst=%u delay=%u;\n", limit->zone, limit->burst, limit->no_delay);
    }
}

/* --- upstreams and locations --- */

static void write_upstream(FILE *out, const char *name, const char *listen, unsigned idle) {
    /* max_fails=0: with one server there is nobody else to ask, and a restarted service must be asked at once. */
    fprintf(out, "    upstream %s { server %s max_fails=0; keepalive %u; }\n", name, listen, idle);
}

static void write_proxied(FILE *out, const char *match, const char *upstream, const limit_t *limit, const char *more,
                          bool limits) {
    fprintf(out, "        location %s {\n", match);
    write_limit(out, limit, limits);
    if (more != NULL) fprintf(out, "            %s\n", more);
    /* The services' HTTP library drops a header that is not UTF-8: a spoilt key would count as none, and the change twice. */
    if (limit != &limit_catalogue) fputs("            if ($http_idempotency_key ~ \"[^!-~]\") { return 400; }\n", out);
    fprintf(out, "            proxy_pass http://%s;\n        }\n", upstream);
}

static void write_locations(FILE *out, bool limits) {
    /* clang-format off */
    static const char *const auth[] = {"^~ /api/v1/auth/", "= /api/v1/me", "^~ /api/v1/me/", "= /api/v1/admin/users",
                                       "^~ /api/v1/admin/users/", "= /api/v1/admin/audit", NULL};
    static const char *const catalogue[] = {"= /api/v1/books", "/api/v1/books/", "= /api/v1/shop", NULL};
    static const char *const library_admin[] = {"= /api/v1/admin/books", "^~ /api/v1/admin/books/", "^~ /api/v1/admin/jobs/", NULL};
    static const char *const payment[] = {"= /api/v1/checkout", "^~ /api/v1/checkout/", "= /api/v1/orders", "^~ /api/v1/orders/", "^~ /api/v1/sandbox/",
                                          "= /api/v1/admin/orders", "^~ /api/v1/admin/orders/", "^~ /api/v1/admin/stock/", NULL};
    static const char *const question[] = {"= /api/v1/questions", "^~ /api/v1/questions/", "= /api/v1/admin/questions",
                                           "^~ /api/v1/admin/questions/", NULL};
    /* The regular expression goes before the prefix /api/v1/books/, which therefore has no ^~. */
    static const char *const public_answers[] = {"= /api/v1/faq", "~ ^/api/v1/books/[^/]+/questions$", NULL};
    /* clang-format on */
    for (int i = 0; auth[i] != NULL; i++)
        write_proxied(out, auth[i], "auth", &limit_auth, "client_max_body_size 64k;", limits);
    write_proxied(out, "= /.well-known/jwks.json", "auth", &limit_catalogue, NULL, limits);
    for (int i = 0; catalogue[i] != NULL; i++)
        write_proxied(out, catalogue[i], "library", &limit_catalogue,
                      "proxy_cache pages; cart_pages on; gzip on; client_max_body_size 16k;", limits);
    for (int i = 0; library_admin[i] != NULL; i++)
        write_proxied(out, library_admin[i], "library", &limit_auth, "client_max_body_size 5m;", limits);
    for (int i = 0; payment[i] != NULL; i++)
        write_proxied(out, payment[i], "payment", &limit_shop, "client_max_body_size 64k;", limits);
    /* The provider's calls come from few addresses, many at once: its signature is what is believed, no limit is in its way. */
    write_proxied(out, "= /api/v1/payment/webhook", "payment", &limit_shop, "client_max_body_size 1m;", false);
    for (int i = 0; question[i] != NULL; i++)
        write_proxied(out, question[i], "question", &limit_shop, "client_max_body_size 96k;", limits);
    write_proxied(out, "^~ /api/v1/admin/faq/", "question", &limit_shop, "client_max_body_size 1m;", limits);
    for (int i = 0; public_answers[i] != NULL; i++)
        write_proxied(out, public_answers[i], "question", &limit_catalogue,
                      "proxy_cache pages; cart_pages on; gzip on; client_max_body_size 16k;", limits);
    write_proxied(out, "= /api/v1/me/picture", "auth", &limit_auth, "client_max_body_size 5m;", limits);
    /* 64 MiB and a little: the service counts the body itself. Streamed, so that nginx keeps no copy. */
    write_proxied(out, "= /api/v1/admin/books/import", "library", &limit_auth,
                  "client_max_body_size 65m; proxy_request_buffering off; proxy_read_timeout 300s;", limits);
}

/* Uploaded pictures, from the data folder itself. Whatever is not named like one is not there. An address never shows another
 * picture, so browsers need not ask again. */
static void write_media(FILE *out, bool tls, bool cors) {
    fputs("        location ^~ " BC_IMAGES_PREFIX " {\n"
          "            location ~ \"^" BC_IMAGES_PREFIX
          "(?:books|users)/[0-9a-f]{32}/(?:large|medium|small)\\.webp$\" {\n"
          /* Relative to nginx's prefix, DATA/nginx: a path that is spelled out might hold a `$`. */
          "                root ..;\n                log_not_found off;\n                types { image/webp webp; }\n"
          "                add_header Cache-Control \"public, max-age=31536000, immutable\";\n"
          "                add_header Content-Security-Policy \"default-src 'none'; sandbox\";\n",
          out);
    write_common_headers(out, "                ", tls, cors);
    fputs("            }\n            return 404;\n        }\n", out);
}

static void write_cart(FILE *out, bool limits, bool tls, bool cors) {
    /* 8 KiB in memory hold every sensible change; a stranger body of up to 16 KiB goes through a file. */
    static const char *const matches[] = {"= /api/v1/cart", "^~ /api/v1/cart/"};
    for (size_t i = 0; i < 2; i++) {
        fprintf(out, "        location %s {\n", matches[i]);
        write_limit(out, &limit_cart, limits);
        write_safety_headers(out, "            ", tls, cors); /* the cart says its Request-Id itself */
        fputs("            client_max_body_size 16k;\n            client_body_buffer_size 8k;\n            gzip off;\n"
              "            cart on;\n        }\n",
              out);
    }
}

static void write_cart_settings(FILE *out, const bc_config_t *config) {
    const char *data = bc_config_text(config, BC_DATA);
    fprintf(out, "    cart_zone carts:%lld;\n", (long long)bc_config_number(config, BC_CART_ZONE));
    fprintf(out, "    cart_books_zone books:%lld;\n", (long long)bc_config_number(config, BC_CART_BOOKS_ZONE));
    fprintf(out, "    cart_service %s;\n", bc_config_text(config, BC_CART_LINK));
    fprintf(out, "    cart_jwks %s/keys/jwks.json;\n", data);
    fputs("    cart_issuer ", out);
    quote(out, bc_config_text(config, BC_ISSUER));
    fputs(";\n    cart_audience ", out);
    quote(out, bc_config_text(config, BC_AUDIENCE));
    fprintf(out, ";\n    cart_currency %s;\n", bc_config_text(config, BC_CURRENCY));
    static const struct {
        const char *directive;
        bc_key_t key;
    } times[] = {
        {"cart_write_timeout", BC_CART_WRITE_TIMEOUT}, {"cart_stale_max", BC_CART_STALE_MAX},
        {"cart_note_ttl", BC_CART_NOTE_TTL},           {"cart_calm_ttl", BC_CART_SEAT_TTL},
        {"cart_active_ttl", BC_CART_ACTIVE_TTL},
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        fprintf(out, "    %s %lldms;\n", times[i].directive, (long long)bc_config_number(config, times[i].key));
    }
    fprintf(out, "    cart_active_heat %lld;\n", (long long)bc_config_number(config, BC_CART_ACTIVE_HEAT));
}

/* --- the whole --- */

static void write_main(FILE *out, const bc_config_t *config, const program_nginx_t *nginx) {
    fputs("# Written by bookcart at every start and reload; changes made here are lost.\n", out);
    fprintf(out, "load_module %s;\n", nginx->module);
    long long workers = (long long)bc_config_number(config, BC_WORKERS);
    if (workers == 0) {
        fputs("worker_processes auto;\n", out);
    } else {
        fprintf(out, "worker_processes %lld;\n", workers);
    }
    unsigned connections = nginx->open_files_max / 2;
    if (connections > CONNECTIONS_MAX) connections = CONNECTIONS_MAX;
    fprintf(out, "worker_rlimit_nofile %u;\n", nginx->open_files_max);
    fprintf(out, "worker_shutdown_timeout %lldms;\n", (long long)program_nginx_grace_ms(config));
    /* A master of root gives its workers to Debian's user unless told otherwise; that one could not reach root's folder. */
    if (nginx->as_root) fputs("user root;\n", out);
    fputs("daemon off;\nmaster_process on;\nerror_log stderr warn;\npcre_jit on;\n", out);
    fprintf(out, "events { worker_connections %u; }\n", connections);
}

static void write_http_basics(FILE *out, const bc_config_t *config) {
    const char *data = bc_config_text(config, BC_DATA);
    static const char *const temps[] = {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"};
    for (size_t i = 0; i < sizeof(temps) / sizeof(temps[0]); i++) {
        fprintf(out, "    %s_temp_path %s/nginx/temp/%s;\n", temps[i], data, temps[i]);
    }
    fputs("    access_log off;\n    server_tokens off;\n    types { }\n    default_type application/octet-stream;\n"
          "    tcp_nodelay on;\n    reset_timedout_connection on;\n    keepalive_timeout 65s;\n"
          "    keepalive_requests 100000;\n    client_header_timeout 10s;\n    client_body_timeout 10s;\n"
          "    send_timeout 10s;\n    large_client_header_buffers 4 8k;\n    client_max_body_size 1m;\n"
          "    server_names_hash_bucket_size 128;\n    map_hash_bucket_size 256;\n"
          "    gzip_types application/json application/problem+json;\n    gzip_proxied any;\n    gzip_vary on;\n"
          "    gzip_min_length 1000;\n",
          out);
    const char *proxies = bc_config_text(config, BC_TRUSTED_PROXIES);
    bool some = false;
    while (*(proxies += strspn(proxies, ", \t")) != '\0') {
        size_t length = strcspn(proxies, ", \t");
        fprintf(out, "    set_real_ip_from %.*s;\n", (int)length, proxies);
        proxies += length;
        some = true;
    }
    if (some) fputs("    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;\n", out);
}

static void write_proxy_basics(FILE *out, const bc_config_t *config) {
    fputs("    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n    proxy_set_header Host $http_host;\n"
          "    proxy_set_header X-Real-IP $remote_addr;\n    proxy_set_header Request-Id $request_id;\n"
          "    proxy_set_header X-Forwarded-Proto $scheme;\n    proxy_set_header X-Forwarded-For \"\";\n"
          "    proxy_hide_header Request-Id;\n    proxy_hide_header X-Content-Type-Options;\n"
          "    proxy_connect_timeout 2s;\n    proxy_read_timeout 30s;\n    proxy_send_timeout 30s;\n"
          "    proxy_next_upstream off;\n",
          out);
    fprintf(out,
            "    proxy_cache_path %s/nginx/cache levels=1:2 keys_zone=pages:16m max_size=512m inactive=1h "
            "use_temp_path=off;\n",
            bc_config_text(config, BC_DATA));
    /* The library says `public, no-cache`: copies may be kept, and must be asked about. nginx takes no-cache for "do not keep", so
     * its header is not followed but read: only what is public is kept. X-Accel-Expires says that it is over at once, so nginx asks about
     * it by its ETag before each use; how long it is right is known to `cart_pages`, by the millisecond. While the library is away, the last
     * page is better than none. No proxy_cache_lock: who waits for one looks again every half second, and the services answer sooner;
     * once a page is there, `cart_pages` lets one ask for all. A page is written down when it was asked for a second time: most searches
     * never are, and a file each would be half of what they cost the edge. */
    fputs("    map $upstream_http_cache_control $page_is_private { default 1; \"~*\\bpublic\\b\" 0; }\n"
          "    proxy_cache_key $request_uri;\n    proxy_cache_methods GET HEAD;\n    proxy_cache_valid 200 " PAGE_FRESH
          ";\n    proxy_cache_revalidate on;\n"
          "    proxy_cache_min_uses 2;\n"
          "    proxy_ignore_headers Cache-Control Expires X-Accel-Redirect X-Accel-Buffering "
          "X-Accel-Charset X-Accel-Limit-Rate;\n"
          "    proxy_no_cache $page_is_private;\n"
          "    proxy_cache_use_stale error timeout http_500 http_502 http_503 http_504;\n",
          out);
}

static void write_shop(FILE *out, const bc_config_t *config, const program_nginx_t *nginx) {
    bool limits = bc_config_flag(config, BC_RATE_LIMITS);
    bool tls = bc_config_text(config, BC_TLS_CERT)[0] != '\0';
    bool cors = bc_config_text(config, BC_CORS_ORIGINS)[0] != '\0';
    assert(limits || nginx->loopback); /* the settings were judged before */
    fprintf(out, "    server {\n        listen %s%s;\n        server_name _;\n", nginx->listen,
            tls ? " ssl http2" : "");
    if (tls) {
        fputs("        ssl_certificate ", out);
        quote(out, bc_config_text(config, BC_TLS_CERT));
        fputs(";\n        ssl_certificate_key ", out);
        quote(out, bc_config_text(config, BC_TLS_KEY));
        fputs(";\n        ssl_protocols TLSv1.2 TLSv1.3;\n        ssl_session_cache shared:tls:8m;\n"
              "        ssl_session_timeout 1h;\n        ssl_session_tickets off;\n        ssl_prefer_server_ciphers "
              "off;\n",
              out);
    }
    write_common_headers(out, "        ", tls, cors);
    if (cors) write_preflight(out);
    write_problems(out, tls, cors);
    write_cart(out, limits, tls, cors);
    write_locations(out, limits);
    write_media(out, tls, cors);
    /* Where a problem's `type` leads to. */
    fputs("        location ^~ /problems/ {\n            default_type text/plain;\n            charset utf-8;\n"
          "            if ($problem_page = \"\") { return 404; }\n            return 200 $problem_page;\n        }\n",
          out);
    fputs("        location / { return 404; }\n    }\n", out);
}

static void write_operations(FILE *out, const bc_config_t *config, const program_nginx_t *nginx) {
    static const struct {
        const char *name;
        bc_key_t key;
    } services[] = {{"auth", BC_AUTH_INTERNAL},
                    {"library", BC_LIBRARY_INTERNAL},
                    {"cart", BC_CART_INTERNAL},
                    {"payment", BC_PAYMENT_INTERNAL},
                    {"question", BC_QUESTION_INTERNAL}};
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s_internal", services[i].name); /* short names of ours */
        write_upstream(out, name, bc_config_text(config, services[i].key), 2);
    }
    fprintf(out, "    server {\n        listen %s;\n        server_name _;\n        keepalive_timeout 5s;\n",
            nginx->ops_listen);
    fputs("        default_type application/json;\n        client_max_body_size 1k;\n"
          "        location = /healthz { return 200 '{\"status\":\"ok\"}'; }\n"
          "        location = /readyz { cart_status ready; }\n"
          "        location = /status { cart_status json; }\n"
          "        location = /metrics { cart_status prometheus; }\n",
          out);
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        static const char *const pages[] = {"healthz", "readyz", "metrics"};
        for (size_t page = 0; page < 3; page++) {
            fprintf(out, "        location = /%s/%s { proxy_pass http://%s_internal/%s; }\n", services[i].name,
                    pages[page], services[i].name, pages[page]);
        }
    }
    fputs("        location / { return 404 '{\"status\":404}'; }\n    }\n", out);
}

int64_t program_nginx_grace_ms(const bc_config_t *config) {
    return bc_config_number(config, BC_CART_WRITE_TIMEOUT) + GRACE_EXTRA_MS;
}

void program_nginx_write(const bc_config_t *config, const program_nginx_t *nginx, FILE *out) {
    assert(nginx->module[0] == '/');
    assert(nginx->open_files_max >= 64);
    write_main(out, config, nginx);
    fputs("http {\n", out);
    write_http_basics(out, config);
    write_proxy_basics(out, config);
    /* What an address may do: its IPv4, or the first four groups of its IPv6. An address that is abbreviated inside
     * them is limited together with its neighbours. */
    fputs("    map $remote_addr $limit_key { default $binary_remote_addr; "
          "\"~*^(?<net>(?:[0-9a-f]{1,4}:){4})\" $net; \"~*^(?<short>[0-9a-f:]+?)::\" $short; }\n"
          "    limit_req_status 429;\n    limit_req_log_level info;\n",
          out);
    /* What nginx serves itself is only ever read (RFC 9110 15.5.6 wants it said); services say their own. */
    fputs("    map \"$status:$request_uri\" $media_allow { default \"\"; \"~^405:" BC_IMAGES_PREFIX
          "\" \"GET, HEAD\"; }\n",
          out);
    write_limit_zone(out, &limit_auth);
    write_limit_zone(out, &limit_catalogue);
    write_limit_zone(out, &limit_shop);
    write_limit_zone(out, &limit_cart);
    program_problem_map(out);
    const char *origins = bc_config_text(config, BC_CORS_ORIGINS);
    if (origins[0] != '\0') write_cors_maps(out, origins);
    write_cart_settings(out, config);
    write_upstream(out, "auth", bc_config_text(config, BC_AUTH_LISTEN), 16);
    write_upstream(out, "library", bc_config_text(config, BC_LIBRARY_LISTEN), 16);
    write_upstream(out, "payment", bc_config_text(config, BC_PAYMENT_LISTEN), 16);
    write_upstream(out, "question", bc_config_text(config, BC_QUESTION_LISTEN), 16);
    write_shop(out, config, nginx);
    write_operations(out, config, nginx);
    fputs("}\n", out);
}
