/* Both mixes, normalisation and ReLU of a block of frames where cheap operations act pixel by pixel: see affine_kernel.py.

   Then every channel of every output frame is a weighted sum of a few computed numbers of the same pixel:

   y[t, c] = relu(sum over frames f, channels k of a[t, f, c, k] * kept[f, k] + b[t, c])          (3.1) within (3.5)

   k is c itself, where it is computed, and (c - K_i) mod K_i for each candidate i that does not hold c. The factors a
   and b are put together once for a block, then one loop over pixels reads what was computed and writes the output.
   A pointwise convolution is computed in the same loop, a run of pixels at a time, and never leaves the cache. */

#include <omp.h>
#include <stdlib.h>

struct layer { /* of S_c channel and S_t temporal candidates; operations in the order of the candidates from the second */
  long channels, channel_candidates, temporal_candidates;
  const long *held, *stride;         /* channels K_i, temporal factor R_j */
  const float *channel, *temporal;   /* factor and shift of each operation, 2 x (channels it makes) */
  const float *scale, *shift;        /* normalisation */
  const float *weight;               /* of a pointwise convolution (pointwise_kernel.c), or 0: computed elsewhere */
  long relu, inputs;                 /* channels that it reads */
};

void pointwise(const float *x, long inputs, const float *weight, long all, long vectors, float *to, long pixels);

struct term {
  long frame, channel; /* of what was computed: frame of the period, first channel */
  const float *factor;
};

/* Channels `begin` to `end` - 1, all made of the same terms. */
struct part {
  long begin, end, count;
  struct term *terms;
};

#define FUSED 4 /* terms in one loop */
#define RUN 48  /* pixels that stay in the inner caches while all channels are made */
#define MOST_FRAMES 64 /* computed in a period: of 7 temporal candidates */
#define LANES 16
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * LANES)));

struct pixels { /* a run of pixels: where they lie in memory, and how many numbers from one to the next */
  long count, stride_from, stride_to;
  float *to;
};

/* to = relu(shift + sum of `count` terms) on `channels` channels; NaN stays NaN. Called with constant counts only. The
   last vector of channels overlaps the one before it, which costs less than single numbers at the end. */
static inline __attribute__((always_inline)) void combine(int count, const float *const *x, const float *const *factor,
                                                          const float *shift, long channels, int relu, struct pixels p) {
  if (channels < LANES) {
    for (long w = 0; w < p.count; w++)
      for (long c = 0; c < channels; c++) {
        float v = shift[c];
        for (int i = 0; i < count; i++) v += factor[i][c] * x[i][w * p.stride_from + c];
        p.to[w * p.stride_to + c] = relu && v < 0 ? 0 : v;
      }
    return;
  }
  for (long c = 0; c < channels; c += LANES) {
    if (c + LANES > channels) c = channels - LANES;
    vector f[FUSED], start = *(const vector *)(shift + c), zero = {0};
    for (int i = 0; i < count; i++) f[i] = *(const vector *)(factor[i] + c);
    for (long w = 0; w < p.count; w++) {
      vector v = start;
      for (int i = 0; i < count; i++) v += f[i] * *(const vector *)(x[i] + w * p.stride_from + c);
      if (relu) v = (vector)((mask)v & ~(mask)(v < zero));
      *(vector *)(p.to + w * p.stride_to + c) = v;
    }
  }
}

/* More terms than are fused: one number at a time. */
static void combine_many(const struct part *part, const float *const *frames, const float *shift, int relu,
                         struct pixels p) {
  for (long w = 0; w < p.count; w++)
    for (long c = 0; c < part->end - part->begin; c++) {
      float v = shift[c];
      for (const struct term *term = part->terms; term < part->terms + part->count; term++)
        v += term->factor[c] * frames[term->frame][w * p.stride_from + term->channel + c];
      p.to[w * p.stride_to + c] = relu && v < 0 ? 0 : v;
    }
}

static void make_part(const struct part *part, const float *const *frames, const float *shift, int relu,
                      struct pixels p) {
  const float *x[FUSED], *factor[FUSED];
  p.to += part->begin, shift += part->begin;
  if (part->count > FUSED) return combine_many(part, frames, shift, relu, p);
  for (long i = 0; i < part->count; i++)
    x[i] = frames[part->terms[i].frame] + part->terms[i].channel, factor[i] = part->terms[i].factor;
#define CASE(n) \
  case n: combine(n, x, factor, shift, part->end - part->begin, relu, p); break;
  switch (part->count) { CASE(1) CASE(2) CASE(3) CASE(4) }
}

/* Ascending channel numbers at which the terms change; returns how many. */
static long find_edges(const struct layer *l, long computed, const float *channel_weight, long *edges) {
  long count = 0;
  for (long c = 0; c <= l->channels; c++) {
    int edge = c == 0 || c == computed || c == l->channels;
    for (long i = 1; i < l->channel_candidates; i++) edge |= channel_weight[i] > 0 && c % l->held[i] == 0;
    if (edge) edges[count++] = c;
  }
  return count;
}

