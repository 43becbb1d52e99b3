-- Runs once for each request, before the route is chosen.
--
-- It makes sure that a unit id is there (what sticks to an arm), keeps its hash for the access
-- log, and for gRPC reads the model's name and version from the message, because every model
-- shares one path there. Headers that choose a route are never taken from the client, except for
-- bidirectional streams, whose messages cannot be waited for.

local UNIT, MODEL, VERSION = "x-conch-unit", "x-conch-model", "x-conch-version"
-- Triton 2.51 reads JSON recursively and overflows its stack on deep nesting (measured: 32,000
-- levels pass, 48,000 do not): one such request would end the server, and sent again, the next one.
-- No tensor needs more levels than its rank, and a body of so few bytes cannot nest too deeply.
local DEEPEST, HARMLESS = 256, 4096

local SERVICE = "^/inference%.GRPCInferenceService/([%w_]+)"

-- Unary methods whose message starts with the model: field 1 is its name and field 2 its version
-- (grpc_service.proto: ModelInferRequest, ModelReadyRequest, ModelMetadataRequest,
-- ModelConfigRequest, ModelStatisticsRequest).
local NAMED = {
  ModelInfer = true, ModelReady = true, ModelMetadata = true, ModelConfig = true,
  ModelStatistics = true,
}

-- XXH64 with seed 0 (xxHash specification 0.1.1, "XXH64 Algorithm Description"); LuaJIT's ULL
-- literals are 64-bit unsigned integers that wrap.
local P1, P2, P3 = 0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL, 0x165667B19E3779F9ULL
local P4, P5 = 0x85EBCA77C2B2AE63ULL, 0x27D4EB2F165667C5ULL
local rol, bxor, shr, byte = bit.rol, bit.bxor, bit.rshift, string.byte

local function u32(s, i)
  local a, b, c, d = byte(s, i, i + 3)
  return a + b * 0x100 + c * 0x10000 + d * 0x1000000 + 0ULL
end

local function u64(s, i)
  return u32(s, i) + u32(s, i + 4) * 0x100000000ULL
end

local function round(lane, input)
  return rol(lane + input * P2, 31) * P1
end

local function merge(hash, lane)
  return bxor(hash, round(0ULL, lane)) * P1 + P4
end

local function xxh64(s)
  local length, i, hash = #s, 1, nil
  if length >= 32 then
    local v1, v2, v3, v4 = P1 + P2, P2, 0ULL, 0ULL - P1
    while i + 31 <= length do
      v1, v2 = round(v1, u64(s, i)), round(v2, u64(s, i + 8))
      v3, v4 = round(v3, u64(s, i + 16)), round(v4, u64(s, i + 24))
      i = i + 32
    end
    hash = rol(v1, 1) + rol(v2, 7) + rol(v3, 12) + rol(v4, 18)
    hash = merge(merge(merge(merge(hash, v1), v2), v3), v4)
  else
    hash = P5
  end
  hash = hash + length
  while i + 7 <= length do
    hash = rol(bxor(hash, round(0ULL, u64(s, i))), 27) * P1 + P4
    i = i + 8
  end
  if i + 3 <= length then
    hash = rol(bxor(hash, u32(s, i) * P1), 23) * P2 + P3
    i = i + 4
  end
  while i <= length do
    hash = rol(bxor(hash, byte(s, i) * P5), 11) * P1
    i = i + 1
  end
  hash = bxor(hash, shr(hash, 33)) * P2
  hash = bxor(hash, shr(hash, 29)) * P3
  return bxor(hash, shr(hash, 32))
end

-- Protocol Buffers wire format: returns a base-128 number and the offset after it; nil where
-- the message ends first.
local function varint(body, offset, length)
  local value, scale = 0, 1
  for _ = 1, 10 do
    if offset >= length then return nil end
    local b = byte(body:getBytes(offset, 1))
    offset = offset + 1
    value = value + (b % 128) * scale
    if b < 128 then return value, offset end
    scale = scale * 128
  end
  return nil
end

