-- The classic stack's cart: nginx + Lua + Redis, as its users tune it. One EVALSHA a change (limits, condition, repeats, term
-- and TTL decided inside Redis, atomically), one HGETALL a read, keep-alive connections from a pool, verified tokens in a
-- worker-local LRU, book fragments prerendered in the worker's memory, strings joined once. It answers what bookcart answers.
local redis = require "nginx.redis"
local cjson = require "cjson.safe"
local lrucache = require "resty.lrucache"

local concat, find, sub, format = table.concat, string.find, string.sub, string.format
local var, req, header = ngx.var, ngx.req, ngx.header
local tonumber, pairs, type = tonumber, pairs, type

local M = {}

local socket, books, pubkey
local tokens = lrucache.new(65536)
local MAX_LINES, MAX_QUANTITY, TTL = 100, 99, 604800

-- KEYS[1] cart:{user}, KEYS[2] recent:{user}; ARGV: op, book, quantity, request id, expected version, ttl.
-- Returns outcome and the cart's fields. The cart is one hash: v version, t term, then one field a book, in order.
M.change_script = [[
local op, book, quantity, id, expected = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if id ~= '' then
  if redis.call('ZSCORE', KEYS[2], id) then return {'repeated', redis.call('HGETALL', KEYS[1])} end
end
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or 0)
if expected ~= '' and tonumber(expected) ~= version then return {'mismatch', redis.call('HGETALL', KEYS[1])} end
if op == 'many' then
  -- Sets only: what the load tool fills carts with. [book, quantity, book, quantity, …]
  local list = cjson.decode(book)
  for i = 1, #list, 2 do redis.call('HSET', KEYS[1], string.format('%d', list[i]), string.format('%d', list[i + 1])) end
elseif op == 'clear' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', version)
else
  local have = tonumber(redis.call('HGET', KEYS[1], book) or 0)
  local want = quantity
  if op == 'add' then want = have + quantity end
  if want > 99 then return {'quantity', {}} end
  if want <= 0 then
    redis.call('HDEL', KEYS[1], book)
  else
    if have == 0 and redis.call('HLEN', KEYS[1]) >= 102 then return {'lines', {}} end
    redis.call('HSET', KEYS[1], book, want)
  end
end
redis.call('HINCRBY', KEYS[1], 'v', 1)
redis.call('HINCRBY', KEYS[1], 't', 1)
redis.call('EXPIRE', KEYS[1], ARGV[6])
if id ~= '' then
  redis.call('ZADD', KEYS[2], version, id)
  if redis.call('ZCARD', KEYS[2]) > 64 then redis.call('ZREMRANGEBYRANK', KEYS[2], 0, 0) end
  redis.call('EXPIRE', KEYS[2], 86400)
end
return {'applied', redis.call('HGETALL', KEYS[1])}
]]

function M.init(config)
    socket = config.socket
    books = {}
    for line in io.lines(config.books) do
        local book = cjson.decode(line)
        books[tostring(book.id)] = {
            head = format('{"book":%d,"title":%s,"authors":%s,"cover_url":null,"quantity":', book.id,
                          cjson.encode(book.title), cjson.encode(book.authors)),
            tail = format(',"unit_price":{"amount":%d,"currency":"EUR"},"total":{"amount":', book.price),
            price = book.price,
        }
    end
    local pkey = require "openssl.pkey"
    local file = assert(io.open(config.public_key))
    pubkey = pkey.new(file:read("*a"))
    file:close()
    M.change_sha = ngx.sha1_bin(M.change_script):gsub(".", function(c) return format("%02x", c:byte()) end)
end

local function problem(status, name)
    ngx.status = status
    header["Content-Type"] = "application/problem+json"
    ngx.print('{"type":"/problems/', name, '","title":"', name, '","status":', status, '}')
    return ngx.exit(status)
end

