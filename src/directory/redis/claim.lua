-- Claims, restores or asserts one record.
-- KEYS[1]  the record
-- ARGV     replica, session, instance, epoch granted before (0: none), microseconds since proof,
--          seconds to keep the record, prefix of the channels on which the displaced are told,
--          when the session was proven by this clock (0: unknown)
-- Returns  {1, epoch, what stood there or false} or {0, the newer record}
local function read(text)
  if type(text) ~= 'string' then return nil end           -- absent, or not a text at all
  local e, r, s, i = string.match(text, '^([1-9]%d*):([a-z2-7]+):([0-9a-f]+):([%w%._:%-]+)$')
  if not e or #e > 16 or #r ~= 8 or #s > 16 or #i > 255 then return nil end
  if #s > 1 and string.sub(s, 1, 1) == '0' then return nil end
  e = tonumber(e)
  if e > 9007199254740990 then return nil end             -- beyond what a double can count
  return e, r, s
end

local stands = redis.pcall('GET', KEYS[1])
local epoch, replica, session = read(stands)              -- garbage counts as absent
local stored = epoch or 0
local e
if replica == ARGV[1] and session == ARGV[2] then
  e = stored                                              -- the same session: idempotent
else
  e = tonumber(ARGV[4])
  if e == 0 then
    local t = redis.call('TIME')
    local now = t[1] * 1000000 + t[2]
    local age, proven = tonumber(ARGV[5]), tonumber(ARGV[8])
    if proven > 0 then age = math.max(age, now - proven) end -- carried out late: so much older
    e = now - age                                         -- when the session was proven
    if e < 1 then e = 1 end
    if e <= stored then
      if age < 3000000 then e = stored + 1                -- truly fresh: wins whatever the clocks say
      else return {0, stands} end                         -- late: somebody was faster
    end
  elseif e <= stored then
    return {0, stands}                                    -- an old claim restored too late
  end
  if replica and replica ~= ARGV[1] then
    redis.call('PUBLISH', ARGV[7] .. replica, KEYS[1] .. ' ' .. session)
  end
end
local text = string.format('%.0f', e)
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1] .. ':' .. ARGV[2] .. ':' .. ARGV[3], 'EX', ARGV[6])
return {1, text, type(stands) == 'string' and stands or false}
