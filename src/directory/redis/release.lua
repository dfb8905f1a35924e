-- Ends exactly one session's claim: a record of any other session is left alone.
-- KEYS[1]  the record
-- ARGV     replica, session
-- Returns  1 if the record was removed, else 0
local stands = redis.pcall('GET', KEYS[1])
if type(stands) ~= 'string' then return 0 end
local replica, session = string.match(stands, '^[1-9]%d*:([a-z2-7]+):([0-9a-f]+):[%w%._:%-]+$')
if replica == ARGV[1] and session == ARGV[2] then
  redis.call('DEL', KEYS[1])
  return 1
end
return 0
