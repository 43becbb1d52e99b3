-- wrk's script: sends prepared requests in turn and prints one JSON line at the end.
--
-- Arguments: a file with one request body a line; the longest pause of a connection before its
-- next request, in ms (0: none). Every request carries another unit, so that arms get their share.

local prepared, last, count = {}, 0, 0

function init(arguments)
  for body in io.lines(arguments[1]) do
    count = count + 1
    prepared[count] = wrk.format("POST", nil, {
      ["content-type"] = "application/json", ["x-conch-unit"] = "user-" .. count,
    }, body)
  end
  local longest = tonumber(arguments[2])
  if longest > 0 then
    function delay() return math.random(0, longest) end
  end
end

function request()
  last = last % count + 1
  return prepared[last]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"failed":%d,"mean_ms":%.4f,"p50_ms":%.4f,"p95_ms":%.4f,'
      .. '"p99_ms":%.4f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency.mean / 1e3, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3))
end
