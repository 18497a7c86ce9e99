-- The hosts that are arguments take turns; the figures come as one line of JSON.
local hosts, turn = {}, 0

function init(args)
  for index = 1, #args do
    hosts[#hosts + 1] = wrk.format("GET", nil, { ["Host"] = args[index] })
  end
end

function request()
  turn = turn % #hosts + 1
  return hosts[turn]
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"rps": %.2f, "p50_ms": %.4f, "p99_ms": %.4f, "count": %d, "errors": %d}\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, summary.requests, failed))
end
