-- message.lua: protocol buffers, as far as Asynq's message needs them. Needs core.lua.

local function varint(bytes, at)
  local value, weight = 0, 1
  while true do
    local byte = bytes:byte(at)
    if not byte then return nil, at end
    at = at + 1
    if byte < 128 then return value + byte * weight, at end
    value = value + (byte - 128) * weight
    weight = weight * 128
  end
end

local function to_varint(value)
  local bytes = {}
  while value >= 128 do
    bytes[#bytes + 1] = string.char(value % 128 + 128)
    value = math.floor(value / 128)
  end
  bytes[#bytes + 1] = string.char(value)
  return table.concat(bytes)
end

-- Walks the top-level fields: calls visit(number, wire, first byte, last byte, value or first byte of the content).
local function fields(message, visit)
  local at, length = 1, #message
  while at <= length do
    local first, tag = at, nil
    tag, at = varint(message, at)
    if not tag then return end
    local number, wire, value = math.floor(tag / 8), tag % 8, nil
    if wire == 0 then
      value, at = varint(message, at)
    elseif wire == 2 then
      local size
      size, at = varint(message, at)
      if not size then return end
      value, at = at, at + size
    elseif wire == 1 then
      at = at + 8
    elseif wire == 5 then
      at = at + 4
    else
      return
    end
    if visit(number, wire, first, at - 1, value) then return end
  end
end

-- The kind: field 1, which stands first in what Go and we write.
local function kind_in(message)
  local tag, size = message:byte(1, 2)
  if tag == 10 and size and size < 128 then return message:sub(3, 2 + size) end
  local kind = ''
  fields(message, function(number, wire, _, last, value)
    if number == 1 and wire == 2 then
      kind = message:sub(value, last)
      return true
    end
  end)
  return kind
end

-- A field that is a number, 0 if it is not there: 12 is how long it is kept, 13 when it completed, in seconds.
local function number_in(message, wanted)
  local found = 0
  fields(message, function(number, wire, _, _, value)
    if number == wanted and wire == 0 then found = value or 0 end
  end)
  return found
end

-- How often it failed, and how often it may fail again.
local function retried_in(message) return number_in(message, 6) end
local function retry_in(message) return number_in(message, 5) end

-- The group: field 14, or nil.
local function group_in(message)
  local group
  fields(message, function(number, wire, _, last, value)
    if number == 14 and wire == 2 then group = message:sub(value, last) end
  end)
  return group ~= '' and group or nil
end

-- The message with some fields put anew (number -> bytes, '' leaves it out), in order of their numbers. Fields that we
-- do not know stay.
local function splice(message, put)
  local parts = {}
  fields(message, function(number, _, first, last)
    if not put[number] then parts[#parts + 1] = { number, #parts, message:sub(first, last) } end
  end)
  for number, bytes in pairs(put) do
    parts[#parts + 1] = { number, #parts, bytes }
  end
  table.sort(parts, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  for place, part in ipairs(parts) do
    parts[place] = part[3]
  end
  return table.concat(parts)
end

-- A field of bytes (the tag's own byte and the content), or none if it is empty.
local function bytes_field(tag, content)
  return content ~= '' and tag .. to_varint(#content) .. content or ''
end

local function number_field(tag, number)
  return number > 0 and tag .. to_varint(number) or ''
end

-- The message with other outcomes: retried (6), error (7), last failure (11), completion (13). Nil: as it is.
local function rewrite(message, retried, failure, failed_at, completed_at)
  local put = {}
  if retried then put[6] = number_field('\48', retried) end
  if failure then put[7] = bytes_field('\58', failure) end
  if failed_at then put[11] = number_field('\88', failed_at) end
  if completed_at then put[13] = number_field('\104', completed_at) end
  return splice(message, put)
end

-- Writes a failure into the message, for Go's eyes, and when we did: one of another moment is Go's.
local function blame(id, message, retried, failure)
  local at = math.max(0, seconds)
  call('HSET', task(id), 'msg', rewrite(message, retried, failure, at, nil), 'x:em', at)
end

-- Asynq's own pause before the next attempt, in microseconds: its `DefaultRetryDelayFunc` without the chance.
local function gos_pause(retried)
  return (retried ^ 4 + 15 + 15 * (retried + 1)) * 1000000
end
