/* Both mixes, normalisation and ReLU of a block of frames in one pass over memory, row by row: see blocks.py.

   M[f]  = kept[f] on its K channels, plus 3 x 3 depthwise convolutions of kept[f]         (equation 3.1, over a factor)
   out[t] = relu(direct * M[t] + shift + 3 x 3 depthwise convolutions of computed M)       (equation 3.5, then the norm)

   Rows are W x C, channels innermost. Three rows of each computed frame of a period are held at a time, so that a row
   is read from memory once and everything between stays in the second-level cache. Channels are padded with zeros to
   whole vectors in those rows and in all kernels (9 x padded channels). */

#include <stdlib.h>
#include <string.h>

#define LANES 16
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static long padded(long channels) { return (channels + LANES - 1) / LANES * LANES; }
static vector load(const float *p) { return *(const vector *)p; }
static void store(float *p, vector v) { *(vector *)p = v; }

/* to[w] += sum of kernel * neighbourhood of w in the rows above, here, below; `count` channels, a multiple of LANES. */
static void add_stencil(const float *above, const float *here, const float *below, long stride, const float *kernel,
                        long count, long width, float *to, long to_stride) {
  for (long c = 0; c < count; c += LANES) {
    vector k[9], zero = {0};
    for (int i = 0; i < 9; i++) k[i] = load(kernel + i * count + c);
    vector a0 = zero, b0 = zero, d0 = zero, a1 = load(above + c), b1 = load(here + c), d1 = load(below + c);
    for (long w = 0; w < width; w++) {
      long next = (w + 1) * stride + c;
      int inside = w + 1 < width;
      vector a2 = inside ? load(above + next) : zero, b2 = inside ? load(here + next) : zero,
             d2 = inside ? load(below + next) : zero;
      float *p = to + w * to_stride + c;
      vector left = k[0] * a0 + k[3] * b0 + k[6] * d0, middle = k[1] * a1 + k[4] * b1 + k[7] * d1,
             right = k[2] * a2 + k[5] * b2 + k[8] * d2;
      store(p, load(p) + (left + middle) + right);
      a0 = a1, b0 = b1, d0 = d1, a1 = a2, b1 = b2, d1 = d2;
    }
  }
}

struct cheap {      /* one depthwise convolution */
  long source;      /* channel mix: unused; frame mix: computed frame of the period it reads */
  long begin;       /* first channel it is added to */
  long channels;    /* how many it makes */
  const float *kernel;
};

/* Row y of M for one computed frame, from its raw rows. */
static void channel_row(const float *above, const float *here, const float *below, long width, long computed,
                        long raw_stride, const struct cheap *generated, long count, float *row, long stride) {
  for (long w = 0; w < width; w++) {
    memcpy(row + w * stride, here + w * raw_stride, computed * sizeof(float));
    memset(row + w * stride + computed, 0, (stride - computed) * sizeof(float));
  }
  for (long g = 0; g < count; g++)
    add_stencil(above, here, below, raw_stride, generated[g].kernel, padded(generated[g].channels), width,
                row + generated[g].begin, stride);
}

static void write_row(const float *from, long stride, long width, long channels, int relu, float *to) {
  for (long w = 0; w < width; w++) {
    const float *p = from + w * stride;
    float *q = to + w * channels;
    if (relu)
      for (long c = 0; c < channels; c++) q[c] = p[c] < 0 ? 0 : p[c]; /* NaN stays NaN */
    else
      memcpy(q, p, channels * sizeof(float));
  }
}

/* kept: frames x H x W x computed. out: out_frames x H x W x channels. Of each period of `period` frames every
   `factor`-th is computed. direct: period rows of padded channels, those of `has_direct` are used. terms[t] of the
   cheap operations in `temporal` belong to residue t. Returns 0, or 1 without memory. */
int mix_block(const float *kept, long frames, long height, long width, long computed, long channels,
              const struct cheap *generated, long generated_count, long period, long factor, const float *direct,
              const int *has_direct, const long *terms, const struct cheap *temporal, const float *shift, int relu,
              float *out, long out_frames) {
  long stride = padded(channels) + LANES, raw_stride = padded(computed) + LANES, per_period = period / factor;
  long row = width * stride, raw_row = width * raw_stride;
  float *memory = calloc(row * 2 + raw_row + per_period * 3 * (row + raw_row), sizeof(float));
  if (!memory) return 1;
  float *sum = memory, *zeros = sum + row, *raw_zeros = zeros + row, *mixed = raw_zeros + raw_row,
        *raw = mixed + per_period * 3 * row;
#define MIXED(f, y) ((y) < 0 || (y) >= height ? zeros : mixed + ((f) * 3 + (y) % 3) * row)
#define RAW(f, y) ((y) < 0 || (y) >= height ? raw_zeros : raw + ((f) * 3 + (y) % 3) * raw_row)
  for (long begin = 0; begin * period < out_frames; begin++) {
    long first = begin * per_period, present = frames - first < per_period ? frames - first : per_period;
    for (long y = -2; y < height; y++) { /* raw row y + 2, mixed row y + 1, output row y */
      for (long f = 0; f < present; f++) {
        if (y + 2 < height)
          for (long w = 0; w < width; w++)
            memcpy(RAW(f, y + 2) + w * raw_stride, kept + (((first + f) * height + y + 2) * width + w) * computed,
                   computed * sizeof(float));
        if (y + 1 >= 0 && y + 1 < height)
          channel_row(RAW(f, y), RAW(f, y + 1), RAW(f, y + 2), width, computed, raw_stride, generated, generated_count,
                      MIXED(f, y + 1), stride);
      }
      if (y < 0) continue;
      const struct cheap *term = temporal;
      for (long t = 0; t < period && begin * period + t < out_frames; t++) {
        for (long c = 0; c < padded(channels); c += LANES) {
          vector d = load(direct + t * padded(channels) + c), s = load(shift + c);
          for (long w = 0; w < width; w++) {
            vector v = s;
            if (has_direct[t]) v += d * load(MIXED(t / factor, y) + w * stride + c);
            store(sum + w * stride + c, v);
          }
        }
        for (long i = 0; i < terms[t]; i++, term++)
          add_stencil(MIXED(term->source, y - 1), MIXED(term->source, y), MIXED(term->source, y + 1), stride,
                      term->kernel, padded(channels), width, sum, stride);
        write_row(sum, stride, width, channels, relu, out + ((begin * period + t) * height + y) * width * channels);
      }
    }
  }
  free(memory);
  return 0;
}
