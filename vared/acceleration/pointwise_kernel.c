/* Pointwise convolution of a run of pixels, whose result stays in cache for the pass that mixes it: see affine_kernel.py.

   to[w, k] = sum over input channels c of weight[k, c] * x[w, c]

   Sums stay in registers: WIDEST vectors of kept channels for as many pixels as 24 of the 32 registers of AVX-512 hold. */

#define LANES 16
#define WIDEST 4
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* `vectors` x `pixels` sums; called with constants only. `step`: numbers from one input channel's weights to the next. */
static inline __attribute__((always_inline)) void sums(int vectors, int pixels, const float *x, long inputs,
                                                       const float *weight, long step, float *to, long row) {
  vector sum[24] = {0};
  for (long c = 0; c < inputs; c++) {
    vector w[WIDEST];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) w[j] = *(const vector *)(weight + c * step + j * LANES);
#pragma GCC unroll 24
    for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; j++) sum[i * vectors + j] += w[j] * x[i * inputs + c];
  }
#pragma GCC unroll 24
  for (int i = 0; i < pixels; i++)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) *(vector *)(to + i * row + j * LANES) = sum[i * vectors + j];
}

/* All pixels of a run; the last full set of pixels overlaps the one before it. */
static inline __attribute__((always_inline)) void columns(int vectors, const float *x, long inputs, const float *weight,
                                                          long step, float *to, long row, long pixels) {
  const int at_once = 24 / vectors;
  if (pixels < at_once) {
    for (long w = 0; w < pixels; w++) sums(vectors, 1, x + w * inputs, inputs, weight, step, to + w * row, row);
    return;
  }
  for (long w = 0; w < pixels; w += at_once) {
    if (w + at_once > pixels) w = pixels - at_once;
    /* Pixels are read side by side, which the processor does not foresee. */
    for (long c = at_once * inputs; c < 2 * at_once * inputs; c += LANES) __builtin_prefetch(x + w * inputs + c);
    sums(vectors, at_once, x + w * inputs, inputs, weight, step, to + w * row, row);
  }
}

/* 1 where the code above is compiled for registers that hold its sums. */
int pointwise_fast(void) {
#ifdef __AVX512F__
  return 1;
#else
  return 0;
#endif
}

/* x: pixels x inputs. weight: for each group of WIDEST vectors of channels, inputs x (channels of the group), the last
   group narrower; of `all` vectors of channels the first `vectors` are made. to: pixels x (vectors * LANES). */
void pointwise(const float *x, long inputs, const float *weight, long all, long vectors, float *to, long pixels) {
  long row = vectors * LANES;
  for (long first = 0; first < vectors; first += WIDEST) {
    long held = all - first < WIDEST ? all - first : WIDEST, step = held * LANES;
    long wanted = vectors - first < WIDEST ? vectors - first : WIDEST;
#define CASE(n) \
  case n: columns(n, x, inputs, weight, step, to + first * LANES, row, pixels); break;
    switch (wanted) { CASE(1) CASE(2) CASE(3) CASE(4) }
    weight += inputs * step;
  }
}
