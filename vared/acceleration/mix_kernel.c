/* Both mixes, normalisation and ReLU of a block of frames in one pass over memory, row by row: see blocks.py.

   M[f]   = kept[f] on its K channels + constant + cheap operations on kept[f]            (equation 3.1, over a factor)
   out[t] = relu(direct * M[t] + shift[t] + cheap operations on computed M)               (equation 3.5, then the norm)

   A cheap operation is a 3 x 3 depthwise convolution (9 taps) or one factor a channel (1 tap). Rows are W x C, channels
   innermost, with a pixel of zeros at the end. Of each computed frame of a period four rows are held at a time, and three
   of its M: a row is read from memory once, and what is between stays in the second-level cache. Vectors may reach beyond
   the last channel, into the next pixel; what they find there meets zeros, what they write there is overwritten. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#define LANES 16
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static long padded(long channels) { return (channels + LANES - 1) / LANES * LANES; }
static vector load(const float *p) { return *(const vector *)p; }

struct cheap {         /* one cheap operation */
  long taps;           /* 9 or 1 */
  long source;         /* first kept channel it reads; of the frame mix the computed frame of the period */
  long begin;          /* first channel it makes */
  long channels;       /* how many */
  long adds;           /* 1 where these channels of M were set before; of the frame mix unused */
  const float *kernel; /* taps x padded channels */
};

struct row { /* of maps, with its neighbours; `stride` from pixel to pixel */
  const float *above, *here, *below;
  long stride;
};

enum base { NONE, PLAIN, SCALED };

/* to = scale * base + shift + kernel * neighbourhood, on `channels` channels. Called with constant taps and kind only. */
static inline __attribute__((always_inline)) void fill(int taps, enum base kind, struct row from, const float *kernel,
                                                       const float *base, long base_stride, const float *scale,
                                                       const float *shift, long channels, long width, float *to,
                                                       long to_stride) {
  for (long c = 0; c < channels; c += LANES) {
    const float *weight = kernel + c;
    long next = padded(channels);
    vector k[9], zero = {0}, a0 = zero, b0 = zero, d0 = zero, a1 = zero, b1 = zero, d1 = zero;
    vector added = load(shift + c), factor = kind == SCALED ? load(scale + c) : zero;
    for (int i = 0; i < taps; i++) k[i] = load(weight + i * next);
    if (taps == 9) a1 = load(from.above + c), b1 = load(from.here + c), d1 = load(from.below + c);
    for (long w = 0; w < width; w++) {
      vector v = added;
      if (kind == SCALED) v += factor * load(base + w * base_stride + c);
      if (kind == PLAIN) v += load(base + w * base_stride + c);
      if (taps == 1) v += k[0] * load(from.here + w * from.stride + c);
      if (taps == 9) {
        long after = (w + 1) * from.stride + c;
        vector a2 = load(from.above + after), b2 = load(from.here + after), d2 = load(from.below + after);
        vector left = k[0] * a0 + k[3] * b0 + k[6] * d0, middle = k[1] * a1 + k[4] * b1 + k[7] * d1;
        v += k[2] * a2 + k[5] * b2 + k[8] * d2;
        v += left + middle;
        a0 = a1, b0 = b1, d0 = d1, a1 = a2, b1 = b2, d1 = d2;
      }
      *(vector *)(to + w * to_stride + c) = v;
    }
  }
}

static void make_row(int taps, enum base kind, struct row from, const float *kernel, const float *base,
                     long base_stride, const float *scale, const float *shift, long channels, long width, float *to,
                     long to_stride) {
#define CASE(t, k) \
  if (taps == t && kind == k) \
    fill(t, k, from, kernel, base, base_stride, scale, shift, channels, width, to, to_stride);
  CASE(9, NONE) CASE(9, PLAIN) CASE(9, SCALED) CASE(1, NONE) CASE(1, PLAIN) CASE(1, SCALED) CASE(0, PLAIN)
  CASE(0, SCALED)
}

/* Row y of M for one computed frame, from its raw rows; `constant` is followed by as many zeros. */
static void channel_row(struct row raw, long computed, const struct cheap *generated, long count,
                        const float *constant, long channels, long width, float *to, long stride) {
  const float *zeros = constant + padded(channels) + LANES;
  long untouched = count ? generated[0].begin : channels;
  make_row(0, PLAIN, raw, NULL, raw.here, raw.stride, NULL, zeros, untouched, width, to, stride);
  for (const struct cheap *g = generated; g < generated + count; g++) {
    long c = g->begin;
    struct row from = {raw.above + g->source, raw.here + g->source, raw.below + g->source, raw.stride};
    if (g->adds)
      make_row(g->taps, PLAIN, from, g->kernel, to + c, stride, NULL, zeros, g->channels, width, to + c, stride);
    else
      make_row(g->taps, c < computed ? PLAIN : NONE, from, g->kernel, raw.here + c, raw.stride, NULL, constant + c,
               g->channels, width, to + c, stride);
  }
}

