/* A task (nn/native.py), the memory of a call, and what both passes compute. */

#pragma once
#include "vectors.h"

typedef struct {
  const real *table;
  real *gradient; /* NULL: not asked for, as for all gradients */
  const int64_t *numbers;
  int64_t width, stride, repeat, period, once; /* once: each row is read by a single tile */
  int64_t apart;                               /* from the gradient of a part to that of the next */
} Source;

typedef struct {
  const real *weight; /* (out, in) with rows `stride` apart; NULL: the rows as they are */
  const real *bias;
  real *weight_gradient, *bias_gradient;
  int64_t in, out, stride, source;
} Layer;

/* `parts` have ranges of rows each, [first, end), whole runs of `together` rows and of those of a receiver. */
typedef struct {
  int64_t parts, together, first, end, number, tile, hidden, size, sources, products, layers, afters, kept, receiver_count;
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

/* Memory of a part: weights without gaps, forwards (in, out) and backwards (out, in), and tables of a tile. */
typedef struct {
  real *forward[16], *backward[16], *gradient[16];
  real *hidden[16], *active[16], *slope[16], *bias[16], *zero, *spread, *read, *product, *spare;
  real *mean, *deviation;
  real *part[16];                          /* products of rows that are read several times in turn */
  const real **from, **back, **addend[16]; /* addend: rows of the sum that comes out of the first layer */
  real **to;
  int64_t addends;
  int64_t width; /* of the tables of a tile */
  Ahead ahead;
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
  for (int64_t n = 0; n < task->products; n++)
    if (!(work.addend[n] = malloc(sizeof(real *) * (size_t)task->tile))) abort();
  for (int64_t n = 0; n < task->products; n++)
    if (task->product[n].weight && task->source[task->product[n].source].repeat > 1) work.part[n] = memory(area);
  return work;
}

static void release(Work *work) {
  for (int n = 0; n < 16; n++) {
    free(work->forward[n]), free(work->backward[n]), free(work->gradient[n]);
    if (work->active[n] != work->hidden[n]) free(work->active[n]);
    free(work->hidden[n]), free(work->slope[n]), free(work->bias[n]);
    free(work->addend[n]), free(work->part[n]);
  }
  free(work->zero), free(work->spread), free(work->read), free(work->product), free(work->spare);
  free(work->mean), free(work->deviation), free(work->from), free(work->back), free(work->to);
}

INLINE int64_t row_of(const Source *source, int64_t row) {
  if (source->numbers) return source->numbers[row];
  row = row < source->period ? row : row % source->period;
  return source->repeat == 1 ? row : row / source->repeat;
}

/* Rows of the tile from `start` on; 0 or less behind the last tile. */
INLINE int64_t tile_rows(const Task *task, int64_t start) {
  return task->end - start < task->tile ? task->end - start : task->tile;
}

/* What the tile from `start` on needs of tables that are read row by row; those of gathers are mostly small. */
static void next_tile(const Task *task, Work *work, int64_t start, int backwards) {
  int64_t rows = tile_rows(task, start);
  Ahead *ahead = &work->ahead;
  ahead->now = ahead->count = 0;
  if (rows <= 0) return;
  for (int64_t n = 0; n < task->sources; n++) {
    const Source *source = task->source + n;
    if (source->numbers) continue;
    int64_t row = row_of(source, start), count = rows / source->repeat;
    look_ahead(ahead, source->table + row * source->stride, count * source->stride);
    if (backwards && source->gradient) look_ahead(ahead, source->gradient + row * source->width, count * source->width);
  }
  const real *table = backwards ? task->of_rows : task->rows, *sums = backwards ? task->of_sums : task->sums;
  if (table) look_ahead(ahead, table + start * task->size, rows * task->size);
  if (!sums) return;
  int64_t receiver = task->receivers[start], last = task->receivers[start + rows - 1];
  look_ahead(ahead, sums + receiver * task->size, (last - receiver + 1) * task->size);
}

/* Where rows from `start` on read a source, each row of a repeated table once. */
static void places(const Source *source, int64_t start, int64_t count, const real **place) {
  int64_t row = start % source->period / source->repeat, end = source->period / source->repeat;
  for (int64_t i = 0; i < count; i++) {
    place[i] = source->table + (source->numbers ? source->numbers[start + i] : row) * source->stride;
    if (++row == end) row = 0;
  }
}

static void rows_at(real **place, real *table, int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++) place[i] = table + i * width;
}