-- Reads fields 1 and 2 of the message in a gRPC frame (5 bytes: compressed flag, length). All
-- fields are walked, since the last of a repeated scalar is the one that a server takes.
local function named(body)
  local length = body:length()
  if length < 5 then return "", "" end
  local frame = body:getBytes(0, 5)
  if byte(frame, 1) ~= 0 then return nil end
  local stop = 5 + tonumber(u32(string.reverse(string.sub(frame, 2, 5)), 1))
  if stop > length then return "", "" end
  local offset, model, version = 5, "", ""
  while offset < stop do
    local tag, size
    tag, offset = varint(body, offset, stop)
    if not tag then return "", "" end
    local kind = tag % 8
    if kind == 2 then
      size, offset = varint(body, offset, stop)
      if not size or offset + size > stop then return "", "" end
      if tag == 10 then
        model = (size > 0 and size <= 256) and body:getBytes(offset, size) or ""
      elseif tag == 18 then
        version = (size > 0 and size <= 32) and body:getBytes(offset, size) or ""
      end
      offset = offset + size
    elseif kind == 0 then
      size, offset = varint(body, offset, stop)
      if not size then return "", "" end
    elseif kind == 1 then
      offset = offset + 8
    elseif kind == 5 then
      offset = offset + 4
    else
      return "", ""
    end
  end
  return model, version
end

-- Tells whether brackets of a JSON text nest deeper than DEEPEST; texts stop counting where they
-- stop being JSON, as parsers do.
local function too_deep(text)
  local depth, quoted, i = 0, false, 1
  while i <= #text do
    local c = byte(text, i)
    if quoted then
      if c == 92 then i = i + 1 elseif c == 34 then quoted = false end
    elseif c == 34 then
      quoted = true
    elseif c == 91 or c == 123 then
      depth = depth + 1
      if depth > DEEPEST then return true end
    elseif c == 93 or c == 125 then
      depth = depth - 1
    end
    i = i + 1
  end
  return false
end

local function problem(handle, status, code, detail)
  handle:respond(
    {[":status"] = status, ["content-type"] = "application/problem+json"},
    string.format('{"type":"about:blank","status":%s,"code":"%s","detail":"%s"}',
      status, code, detail))
end

-- Looks at the JSON of an HTTP request: all of the body, or what comes before binary tensors.
local function inspect(handle, headers)
  local encoding = headers:get("content-encoding")
  if encoding and encoding ~= "identity" then
    problem(handle, "415", "unsupported-encoding", "Send the body plain or with gzip.")
    return
  end
  local size = tonumber(headers:get("content-length")) -- set by the buffer filter where it was not
  if size and size < HARMLESS then return end
  local stated = headers:get("inference-header-content-length") or ""
  local body = handle:body()
  if not body then return end
  local length = body:length()
  if string.match(stated, "^%d+$") then length = math.min(length, tonumber(stated)) end
  if too_deep(body:getBytes(0, length)) then
    problem(handle, "400", "json-too-deep", "The request's JSON nests too deeply.")
  end
end

local function refuse(handle, status, message)
  handle:respond({
    [":status"] = "200", ["content-type"] = "application/grpc",
    ["grpc-status"] = status, ["grpc-message"] = message,
  }, "")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path") or ""
  local method = string.match(path, SERVICE)
  if method ~= "ModelStreamInfer" then
    headers:remove(MODEL)
    headers:remove(VERSION)
  end
  local unit = headers:get(UNIT)
  local given = unit ~= nil and unit ~= ""
  if not given then unit = headers:get("x-request-id") or "" end
  headers:replace(UNIT, unit) -- also joins a header that was sent twice
  local seen = handle:streamInfo():dynamicMetadata()
  seen:set("conch", "unit", bit.tohex(xxh64(unit), 16))
  seen:set("conch", "unit_given", given)
  handle:clearRouteCache()
  if method == nil and string.sub(path, 1, 4) == "/v2/" then inspect(handle, headers) end
  if method == nil or not NAMED[method] then return end

  local body = handle:body()
  local model, version = "", ""
  if body then model, version = named(body) end
  if model == nil then
    refuse(handle, "12", "compressed-message: the gateway routes by the model named in the "
      .. "message and does not read compressed ones")
    return
  end
  headers = handle:headers() -- the first handle ended when the body was waited for
  if string.match(model, "^[%w_%-]+$") then headers:replace(MODEL, model) end
  if version ~= "" then
    headers:replace(VERSION, string.match(version, "^%d+$") and version or "none")
  end
  handle:clearRouteCache()
end
