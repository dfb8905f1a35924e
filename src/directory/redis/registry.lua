-- Reads all leases.
-- KEYS     leases (sorted set: name -> end, ms), what each says of itself (hash), version
-- Returns  {version, 0, now in ms, leases with their ends, infos}
local t = redis.call('TIME')
return {
  redis.call('GET', KEYS[3]) or '0', 0, string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)),
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[2])
}
