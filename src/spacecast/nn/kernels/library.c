/* Networks of nodes and edges (nn/rows.py), some rows at a time, in one pass forwards and one backwards.

What lies between input and output of a few dozen rows stays in the nearest cache. Compiled by
nn/native.py. */

#include "norm.h"

static const real *read_by(const Task *task, int64_t source, int64_t row) {
  return task->source[source].table + row_of(task->source + source, row) * task->source[source].stride;
}

/* Receivers [first, last) have no row. */
static void empty_sums(const Task *task, int64_t first, int64_t last) {
  if (first < last) memset(task->sums + first * task->size, 0, (size_t)((last - first) * task->size) * sizeof(real));
}

static void finish_sum(const Task *task, int64_t receiver) {
  if (!task->factor || receiver < first_receiver(task)) return;
  for (int64_t j = 0; j < task->size; j++) task->sums[receiver * task->size + j] *= task->factor[receiver];
}

/* Add a row to the sum of its receiver; they come in order, `last` is the one before. */
INLINE int64_t add_sum(const Task *task, int64_t receiver, int64_t last, const real *row) {
  real *sum = task->sums + receiver * task->size;
  if (receiver == last) {
    add(sum, row, task->size);
    return last;
  }
  finish_sum(task, last);
  empty_sums(task, last + 1, receiver);
  copy(sum, row, task->size);
  return receiver;
}

INLINE void normalise(const Task *task, const Work *work, int64_t i, real *row) {
  for (int64_t j = 0; j < task->size; j += LANES)
    STORE(row + j, (LOAD(row + j) - work->mean[i]) * work->deviation[i] * LOAD(task->scale + j) +
                     LOAD(task->shift + j));
}

/* Norm, sums and rows of a tile; the last receiver. */
static int64_t finish(const Task *task, Work *work, int64_t start, int64_t rows, int64_t last) {
  if (task->scale) statistics(task, work, rows);
  for (int64_t i = 0; i < rows; i++) {
    real *row = work->hidden[task->layers] + i * work->width;
    if (task->scale) normalise(task, work, i, row);
    for (int64_t n = 0; n < task->afters; n++) add(row, read_by(task, task->after[n], start + i), task->size);
    if (task->sums) last = add_sum(task, task->receivers[start + i], last, row);
    if (!task->rows) continue;
    real *out = task->rows + (start + i) * task->size;
    copy(out, row, task->size);
    if (task->kept >= 0) add(out, read_by(task, task->kept, start + i), task->size);
  }
  return last;
}

/* The same where rows have V vectors and a norm: each is read and written once. */
INLINE int64_t finish_vectors(const Task *task, Work *work, int64_t start, int64_t rows, int64_t last, const int V) {
  for (int64_t i = 0; i < rows; i++) {
    vec row[8];
    real deviation = centred(work->hidden[task->layers] + i * work->width, row, V, (real)task->epsilon);
    for (int j = 0; j < V; j++)
      row[j] = row[j] * deviation * LOAD(task->scale + j * LANES) + LOAD(task->shift + j * LANES);
    for (int64_t n = 0; n < task->afters; n++) {
      const real *more = read_by(task, task->after[n], start + i);
      for (int j = 0; j < V; j++) row[j] += LOAD(more + j * LANES);
    }
    if (task->sums) last = add_sum(task, task->receivers[start + i], last, (const real *)row);
    if (!task->rows) continue;
    const real *more = task->kept < 0 ? NULL : read_by(task, task->kept, start + i);
    for (int j = 0; j < V; j++)
      STORE(task->rows + (start + i) * task->size + j * LANES, more ? row[j] + LOAD(more + j * LANES) : row[j]);
  }
  return last;
}

static void forward_part(const Task *task) {
  Work work = prepare(task, 0);
  int64_t last = task->sums ? first_receiver(task) - 1 : -1, vectors = task->scale ? task->size / LANES : 0; /* a norm is of whole vectors */
  for (int64_t start = task->first; start < task->end; start += task->tile) {
    int64_t rows = tile_rows(task, start);
    next_tile(task, &work, start + rows, 0);
    hidden_rows(task, &work, start, rows, 0);
    if (vectors == 4) last = finish_vectors(task, &work, start, rows, last, 4);
    else if (vectors == 8) last = finish_vectors(task, &work, start, rows, last, 8);
    else last = finish(task, &work, start, rows, last);
  }
  if (task->sums) finish_sum(task, last), empty_sums(task, last + 1, end_of_receivers(task));
  release(&work);
}

