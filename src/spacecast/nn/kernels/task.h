/* A task (nn/native.py), the memory of a call, and what both passes compute. */

#pragma once
#include "vectors.h"

typedef struct {
  const real *table;
  real *gradient; /* NULL: not asked for, as for all gradients */
  const int64_t *numbers;
  int64_t width, stride, repeat, period, once; /* once: each row is read by a single tile */
} Source;

typedef struct {
  const real *weight; /* (out, in) with rows `stride` apart; NULL: the rows as they are */
  const real *bias;
  real *weight_gradient, *bias_gradient;
  int64_t in, out, stride, source;
} Layer;

typedef struct {
  int64_t number, tile, hidden, size, sources, products, layers, afters, kept, receiver_count;
  Source *source;
  Layer *product, *layer;
  const int64_t *after;
  const real *bias, *scale, *shift;
  real *bias_gradient, *scale_gradient, *shift_gradient;
  double epsilon;
  const int64_t *receivers;
  const real *factor;
  real *rows, *sums;
  const real *of_rows, *of_sums;
} Task;

/* Memory of a call: weights without gaps, forwards (in, out) and backwards (out, in), and tables of a tile. */
typedef struct {
  real *forward[16], *backward[16], *gradient[16];
  real *hidden[16], *active[16], *slope[16], *bias[16], *zero, *spread, *read, *product, *spare;
  real *mean, *deviation;
  const real **from, **back;
  real **to;
  int64_t width; /* of the tables of a tile */
} Work;

static void fill(real *to, const real *from, int64_t rows, int64_t columns, int64_t stride, int64_t width, int turned) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[turned ? j * width + i : i * width + j] = from[i * stride + j];
}

static Layer *layer_of(const Task *task, int64_t number) {
  return number < task->products ? task->product + number : task->layer + (number - task->products);
}

static int64_t widest(const Task *task) {
  int64_t width = task->hidden;
  for (int64_t n = 0; n < task->products + task->layers; n++) {
    Layer *layer = layer_of(task, n);
    if (layer->weight && layer->in > width) width = layer->in;
    if (layer->weight && layer->out > width) width = layer->out;
  }
  return padded(width);
}

static Work prepare(const Task *task, int backwards) {
  Work work;
  memset(&work, 0, sizeof work);
  work.width = widest(task);
  for (int64_t n = 0; n < task->products + task->layers; n++) {
    Layer *layer = layer_of(task, n);
    if (!layer->weight) continue;
    work.forward[n] = memory(layer->in * padded(layer->out));
    fill(work.forward[n], layer->weight, layer->out, layer->in, layer->stride, padded(layer->out), 1);
    if (!backwards) continue;
    work.backward[n] = memory(layer->out * padded(layer->in));
    work.gradient[n] = memory(layer->out * padded(layer->in));
    fill(work.backward[n], layer->weight, layer->out, layer->in, layer->stride, padded(layer->in), 0);
  }
  int64_t area = task->tile * work.width;
  for (int64_t n = 0; n <= task->layers; n++) {
    work.hidden[n] = memory(area);
    work.active[n] = backwards ? memory(area) : work.hidden[n];
    work.slope[n] = backwards ? memory(area) : NULL;
    work.bias[n] = memory(work.width);
    const real *bias = n ? task->layer[n - 1].bias : task->bias;
    if (bias) copy(work.bias[n], bias, n ? task->layer[n - 1].out : task->hidden);
  }
  real **tables[] = {&work.zero, &work.spread, &work.read, &work.product, &work.spare};
  for (int n = 0; n < 5; n++) *tables[n] = memory(area);
  work.mean = memory(task->tile), work.deviation = memory(task->tile);
  int64_t most = task->tile > work.width ? task->tile : work.width;
  work.from = malloc(sizeof(real *) * (size_t)most), work.back = malloc(sizeof(real *) * (size_t)most);
  work.to = malloc(sizeof(real *) * (size_t)most);
  if (!work.from || !work.back || !work.to) abort();
  return work;
}

static void release(Work *work) {
  for (int n = 0; n < 16; n++) {
    free(work->forward[n]), free(work->backward[n]), free(work->gradient[n]);
    if (work->active[n] != work->hidden[n]) free(work->active[n]);
    free(work->hidden[n]), free(work->slope[n]), free(work->bias[n]);
  }
  free(work->zero), free(work->spread), free(work->read), free(work->product), free(work->spare);
  free(work->mean), free(work->deviation), free(work->from), free(work->back), free(work->to);
}

INLINE int64_t row_of(const Source *source, int64_t row) {
  if (source->numbers) return source->numbers[row];
  row = row < source->period ? row : row % source->period;
  return source->repeat == 1 ? row : row / source->repeat;
}

static void rows_at(real **place, real *table, int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++) place[i] = table + i * width;
}

/* What comes out of the first layer, then of each further one; `slope` where the backward pass follows. */
static void hidden_rows(const Task *task, Work *work, int64_t start, int64_t rows, int backwards) {
  int64_t width = work->width, wide = padded(task->hidden);
  int begun = 0;
  for (int64_t n = 0; n < task->products; n++) {
    const Source *source = task->source + task->product[n].source;
    int64_t repeat = source->repeat, once = rows / repeat;
    for (int64_t i = 0; i < once; i++)
      work->from[i] = source->table + row_of(source, start + i * repeat) * source->stride;
    if (task->product[n].weight) {
      rows_at(work->to, repeat == 1 ? work->hidden[0] : work->product, once, width);
      const real *first = begun && repeat == 1 ? NULL : begun ? work->zero : work->bias[0];
      multiply(once, task->product[n].in, work->from, 1, work->forward[n], wide, work->to, first);
      for (int64_t i = 0; i < once; i++) work->from[i] = work->to[i];
    }
    for (int64_t i = 0, from = 0; (repeat > 1 || !task->product[n].weight) && i < rows; from++)
      for (int64_t j = 0; j < repeat; j++, i++)
        if (begun) add(work->hidden[0] + i * width, work->from[from], task->hidden);
        else copy(work->hidden[0] + i * width, work->from[from], task->hidden);
    begun = 1;
  }
  for (int64_t n = 0; n < task->layers; n++) {
    const Layer *layer = task->layer + n;
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < layer->in; j += LANES) {
        int64_t at = i * width + j;
        vec x = LOAD(work->hidden[n] + at), s = sigmoid(x);
        STORE(work->active[n] + at, x * s);
        if (backwards) STORE(work->slope[n] + at, s * (1 + x * (1 - s)));
      }
    for (int64_t i = 0; i < rows; i++) {
      work->from[i] = work->active[n] + i * width, work->to[i] = work->hidden[n + 1] + i * width;
    }
    multiply(rows, layer->in, work->from, 1, work->forward[task->products + n], padded(layer->out), work->to,
             work->bias[n + 1]);
  }
}

/* Mean and inverse deviation of each row before the norm. */
static void statistics(const Task *task, Work *work, int64_t rows) {
  for (int64_t i = 0; i < rows; i++) {
    const real *row = work->hidden[task->layers] + i * work->width;
    vec sum = {0}, square = {0};
    for (int64_t j = 0; j < task->size; j += LANES) sum += LOAD(row + j);
    real mean = total(sum) / (real)task->size;
    for (int64_t j = 0; j < task->size; j += LANES) square += (LOAD(row + j) - mean) * (LOAD(row + j) - mean);
    work->mean[i] = mean;
    work->deviation[i] = 1 / ROOT(total(square) / (real)task->size + (real)task->epsilon);
  }
}