local function b64(text)
    text = text:gsub("-", "+"):gsub("_", "/")
    return ngx.decode_base64(text .. ("="):rep(-#text % 4))
end

-- ES256 through OpenSSL; only for tokens that this worker has not seen.
local function verify(token)
    local h, p, s = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not h then return nil end
    local head, claims, raw = cjson.decode(b64(h) or ""), cjson.decode(b64(p) or ""), b64(s)
    if not head or not claims or not raw or #raw ~= 64 or head.alg ~= "ES256" or head.typ ~= "at+jwt" then return nil end
    local function integer(bytes)
        bytes = bytes:gsub("^%z+", "")
        if bytes == "" or bytes:byte(1) >= 128 then bytes = "\0" .. bytes end
        return "\2" .. string.char(#bytes) .. bytes
    end
    local body = integer(raw:sub(1, 32)) .. integer(raw:sub(33))
    local digest = require("openssl.digest").new("sha256")
    digest:update(h .. "." .. p)
    if not pubkey:verify("\48" .. string.char(#body) .. body, digest) then return nil end
    if claims.iss ~= "bookcart" or claims.aud ~= "bookcart" or type(claims.exp) ~= "number" then return nil end
    return { user = claims.sub, exp = claims.exp }
end

local function user_of_request()
    local authorization = var.http_authorization
    if not authorization or sub(authorization, 1, 7) ~= "Bearer " then return nil end
    local token = sub(authorization, 8)
    local known = tokens:get(token)
    if not known then
        known = verify(token)
        if not known then return nil end
        tokens:set(token, known, known.exp - ngx.time())
    end
    if known.exp <= ngx.time() then return nil end
    return known.user
end

local function connect()
    local red = redis:new()
    red:set_timeout(2000)
    local ok = red:connect(socket)
    return ok and red or nil
end

local function answer(fields)
    local out, n, count, subtotal, version, first = { "" }, 1, 0, 0, "0", true
    for i = 1, #fields, 2 do
        local name, value = fields[i], fields[i + 1]
        if name == "v" then
            version = value
        elseif name ~= "t" then
            local book = books[name]
            if book then
                local quantity = tonumber(value)
                local total = quantity * book.price
                if not first then n = n + 1; out[n] = "," end
                first = false
                out[n + 1] = book.head
                out[n + 2] = value
                out[n + 3] = book.tail
                out[n + 4] = total
                out[n + 5] = ',"currency":"EUR"},"availability":"in_stock"}'
                n = n + 5
                count = count + quantity
                subtotal = subtotal + total
            end
        end
    end
    out[1] = '{"version":"' .. version .. '","lines":['
    out[n + 1] = '],"count":' .. count .. ',"subtotal":{"amount":' .. subtotal .. ',"currency":"EUR"},"warnings":[]}'
    local body = concat(out)
    local etag = '"' .. version .. "-" .. ngx.crc32_short(body) .. '"'
    header["ETag"] = etag
    header["Cache-Control"] = "private, no-cache"
    header["Content-Type"] = "application/json"
    header["Cart-Status"] = "hot"
    if var.http_if_none_match == etag then return ngx.exit(304) end
    header["Content-Length"] = #body
    ngx.print(body)
end

local function change(red, user, op, book, quantity)
    local id = var.http_idempotency_key or ""
    local match = var.http_if_match
    local expected = match and match:match('^"(%d+)-') or ""
    local reply, err = red:evalsha(M.change_sha, 2, "cart:" .. user, "recent:" .. user, op, book, quantity, id, expected, TTL)
    if not reply and err and find(err, "NOSCRIPT", 1, true) then
        reply, err = red:eval(M.change_script, 2, "cart:" .. user, "recent:" .. user, op, book, quantity, id, expected, TTL)
    end
    if not reply then
        red:close()
        return problem(503, "cart-unavailable")
    end
    red:set_keepalive(60000, 512)
    local outcome = reply[1]
    if outcome == "applied" or outcome == "repeated" then
        header["Cart-Durability"] = "committed"
        if outcome == "repeated" then header["Idempotent-Replayed"] = "true" end
        return answer(reply[2])
    end
    if outcome == "mismatch" then return problem(412, "version-mismatch") end
    return problem(422, outcome == "lines" and "line-limit" or "quantity-limit")
end

function M.handle()
    local user = user_of_request()
    if not user then
        header["WWW-Authenticate"] = "Bearer"
        return problem(401, "unauthorized")
    end
    local method, uri = req.get_method(), var.uri
    local op, book, quantity = nil, "", 0
    if method == "POST" or method == "PUT" then
        req.read_body()
        local body = cjson.decode(req.get_body_data() or "")
        if type(body) ~= "table" or type(body.quantity) ~= "number" then return problem(400, "malformed") end
        quantity = body.quantity
        if method == "POST" then
            op, book = "add", body.book
        else
            op, book = "set", uri:match("/lines/(%d+)$")
        end
        if not book or not books[tostring(book)] then return problem(422, "unknown-book") end
        if quantity > MAX_QUANTITY or quantity < -MAX_QUANTITY then return problem(422, "quantity-limit") end
    elseif method == "DELETE" then
        book = uri:match("/lines/(%d+)$")
        op = book and "set" or "clear"
        book = book or ""
    elseif method == "PATCH" then
        req.read_body()
        local body = cjson.decode(req.get_body_data() or "")
        if type(body) ~= "table" or type(body.changes) ~= "table" then return problem(400, "malformed") end
        local list = {}
        for _, one in ipairs(body.changes) do
            if one.op ~= "set" or not books[tostring(one.book)] then return problem(422, "unknown-book") end
            list[#list + 1] = one.book
            list[#list + 1] = one.quantity
        end
        op, book = "many", cjson.encode(list)
    elseif method ~= "GET" then
        return problem(405, "method-not-allowed")
    end
    local red = connect()
    if not red then return problem(503, "cart-unavailable") end
    if op then return change(red, user, op, book, quantity) end
    local fields = red:hgetall("cart:" .. user)
    if not fields then
        red:close()
        return problem(503, "cart-unavailable")
    end
    red:set_keepalive(60000, 512)
    return answer(fields)
end

return M