/* Addends of what comes out of the first layer; the first of them are rows of `hidden` where a product goes there. */
static void addends(const Task *task, Work *work, int64_t start, int64_t rows) {
  int64_t width = work->width, wide = padded(task->hidden);
  int begun = 0, biased = 0;
  for (int64_t n = 0; n < task->products; n++)
    if (task->product[n].weight && task->source[task->product[n].source].repeat == 1) begun = 1;
  if (begun) rows_at((real **)work->addend[0], work->hidden[0], rows, width);
  work->addends = begun;
  for (int64_t n = 0, more = 0; n < task->products; n++) {
    const Source *source = task->source + task->product[n].source;
    int64_t repeat = source->repeat, once = rows / repeat;
    places(source, start, once, work->from);
    if (task->product[n].weight) {
      const real *first = repeat == 1 && more ? NULL : biased ? work->zero : work->bias[0];
      rows_at(work->to, repeat == 1 ? work->hidden[0] : work->part[n], once, width);
      multiply(&work->ahead, once, task->product[n].in, work->from, 1, work->forward[n], wide, work->to, first);
      biased = 1, more |= repeat == 1;
      if (repeat == 1) continue;
      for (int64_t i = 0; i < once; i++) work->from[i] = work->to[i];
    }
    const real **addend = work->addend[work->addends++];
    for (int64_t i = 0, from = 0; i < rows; from++)
      for (int64_t j = 0; j < repeat; j++) addend[i++] = work->from[from];
  }
}

/* Their sum in `hidden`. */
static void add_addends(const Task *task, Work *work, int64_t rows) {
  for (int64_t i = 0; i < rows; i++) {
    real *row = work->hidden[0] + i * work->width;
    if (work->addend[0][i] != row) copy(row, work->addend[0][i], task->hidden);
    for (int64_t n = 1; n < work->addends; n++) add(row, work->addend[n][i], task->hidden);
    work->addend[0][i] = row;
  }
  work->addends = 1;
}

/* SiLU of the sum of addends, and its slope where the backward pass follows. */
INLINE void activate(Work *work, int64_t n, int64_t rows, int64_t vectors, int64_t count, int backwards) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < vectors * LANES; j += LANES) {
      vec x = LOAD(work->addend[0][i] + j);
      for (int64_t m = 1; m < count; m++) x += LOAD(work->addend[m][i] + j);
      vec s = sigmoid(x);
      STORE(work->active[n] + i * work->width + j, x * s);
      if (backwards) STORE(work->slope[n] + i * work->width + j, s * (1 + x * (1 - s)));
    }
}

/* What comes out of the first layer, then of each further one; `slope` where the backward pass follows. */
static void hidden_rows(const Task *task, Work *work, int64_t start, int64_t rows, int backwards) {
  addends(task, work, start, rows);
  if (!task->layers || task->hidden % LANES) add_addends(task, work, rows);
  for (int64_t n = 0; n < task->layers; n++) {
    const Layer *layer = task->layer + n;
    int64_t vectors = padded(layer->in) / LANES, count = n ? 1 : work->addends;
    if (n) rows_at((real **)work->addend[0], work->hidden[n], rows, work->width);
#define USUAL(COUNT) \
  if (vectors == 4 && count == COUNT) activate(work, n, rows, 4, COUNT, backwards); else
    USUAL(1) USUAL(2) USUAL(3) activate(work, n, rows, vectors, count, backwards);
#undef USUAL
    rows_at((real **)work->from, work->active[n], rows, work->width);
    rows_at(work->to, work->hidden[n + 1], rows, work->width);
    multiply(&work->ahead, rows, layer->in, work->from, 1, work->forward[task->products + n], padded(layer->out),
             work->to, work->bias[n + 1]);
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