/* Row to memory, past the caches, which would first fetch what is overwritten. NaN stays NaN. */
static void write_row(const float *from, long count, int relu, float *to) {
#ifdef __SSE__
  for (; count && (uintptr_t)to % 16; count--, from++) *to++ = relu && *from < 0 ? 0 : *from;
  for (; count >= 4; count -= 4, from += 4, to += 4) {
    __m128 v = _mm_loadu_ps(from);
    _mm_stream_ps(to, relu ? _mm_max_ps(_mm_setzero_ps(), v) : v);
  }
#endif
  for (; count; count--, from++) *to++ = relu && *from < 0 ? 0 : *from;
}

/* kept: frames x H x W x computed. out: out_frames x H x W x channels. Of each period of `period` frames every
   `factor`-th is computed. generated: by first channel, those that set M before those that add to it. direct, shift:
   period rows of padded channels, of the former those of `has_direct` are used. term_counts[t] of the cheap operations
   in `terms` belong to residue t. Returns 0, or 1 without memory. */
int mix_block(const float *kept, long frames, long height, long width, long computed, long channels,
              const struct cheap *generated, long generated_count, const float *constant, long period, long factor,
              const float *direct, const int *has_direct, const long *term_counts, const struct cheap *terms,
              const float *shift, int relu, float *out, long out_frames) {
  long stride = generated_count ? padded(channels) + LANES : computed, made_stride = padded(channels), per_period = period / factor;
  long row = padded((width + 1) * (padded(channels) + LANES)), raw_row = padded((width + 1) * computed + LANES);
  long held = generated_count ? 3 * per_period : 0; /* rows of M; without a channel mix it is what was kept */
  size_t bytes = (row * (2 + held) + raw_row * (1 + 4 * per_period)) * sizeof(float);
  float *memory = aligned_alloc(4 * LANES, bytes); /* a vector across two cache lines costs two reads */
  if (!memory) return 1;
  memset(memory, 0, bytes);
  float *made = memory, *zeros = made + row, *mixed = zeros + row, *raw_zeros = mixed + held * row,
        *raw = raw_zeros + raw_row;
#define RAW(f, y) ((y) < 0 || (y) >= height ? raw_zeros : raw + ((f) * 4 + (y) % 4) * raw_row)
#define MIXED(f, y) \
  (!generated_count ? RAW(f, y) : (y) < 0 || (y) >= height ? zeros : mixed + ((f) * 3 + (y) % 3) * row)
  for (long begin = 0; begin * period < out_frames; begin++) {
    long first = begin * per_period, present = frames - first < per_period ? frames - first : per_period;
    for (long y = -2; y < height; y++) { /* raw row y + 2, mixed row y + 1, output row y */
      for (long f = 0; f < present; f++) {
        if (y + 2 < height)
          memcpy(RAW(f, y + 2), kept + ((first + f) * height + y + 2) * width * computed, width * computed * sizeof(float));
        struct row around = {RAW(f, y), RAW(f, y + 1), RAW(f, y + 2), computed};
        if (generated_count && y + 1 >= 0 && y + 1 < height)
          channel_row(around, computed, generated, generated_count, constant, channels, width, MIXED(f, y + 1), stride);
      }
      const struct cheap *term = terms;
      for (long t = 0; y >= 0 && t < period && begin * period + t < out_frames; t++) {
        const float *own = has_direct[t] ? MIXED(t / factor, y) : NULL, *factors = direct + t * padded(channels),
                    *shifts = shift + t * padded(channels), *none = constant + padded(channels) + LANES;
        struct row nothing = {0};
        if (!term_counts[t])
          make_row(0, SCALED, nothing, NULL, own, stride, factors, shifts, channels, width, made, made_stride);
        for (long i = 0; i < term_counts[t]; i++, term++) {
          long f = term->source;
          struct row from = {MIXED(f, y - 1), MIXED(f, y), MIXED(f, y + 1), stride};
          if (i)
            make_row(term->taps, PLAIN, from, term->kernel, made, made_stride, NULL, none, channels, width, made,
                     made_stride);
          else
            make_row(term->taps, own ? SCALED : NONE, from, term->kernel, own, stride, factors, shifts, channels, width,
                     made, made_stride);
        }
        if (channels < made_stride)
          for (long w = 1; w < width; w++) memmove(made + w * channels, made + w * made_stride, channels * sizeof(float));
        write_row(made, width * channels, relu, out + ((begin * period + t) * height + y) * width * channels);
      }
    }
  }
  free(memory);
#ifdef __SSE__
  _mm_sfence(); /* other threads see what went past the caches */
#endif
  return 0;
}