/* Gradient of the values of a tile (`spread`), and of what was added to them. */
static void incoming(const Task *task, Work *work, int64_t start, int64_t rows) {
  int64_t size = task->size;
  for (int64_t n = 0; n < task->sources; n++) {
    const Source *source = task->source + n;
    if (source->gradient && source->once)
      clear(source->gradient + start / source->repeat * source->width, rows / source->repeat * source->width);
  }
  for (int64_t i = 0; i < rows; i++) {
    real *row = work->spread + i * work->width;
    clear(row, padded(size));
    if (task->of_rows) {
      const real *mine = task->of_rows + (start + i) * size;
      copy(row, mine, size);
      if (task->kept >= 0 && task->source[task->kept].gradient) {
        const Source *source = task->source + task->kept;
        add(source->gradient + row_of(source, start + i) * source->width, mine, size);
      }
    }
    if (task->of_sums) {
      int64_t receiver = task->receivers[start + i];
      real factor = task->factor ? task->factor[receiver] : 1;
      const real *mine = task->of_sums + receiver * size;
      int64_t j = 0;
      for (; j + LANES <= size; j += LANES) STORE(row + j, LOAD(row + j) + factor * LOAD(mine + j));
      for (; j < size; j++) row[j] += factor * mine[j];
    }
    for (int64_t n = 0; n < task->afters; n++) {
      const Source *source = task->source + task->after[n];
      if (source->gradient) add(source->gradient + row_of(source, start + i) * source->width, row, size);
    }
  }
}

static void through_norm(const Task *task, Work *work, int64_t rows) {
  real share = 1 / (real)task->size;
  for (int64_t i = 0; i < rows; i++) {
    real *gradient = work->spread + i * work->width, *row = work->hidden[task->layers] + i * work->width;
    vec sum = {0}, along = {0};
    for (int64_t j = 0; j < task->size; j += LANES) {
      vec normal = (LOAD(row + j) - work->mean[i]) * work->deviation[i], mine = LOAD(gradient + j);
      if (task->scale_gradient) STORE(task->scale_gradient + j, LOAD(task->scale_gradient + j) + mine * normal);
      if (task->shift_gradient) STORE(task->shift_gradient + j, LOAD(task->shift_gradient + j) + mine);
      mine *= LOAD(task->scale + j);
      sum += mine, along += mine * normal;
      STORE(row + j, normal), STORE(gradient + j, mine);
    }
    real mean = total(sum) * share, slope = total(along) * share;
    for (int64_t j = 0; j < task->size; j += LANES)
      STORE(gradient + j, (LOAD(gradient + j) - mean - LOAD(row + j) * slope) * work->deviation[i]);
  }
}

/* The same, statistics included, where rows have V vectors: each is read and written once. */
INLINE void through_norm_vectors(const Task *task, Work *work, int64_t rows, const int V) {
  vec of_scale[8] = {0}, of_shift[8] = {0};
  real share = 1 / (real)task->size;
  for (int64_t i = 0; i < rows; i++) {
    real *place = work->spread + i * work->width;
    vec row[8], mine[8], all = {0}, along = {0};
    real deviation = centred(work->hidden[task->layers] + i * work->width, row, V, (real)task->epsilon);
    for (int j = 0; j < V; j++) {
      row[j] *= deviation, mine[j] = LOAD(place + j * LANES);
      of_scale[j] += mine[j] * row[j], of_shift[j] += mine[j];
      mine[j] *= LOAD(task->scale + j * LANES);
      all += mine[j], along += mine[j] * row[j];
    }
    real mean = total(all) * share, slope = total(along) * share;
    for (int j = 0; j < V; j++) STORE(place + j * LANES, (mine[j] - mean - row[j] * slope) * deviation);
  }
  if (task->scale_gradient) add(task->scale_gradient, (const real *)of_scale, task->size);
  if (task->shift_gradient) add(task->shift_gradient, (const real *)of_shift, task->size);
}

/* Gradient of a weight, and that of its input: into `product`, or added to `to`; both where they are asked for. */
static void through_layer(const Layer *layer, Work *work, int64_t n, int64_t rows, real *gradient, const real *input,
                          int on, real *to) {
  int64_t width = work->width, wide = padded(layer->in);
  if (layer->weight_gradient) {
    for (int64_t j = 0; j < layer->out; j++) work->back[j] = gradient + j;
    rows_at(work->to, work->gradient[n], layer->out, wide);
    /* rows of `input` are `wide` apart */
    multiply(&work->ahead, layer->out, rows, work->back, width, input, wide, work->to, NULL);
  }
  if (!on) return;
  rows_at(work->to, to ? to : work->product, rows, to ? wide : width);
  rows_at((real **)work->from, gradient, rows, width);
  multiply(&work->ahead, rows, layer->out, work->from, 1, work->backward[n], wide, work->to, to ? NULL : work->zero);
}

/* Rows without the gaps that tables of a tile may have. */
static real *close_up(const real *table, real *place, int64_t rows, int64_t width, int64_t wide) {
  if (width == wide) return (real *)table;
  for (int64_t i = 0; i < rows; i++) copy(place + i * wide, table + i * width, wide);
  return place;
}