/* Adds the terms of M[frame] (equation 3.1), each channel times `outer`, to part `p`, and what they add to `shift`. */
static float *add_frame(const struct layer *l, long frame, const float *outer, const float *channel_weight,
                        long computed, struct part *p, float *shift, float *memory) {
  long width = p->end - p->begin;
  const float *operation = l->channel;
  for (long i = 0; i < l->channel_candidates; i++) {
    long held = l->held[i], made = l->channels - held;
    int holds = p->begin < held;
    if (channel_weight[i] > 0 && !holds) {
      long from = p->begin - held;
      for (long c = 0; c < width; c++) {
        memory[c] = channel_weight[i] * operation[from + c] * outer[p->begin + c];
        shift[p->begin + c] += channel_weight[i] * operation[made + from + c] * outer[p->begin + c];
      }
      p->terms[p->count++] = (struct term){frame, from % held, memory};
      memory += width;
    }
    if (i) operation += 2 * made;
  }
  if (p->begin >= computed) return memory;
  float direct = 0;
  for (long i = 0; i < l->channel_candidates; i++)
    if (p->begin < l->held[i]) direct += channel_weight[i];
  for (long c = 0; c < width; c++) memory[c] = direct * outer[p->begin + c];
  p->terms[p->count++] = (struct term){frame, p->begin, memory};
  return memory + width;
}

/* Computed frames of the period from output frame `t` on, for one run of pixels; returns the distance of its pixels.
   `from` holds the computed frames one after the other or, for a pointwise convolution, all frames of its input. */
static long compute(const struct layer *l, const float *from, struct pixels p, long pixels, long first_pixel, long t,
                    long period, long factor, long frames, long computed, float *memory, const float **own) {
  long vectors = (computed + LANES - 1) / LANES, all = (l->channels + LANES - 1) / LANES, row = vectors * LANES;
  for (long f = 0; f * factor < period && t + f * factor < frames; f++) {
    own[f] = l->weight ? memory + f * RUN * row : from + ((t / factor + f) * pixels + first_pixel) * computed;
    if (l->weight)
      pointwise(from + ((t + f * factor) * pixels + first_pixel) * l->inputs, l->inputs, l->weight, all, vectors,
                memory + f * RUN * row, p.count);
  }
  return l->weight ? row : computed;
}

/* from: n x pixels x computed, every factor-th frame, or frames x pixels x inputs (`compute`). out: frames x pixels x
   channels. `period` is the largest open temporal factor, a weight of 0 means shut. Returns 0, or 1 without memory. */
int affine_block(const struct layer *l, const float *temporal_weight, const float *channel_weight, const float *from,
                 long pixels, long computed, long period, long factor, float *out, long frames) {
  long n = l->channels, most = l->temporal_candidates * (l->channel_candidates + 1), per_period = period / factor;
  long room = l->weight ? per_period * RUN * (computed + LANES) : 0; /* of a thread, for what it convolves */
  float *computed_here = malloc((omp_get_max_threads() * room + 1) * sizeof *computed_here);
  long *edges = malloc((n + 1) * sizeof *edges);
  struct part *parts = malloc(period * n * sizeof *parts);
  struct term *terms = malloc(period * n * most * sizeof *terms);
  float *memory = malloc(((most + 1) * period * n + n) * sizeof *memory), *next = memory;
  int failed = per_period > MOST_FRAMES || !edges || !parts || !terms || !memory || !computed_here;
  if (failed) goto end;
  long count = find_edges(l, computed, channel_weight, edges) - 1, offset_term = 0;
  float *outer = next, *shift = next + n;
  next = shift + period * n;
  for (long t = 0; t < period; t++) {
    for (long c = 0; c < n; c++) shift[t * n + c] = l->shift[c];
    for (long e = 0; e < count; e++, offset_term += most)
      parts[t * count + e] = (struct part){edges[e], edges[e + 1], 0, terms + offset_term};
    const float *operation = l->temporal;
    float direct = 0;
    for (long j = 0; j < l->temporal_candidates; j++) {
      long offset = t % l->stride[j];
      if (temporal_weight[j] > 0 && !offset) direct += temporal_weight[j];
      if (temporal_weight[j] > 0 && offset) {
        const float *own = operation + 2 * n * (offset - 1);
        for (long c = 0; c < n; c++) {
          outer[c] = temporal_weight[j] * own[c] * l->scale[c];
          shift[t * n + c] += temporal_weight[j] * own[n + c] * l->scale[c];
        }
        for (long e = 0; e < count; e++)
          next = add_frame(l, (t - offset) / factor, outer, channel_weight, computed, parts + t * count + e,
                           shift + t * n, next);
      }
      operation += 2 * n * (l->stride[j] - 1);
    }
    for (long c = 0; c < n; c++) outer[c] = direct * l->scale[c];
    for (long e = 0; direct > 0 && e < count; e++)
      next = add_frame(l, t / factor, outer, channel_weight, computed, parts + t * count + e, shift + t * n, next);
  }
  long runs = (pixels + RUN - 1) / RUN, periods = (frames + period - 1) / period;
#pragma omp parallel for schedule(static)
  for (long number = 0; number < periods * runs; number++) {
    long begin = number / runs * period, w = number % runs * RUN;
    struct pixels run = {pixels - w < RUN ? pixels - w : RUN, 0, n, 0};
    const float *own[MOST_FRAMES];
    float *here = computed_here + omp_get_thread_num() * room;
    run.stride_from = compute(l, from, run, pixels, w, begin, period, factor, frames, computed, here, own);
    for (long t = 0; t < period && begin + t < frames; t++) {
      run.to = out + ((begin + t) * pixels + w) * n;
      for (long e = 0; e < count; e++) make_part(parts + t * count + e, own, shift + t * n, l->relu, run);
    }
  }
end:
  free(edges), free(parts), free(terms), free(memory), free(computed_here);
  return failed;
}
