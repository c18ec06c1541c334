-- Sends prepared requests in turn and prints the figures of the run as one line of JSON.
-- The only argument is a file: a line with the requests' lengths, then the requests themselves.

local prepared, turn = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for length in file:read("*l"):gmatch("%d+") do
    prepared[#prepared + 1] = file:read(tonumber(length))
  end
  file:close()
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %.1f, "p99": %.1f, "max": %.1f, '
      .. '"non_2xx": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