/* Sums of `repeat` rows in turn. */
static void add_up(real *to, const real *rows, int64_t sums, int64_t repeat, int64_t width) {
  for (int64_t i = 0; i < sums; i++)
    for (int64_t j = 0; j < width; j += LANES) {
      vec sum = LOAD(rows + i * repeat * width + j);
      for (int64_t k = 1; k < repeat; k++) sum += LOAD(rows + (i * repeat + k) * width + j);
      STORE(to + i * width + j, sum);
    }
}

/* What a tile reads of a table, each row once, without gaps: the table itself where it has whole vectors and no gap. */
static const real *rows_read(const Source *source, Work *work, int64_t start, int64_t once, int64_t columns) {
  int64_t wide = padded(columns);
  if (source->once && columns == wide && source->stride == wide) return source->table + start / source->repeat * wide;
  for (int64_t i = 0; i < once; i++) {
    real *row = work->read + i * wide;
    copy(row, source->table + row_of(source, start + i * source->repeat) * source->stride, columns);
    clear(row + columns, wide - columns);
  }
  return work->read;
}

static void through_first(const Task *task, Work *work, int64_t start, int64_t rows) {
  for (int64_t n = 0; n < task->products; n++) {
    const Layer *layer = task->product + n;
    const Source *source = task->source + layer->source;
    int64_t repeat = source->repeat, once = rows / repeat, width = work->width;
    real *gradient = work->spread, *to = source->gradient;
    if (repeat > 1) add_up(gradient = work->spare, work->spread, once, repeat, width);
    if (layer->weight) {
      const real *read = rows_read(source, work, start, once, layer->in);
      int direct = to && source->once && layer->in == padded(layer->in) && source->width == layer->in;
      real *place = direct ? to + start / repeat * source->width : NULL;
      through_layer(layer, work, n, once, gradient, read, to != NULL, place);
      if (direct) continue;
      gradient = work->product;
    }
    for (int64_t i = 0; to && i < once; i++)
      add(to + row_of(source, start + i * repeat) * source->width, gradient + i * width, source->width);
  }
}

static void add_columns(real *to, const real *table, int64_t rows, int64_t width, int64_t columns) {
  for (int64_t j = 0; to && j < columns; j += LANES) {
    vec sum = {0};
    for (int64_t i = 0; i < rows; i++) sum += LOAD(table + i * width + j);
    add(to + j, (const real *)&sum, columns - j < LANES ? columns - j : LANES);
  }
}

/* Gradient of what comes out of a layer from that of its SiLU; its columns are added to the gradient of a bias. */
static void through_silu(Work *work, int64_t n, int64_t rows, int64_t columns, real *to) {
  for (int64_t j = 0; j < columns; j += LANES) {
    vec sum = {0};
    for (int64_t at = j; at < j + rows * work->width; at += work->width) {
      vec mine = LOAD(work->product + at) * LOAD(work->slope[n] + at);
      STORE(work->spread + at, mine), sum += mine;
    }
    if (to) add(to + j, (const real *)&sum, columns - j < LANES ? columns - j : LANES);
  }
}

static void backward_part(const Task *task) {
  Work work = prepare(task, 1);
  for (int64_t start = task->first; start < task->end; start += task->tile) {
    int64_t rows = tile_rows(task, start);
    next_tile(task, &work, start + rows, 1);
    hidden_rows(task, &work, start, rows, 1);
    incoming(task, &work, start, rows);
    if (task->scale && task->size == 4 * LANES) through_norm_vectors(task, &work, rows, 4);
    else if (task->scale && task->size == 8 * LANES) through_norm_vectors(task, &work, rows, 8);
    else if (task->scale) statistics(task, &work, rows), through_norm(task, &work, rows);
    real *constant = task->layers ? task->layer[task->layers - 1].bias_gradient : task->bias_gradient;
    add_columns(constant, work.spread, rows, work.width, task->size);
    for (int64_t n = task->layers - 1; n >= 0; n--) {
      const Layer *layer = task->layer + n;
      real *input = close_up(work.active[n], work.read, rows, work.width, padded(layer->in));
      through_layer(layer, &work, task->products + n, rows, work.spread, input, 1, NULL);
      through_silu(&work, n, rows, layer->in, n ? task->layer[n - 1].bias_gradient : task->bias_gradient);
    }
    through_first(task, &work, start, rows);
  }
  for (int64_t n = 0; n < task->products + task->layers; n++) {
    const Layer *layer = layer_of(task, n);
    for (int64_t i = 0; layer->weight_gradient && i < layer->out; i++)
      copy(layer->weight_gradient + i * layer->in, work.gradient[n] + i * padded(layer->in), layer->in);
  }
  release(&work);
}

static void compute_forward(const void *task, int64_t part) { compute_part(task, part, forward_part); }

static void compute_backward(const void *task, int64_t part) { compute_part(task, part, backward_part); }

void forward(const Task *task, Parallel parallel) { share(task, task->parts, compute_forward, parallel); }

void backward(const Task *task, Parallel parallel) { share(task, task->parts, compute_backward, parallel); }
