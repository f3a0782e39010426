#!/bin/sh
# nginx -t refuses nonsense with a message that names the directive, and takes what docs/EDGE.md shows.
# Usage: directives.sh MODULE.so. Needs Debian's nginx; writes only into a folder of its own.
set -eu
module=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '%s' '{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}' >"$folder/jwks.json"
printf '%s' '{"keys":[]}' >"$folder/empty.json"
required="cart_zone carts:4m; cart_books_zone books:4m; cart_service unix:$folder/link.sock; cart_jwks $folder/jwks.json;"
use="server { listen unix:$folder/s.sock; location = /c { cart on; } }"
failed=0
ran=0

# check HTTP-BLOCK: runs nginx -t on it; its words are in $folder/out.
check() {
    cat >"$folder/nginx.conf" <<END
load_module $module;
daemon off; pid $folder/pid; error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path $folder/b; proxy_temp_path $folder/p; fastcgi_temp_path $folder/f;
    uwsgi_temp_path $folder/u; scgi_temp_path $folder/c;
    $1
}
END
    ran=$((ran + 1))
    nginx -t -e stderr -c "$folder/nginx.conf" >"$folder/out" 2>&1
}

good() {
    if ! check "$1"; then
        echo "refused: $1"
        cat "$folder/out"
        failed=1
    fi
}

# bad DIRECTIVE HTTP-BLOCK: refused, and the message names the directive.
bad() {
    if check "$2"; then
        echo "taken: $2"
        failed=1
    elif ! grep -q "emerg.*\"$1\"" "$folder/out"; then
        echo "does not name $1: $2"
        cat "$folder/out"
        failed=1
    fi
}

good ""
good "$required $use"
good "$required server { location ^~ /api/v1/cart/ { cart on; cart_cors https://shop.example http://localhost:8080; } location = /s { cart_status on; } location = /p { internal; cart_problem on; } location /x { cart off; } location /y { cart_pages on; proxy_pass http://127.0.0.1:1; } cart_pages off; }"
good "$required $use cart_issuer a; cart_audience b; cart_currency USD; cart_write_timeout 500ms; cart_stale_max 5s; cart_token_cache 1m; cart_note_ttl 30s; cart_calm_ttl 5m; cart_active_ttl 1h; cart_active_heat 2.5; cart_high_water 80%; cart_low_water 70.5%; cart_shards 4; cart_parked_max 100; cart_problem_base https://docs.example/problems/;"
good "cart_zone carts:1m; cart_books_zone books:2m; cart_service 127.0.0.1:7000; cart_service localhost:7001; cart_jwks $folder/jwks.json; $use"
good "cart_zone carts:4m; cart_books_zone books:4m; cart_service unix:$folder/l; cart_jwks $folder/not-there-yet.json; $use log_format f '\$cart_user \$cart_role \$cart_status \$cart_term'; limit_req_zone \$cart_user zone=u:1m rate=9r/s;"

for name in cart_zone cart_books_zone cart_service cart_jwks; do
    rest=$(printf '%s' "$required" | sed "s|$name [^;]*;||")
    bad "$name" "$rest $use"
done
for value in carts carts: :4m carts:4x carts:100k; do bad cart_zone "cart_zone $value;"; done
bad cart_zone "cart_zone a:4m; cart_zone b:4m;"
bad cart_books_zone "cart_zone a:4m; cart_books_zone a:4m;"
bad cart_books_zone "cart_books_zone a:1m;"
bad cart_service "cart_service 127.0.0.1;"
bad cart_service "cart_service unix:;"
bad cart_service "cart_service unix:$folder/l; cart_service unix:$folder/l;"
bad cart_jwks "cart_jwks $folder/empty.json;"
bad cart_jwks "cart_jwks $folder/nginx.conf;"
for value in eur EURO EU 'E€'; do bad cart_currency "cart_currency $value;"; done
for value in 10ms 31s never; do bad cart_write_timeout "$required $use cart_write_timeout $value;"; done
for value in 100ms 2d; do bad cart_stale_max "$required $use cart_stale_max $value;"; done
for value in 1k 2g x; do bad cart_token_cache "$required $use cart_token_cache $value;"; done
for name in cart_note_ttl cart_calm_ttl cart_active_ttl; do
    bad "$name" "$required $use $name 500ms;"
    bad "$name" "$required $use $name 8d;"
done
for value in 0 -1 256 many; do bad cart_active_heat "cart_active_heat $value;"; done
for value in 90 0% 101% x%; do bad cart_high_water "cart_high_water $value;"; done
bad cart_low_water "$required $use cart_high_water 50%; cart_low_water 50%;"
for value in 0 3 128; do bad cart_shards "$required $use cart_shards $value;"; done
bad cart_zone "cart_zone carts:1m; cart_books_zone books:2m; cart_service unix:$folder/l; cart_jwks $folder/jwks.json; cart_shards 64; $use"
for value in 0 16385; do bad cart_parked_max "$required $use cart_parked_max $value;"; done
for value in null '*' https://a.example/ https://*.example shop.example; do bad cart_cors "cart_cors $value;"; done
for value in /problems '/a"b/'; do bad cart_problem_base "cart_problem_base '$value';"; done
bad cart "$required server { location ~ ^/c { cart on; } }"
bad cart "$required server { location @c { cart on; } }"
bad cart "$required server { location /c { proxy_pass http://127.0.0.1:1; cart on; } }"
bad cart "$required server { location /c { cart maybe; } }"
bad cart_pages "$required server { location /c { cart_pages maybe; } }"
bad cart_status "$required server { location /c { cart_status xml; } }"
bad cart_status "$required server { location /c { cart on; cart_status on; } }"

echo "$ran configurations"
exit "$failed"
