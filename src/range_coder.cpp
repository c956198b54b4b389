// Asymmetric numeral systems with a static model per channel: the inner loops of dapdee_ros/codecs/bottleneck/range_coder.py,
// which holds the same in Python and says what it is. All numbers are integers, so that every machine makes the same bytes.
#include <cstdint>

namespace
{

constexpr int kBits = 16;
constexpr uint64_t kLeast = 1u << kBits;

}  // namespace

extern "C" {

// Codes `channels` times `per_channel` symbols. `starts` holds the cumulative frequencies of all channels one after the other, those of
// channel c from `first[c]` on: 0, ..., 65536. `words` has room for one word per symbol. Returns how many were written, last one first.
int64_t dapdee_range_encode(
  const uint8_t * symbols, const uint32_t * starts, const int32_t * first, int64_t channels, int64_t per_channel, uint16_t * words,
  uint32_t * state)
{
  uint64_t x = kLeast;
  int64_t count = 0;
  for (int64_t c = channels - 1; c >= 0; --c) {
    const uint32_t * table = starts + first[c];
    const uint8_t * row = symbols + c * per_channel;
    for (int64_t i = per_channel - 1; i >= 0; --i) {
      const uint64_t start = table[row[i]];
      const uint64_t frequency = table[row[i] + 1] - start;
      if (x >= frequency << kBits) {
        words[count++] = static_cast<uint16_t>(x);
        x >>= kBits;
      }
      x = ((x / frequency) << kBits) + x % frequency + start;
    }
  }
  *state = static_cast<uint32_t>(x);
  return count;
}

// Undoes it: reads at most `count` words, in the order opposite to that in which they were written, and writes every symbol. Returns how
// many were read, -1 if they do not suffice. `state` is what is left, 65536 of whatever dapdee_range_encode wrote.
int64_t dapdee_range_decode(
  const uint16_t * words, int64_t count, uint32_t * state, const uint32_t * starts, const int32_t * first, int64_t channels,
  int64_t per_channel, uint8_t * symbols)
{
  uint64_t x = *state;
  int64_t read = 0;
  uint8_t nearest[256];
  for (int64_t c = 0; c < channels; ++c) {
    const uint32_t * table = starts + first[c];
    for (uint32_t slot = 0, symbol = 0; slot < 256; ++slot) {
      while (table[symbol + 1] <= slot << 8) {
        ++symbol;
      }
      nearest[slot] = static_cast<uint8_t>(symbol);
    }
    uint8_t * row = symbols + c * per_channel;
    for (int64_t i = 0; i < per_channel; ++i) {
      const uint32_t slot = x & (kLeast - 1);
      uint32_t symbol = nearest[slot >> 8];
      while (table[symbol + 1] <= slot) {
        ++symbol;
      }
      row[i] = static_cast<uint8_t>(symbol);
      x = (table[symbol + 1] - table[symbol]) * (x >> kBits) + slot - table[symbol];
      if (x < kLeast) {
        if (read == count) {
          return -1;
        }
        x = x << kBits | words[read++];
      }
    }
  }
  *state = static_cast<uint32_t>(x);
  return read;
}

}  // extern "C"
