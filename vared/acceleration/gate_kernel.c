/* A gate's decision in one call (equation 3.4), in inference: see gate_kernel.py.

   u = mean of x over H, W, [mean over T] -> h = tanh(norm(W1 u)) -> z = tanh(W2 h + b) -> V = max(z, 0), all-zero rule */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define RUN 64 /* pixels in one partial sum: sums of sums keep single precision exact enough */
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

struct gate { /* batch normalisation with statistics; `outputs` of all candidates, those of time first */
  long channels, frames, hidden, outputs, temporal_outputs;
  int pool_time; /* whether u is a mean over frames too */
  const float *reduce, *mean, *variance, *weight, *bias, *expand, *expand_bias;
  float epsilon, all_zero;
};

/* mean = average of pixels x channels over pixels; `part` has room for as many channels. */
static void average(const float *x, long pixels, long channels, float *part, float *mean) {
  memset(mean, 0, channels * sizeof *mean);
  for (long first = 0; first < pixels; first += RUN) {
    long count = pixels - first < RUN ? pixels - first : RUN, w = 0;
    const float *run = x + first * channels;
    memset(part, 0, channels * sizeof *part);
    for (; w + 4 <= count; w += 4, run += 4 * channels)
      for (long c = 0; c < channels; c++)
        part[c] += (run[c] + run[channels + c]) + (run[2 * channels + c] + run[3 * channels + c]);
    for (; w < count; w++, run += channels)
      for (long c = 0; c < channels; c++) part[c] += run[c];
    for (long c = 0; c < channels; c++) mean[c] += part[c];
  }
  for (long c = 0; c < channels; c++) mean[c] /= pixels;
}

static float product(const float *a, const float *b, long count) {
  vector sums = {0};
  float sum = 0;
  long i = 0;
  for (; i + LANES <= count; i += LANES) sums += *(const vector *)(a + i) * *(const vector *)(b + i);
  for (; i < count; i++) sum += a[i] * b[i];
  for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
  return sum;
}

/* Candidate weights of one dimension; NaN stays NaN. */
static void open_candidates(float *score, long candidates, float all_zero) {
  int shut = 1;
  for (long i = 0; i < candidates; i++) {
    if (score[i] < 0) score[i] = 0;
    shut &= score[i] == 0;
  }
  if (shut && candidates) score[candidates - 1] = all_zero;
}

/* x: clips x frames x pixels x channels. opened: clips x outputs. Returns 0, or 1 without memory. */
int gate_decisions(const struct gate *g, const float *x, long clips, long pixels, float *opened) {
  long channels = g->channels, frames = g->frames, inputs = g->pool_time ? channels : channels * frames;
  float *means = malloc(clips * frames * channels * sizeof *means), *parts = malloc(clips * frames * channels * sizeof *parts);
  float *pooled = malloc((inputs + g->hidden) * sizeof *pooled), *h = pooled + inputs;
  int failed = !means || !parts || !pooled;
  if (failed) goto end;
#pragma omp parallel for schedule(static)
  for (long i = 0; i < clips * frames; i++)
    average(x + i * pixels * channels, pixels, channels, parts + i * channels, means + i * channels);
  for (long clip = 0; clip < clips; clip++) {
    const float *mean = means + clip * frames * channels;
    float *out = opened + clip * g->outputs;
    memset(pooled, 0, inputs * sizeof *pooled);
    for (long t = 0; t < frames; t++)
      for (long c = 0; c < channels; c++) pooled[g->pool_time ? c : c * frames + t] += mean[t * channels + c];
    for (long c = 0; g->pool_time && c < channels; c++) pooled[c] /= frames;
    for (long k = 0; k < g->hidden; k++) {
      float centred = product(g->reduce + k * inputs, pooled, inputs) - g->mean[k];
      h[k] = tanhf(centred / sqrtf(g->variance[k] + g->epsilon) * g->weight[k] + g->bias[k]);
    }
    for (long k = 0; k < g->outputs; k++)
      out[k] = tanhf(product(g->expand + k * g->hidden, h, g->hidden) + g->expand_bias[k]);
    open_candidates(out, g->temporal_outputs, g->all_zero);
    open_candidates(out + g->temporal_outputs, g->outputs - g->temporal_outputs, g->all_zero);
  }
end:
  free(means), free(parts), free(pooled);
  return failed;
}
