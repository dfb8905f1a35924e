-- Reads all leases.
-- KEYS     leases (sorted set: name -> end, ms), what each says of itself (hash), version, the data's name
-- Returns  {version, 0, now in ms, leases with their ends, infos, the data's name}
local t = redis.call('TIME')
return {
  redis.call('GET', KEYS[3]) or '0', 0, string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)),
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[2]),
  KEYS[4] and redis.call('GET', KEYS[4]) or ''
}
