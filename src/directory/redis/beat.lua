-- Renews (or ends) one lease, removes those long over. Touches these three keys and no other: what
-- operators state of an instance lives in a key of its own and outlasts every lease.
-- KEYS     leases (sorted set: name -> end, ms), what each says of itself (hash), version, and perhaps
--          the name of all data: given by whoever finds none, so another after a loss of all
-- ARGV     name, ms the lease shall run (0: end it), what it says of itself, ms of grace,
--          a name for the data
-- Returns  {version, 1 if the name was known, now in ms, leases with their ends, infos, the data's name}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local changed = false
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[4])))) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
  changed = true
end
local was = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lease = tonumber(ARGV[2])
if lease == 0 then
  if was then
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('HDEL', KEYS[2], ARGV[1])
    changed = true
  end
else
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), ARGV[1])
  if not was then changed = true end
  if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
    changed = true
  end
end
local data
if KEYS[4] then
  if lease > 0 then redis.call('SET', KEYS[4], ARGV[5], 'NX') end
  data = redis.call('GET', KEYS[4])
end
local version = tonumber(redis.call('GET', KEYS[3]) or '0')
if changed then
  if version >= now then version = version + 1 else version = now end -- ahead also after a loss of data
  local text = string.format('%.0f', version)
  redis.call('SET', KEYS[3], text)
  redis.call('PUBLISH', KEYS[3], text)
end
return {
  string.format('%.0f', version), was and 1 or 0, string.format('%.0f', now),
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[2]),
  data or ''
}
