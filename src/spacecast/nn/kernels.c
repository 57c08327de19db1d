/* Networks of nodes and edges (nn/rows.py), some rows at a time, in one pass forwards and one backwards.

What lies between input and output of a few dozen rows stays in the nearest cache. Compiled by nn/native.py with REAL as
float or double. Vectors are those of the compiler (GCC, Clang), so that the same text serves every processor. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef REAL real;
typedef real vec __attribute__((vector_size(64)));
typedef real near_vec __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));
#define LANES ((int64_t)(64 / sizeof(real)))
#define LOAD(place) ((vec) * (const near_vec *)(place))
#define STORE(place, value) (*(near_vec *)(place) = (value))
#define INLINE static inline __attribute__((always_inline))

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

static int64_t padded(int64_t width) { return (width + LANES - 1) / LANES * LANES; }

static real *memory(int64_t count) {
  void *place = NULL;
  if (posix_memalign(&place, 64, (size_t)(count ? count : 1) * sizeof(real))) abort();
  return memset(place, 0, (size_t)count * sizeof(real));
}

/* out[i][.] = first[.] (NULL: out[i][.]) + sum over k of a[i][k * step] * w[k][.], R rows and NV vectors in registers. */
INLINE void block(const int R, const int NV, int64_t depth, const real *const *a, int64_t step, const real *w,
                  int64_t w_stride, real *const *out, const real *first, int64_t column) {
  vec sum[6][4];
  for (int i = 0; i < R; i++)
    for (int j = 0; j < NV; j++) sum[i][j] = LOAD((first ? first : out[i]) + column + j * LANES);
  for (int64_t k = 0; k < depth; k++) {
    vec row[4];
    for (int j = 0; j < NV; j++) row[j] = LOAD(w + k * w_stride + column + j * LANES);
    for (int i = 0; i < R; i++)
      for (int j = 0; j < NV; j++) sum[i][j] += a[i][k * step] * row[j];
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < NV; j++) STORE(out[i] + column + j * LANES, sum[i][j]);
}

#define COLUMNS(R)                                                                                    \
  {                                                                                                   \
    int64_t c = 0;                                                                                    \
    for (; c + 4 * LANES <= width; c += 4 * LANES) block(R, 4, depth, a + i, step, w, width, out + i, first, c); \
    for (; c + 2 * LANES <= width; c += 2 * LANES) block(R, 2, depth, a + i, step, w, width, out + i, first, c); \
    for (; c < width; c += LANES) block(R, 1, depth, a + i, step, w, width, out + i, first, c);                \
    i += R;                                                                                           \
  }

/* out = first + a w, or out += a w; `width` a multiple of LANES, w without gaps. */
static void multiply(int64_t rows, int64_t depth, const real *const *a, int64_t step, const real *w, int64_t width,
                     real *const *out, const real *first) {
  int64_t i = 0;
  while (i + 6 <= rows) COLUMNS(6)
  while (i + 4 <= rows) COLUMNS(4)
  while (i + 2 <= rows) COLUMNS(2)
  while (i < rows) COLUMNS(1)
}

#define IS_FLOAT (sizeof(real) == 4)
#if defined(DOUBLE)
typedef int64_t whole;
#define ROOT __builtin_sqrt
#define SHIFT 52
#define TERMS 13
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define MOST 700.0
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#else
typedef int32_t whole;
#define ROOT __builtin_sqrtf
#define SHIFT 23
#define TERMS 7
#define MAGIC 12582912.0f /* 1.5 * 2^23 */
#define MOST 87.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#endif
typedef whole whole_vec __attribute__((vector_size(64)));

INLINE vec chosen(whole_vec which, vec yes, vec no) {
  return (vec)(((whole_vec)yes & which) | ((whole_vec)no & ~which));
}

/* 1 / (1 + exp(-x)): exp(r + n ln 2) = 2^n times the Taylor series at r, |r| <= ln(2) / 2. */
INLINE vec sigmoid(vec x) {
  static const real series[] = {1, 1, 1 / (real)2, 1 / (real)6, 1 / (real)24, 1 / (real)120, 1 / (real)720,
    1 / (real)5040, 1 / (real)40320, 1 / (real)362880, 1 / (real)3628800, 1 / (real)39916800,
    1 / (real)479001600, 1 / (real)6227020800};
  vec y = -x, most = (vec){0} + MOST;
  y = chosen(y > most, most, y);
  y = chosen(y < -most, -most, y);
  vec n = y * (real)1.44269504088896340736 + (real)MAGIC;
  whole_vec power = (whole_vec)n << SHIFT;
  n -= (real)MAGIC;
  y = y - n * (real)LN2_HIGH - n * (real)LN2_LOW;
  vec sum = (vec){0} + series[TERMS];
#pragma GCC unroll 16
  for (int k = TERMS - 1; k >= 0; k--) sum = sum * y + series[k];
  vec below = (vec)((whole_vec)sum + power) + 1;
#if defined(__AVX512F__) && !defined(DOUBLE)
  vec guess = (vec)_mm512_rcp14_ps((__m512)below);
  return guess * (2 - below * guess);
#else
  return 1 / below;
#endif
}

INLINE real total(vec values) {
#if defined(__AVX512F__) && !defined(DOUBLE)
  return _mm512_reduce_add_ps((__m512)values);
#else
  real sum = 0, half[LANES] __attribute__((aligned(64)));
  *(vec *)half = values;
  for (int64_t width = LANES / 2; width > 0; width /= 2)
    for (int64_t j = 0; j < width; j++) half[j] += half[j + width];
  return sum + half[0];
#endif
}

INLINE void add(real *restrict to, const real *restrict from, int64_t width) {
  int64_t j = 0;
  for (; j + LANES <= width; j += LANES) STORE(to + j, LOAD(to + j) + LOAD(from + j));
  for (; j < width; j++) to[j] += from[j];
}

INLINE void copy(real *restrict to, const real *restrict from, int64_t width) {
  int64_t j = 0;
  for (; j + LANES <= width; j += LANES) STORE(to + j, LOAD(from + j));
  for (; j < width; j++) to[j] = from[j];
}

INLINE void clear(real *to, int64_t width) {
  int64_t j = 0;
  for (; j + LANES <= width; j += LANES) STORE(to + j, ((vec){0}));
  for (; j < width; j++) to[j] = 0;
}

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

/* Receivers [first, last) have no row. */
static void empty_sums(const Task *task, int64_t first, int64_t last) {
  if (first < last) memset(task->sums + first * task->size, 0, (size_t)((last - first) * task->size) * sizeof(real));
}

static void finish_sum(const Task *task, int64_t receiver) {
  if (!task->factor || receiver < 0) return;
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
    STORE(row + j, (LOAD(row + j) - work->mean[i]) * work->deviation[i] * LOAD(task->scale + j) + LOAD(task->shift + j));
}

void forward(const Task *task) {
  Work work = prepare(task, 0);
  int64_t size = task->size, last = -1;
  for (int64_t start = 0; start < task->number; start += task->tile) {
    int64_t rows = task->number - start < task->tile ? task->number - start : task->tile;
    hidden_rows(task, &work, start, rows, 0);
    if (task->scale) statistics(task, &work, rows);
    for (int64_t i = 0; i < rows; i++) {
      real *row = work.hidden[task->layers] + i * work.width;
      if (task->scale) normalise(task, &work, i, row);
      for (int64_t n = 0; n < task->afters; n++) {
        const Source *source = task->source + task->after[n];
        add(row, source->table + row_of(source, start + i) * source->stride, size);
      }
      if (task->sums) last = add_sum(task, task->receivers[start + i], last, row);
      if (!task->rows) continue;
      real *out = task->rows + (start + i) * size;
      copy(out, row, size);
      if (task->kept < 0) continue;
      const Source *source = task->source + task->kept;
      add(out, source->table + row_of(source, start + i) * source->stride, size);
    }
  }
  if (task->sums) finish_sum(task, last), empty_sums(task, last + 1, task->receiver_count);
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

/* Gradient of a weight, and that of its input into `product`; both where they are asked for. */
static void through_layer(const Layer *layer, Work *work, int64_t n, int64_t rows, real *gradient, real *input, int on) {
  int64_t width = work->width, wide = padded(layer->in);
  if (layer->weight_gradient) {
    for (int64_t j = 0; j < layer->out; j++) work->back[j] = gradient + j;
    rows_at(work->to, work->gradient[n], layer->out, wide);
    /* rows of `input` are `wide` apart */
    multiply(layer->out, rows, work->back, width, input, wide, work->to, NULL);
  }
  if (!on) return;
  for (int64_t i = 0; i < rows; i++) {
    work->from[i] = gradient + i * width, work->to[i] = work->product + i * width;
  }
  multiply(rows, layer->out, work->from, 1, work->backward[n], wide, work->to, work->zero);
}

/* Rows without the gaps that tables of a tile may have. */
static real *close_up(const real *table, real *place, int64_t rows, int64_t width, int64_t wide) {
  if (width == wide) return (real *)table;
  for (int64_t i = 0; i < rows; i++) copy(place + i * wide, table + i * width, wide);
  return place;
}

static void through_first(const Task *task, Work *work, int64_t start, int64_t rows) {
  for (int64_t n = 0; n < task->products; n++) {
    const Layer *layer = task->product + n;
    const Source *source = task->source + layer->source;
    int64_t repeat = source->repeat, once = rows / repeat, width = work->width;
    real *gradient = work->spread;
    if (repeat > 1) {
      gradient = memset(work->spare, 0, (size_t)(once * width) * sizeof(real));
      for (int64_t i = 0, to = 0; i < rows; to++)
        for (int64_t j = 0; j < repeat; j++, i++) add(gradient + to * width, work->spread + i * width, task->hidden);
    }
    if (layer->weight) {
      int64_t wide = padded(layer->in);
      for (int64_t i = 0; i < once; i++) {
        real *row = work->read + i * wide;
        copy(row, source->table + row_of(source, start + i * repeat) * source->stride, layer->in);
        clear(row + layer->in, wide - layer->in);
      }
      through_layer(layer, work, n, once, gradient, work->read, source->gradient != NULL);
      gradient = work->product;
    }
    for (int64_t i = 0; source->gradient && i < once; i++)
      add(source->gradient + row_of(source, start + i * repeat) * source->width, gradient + i * width, source->width);
  }
}

static void add_columns(real *to, const real *table, int64_t rows, int64_t width, int64_t columns) {
  for (int64_t i = 0; to && i < rows; i++) add(to, table + i * width, columns);
}

void backward(const Task *task) {
  Work work = prepare(task, 1);
  for (int64_t start = 0; start < task->number; start += task->tile) {
    int64_t rows = task->number - start < task->tile ? task->number - start : task->tile;
    hidden_rows(task, &work, start, rows, 1);
    incoming(task, &work, start, rows);
    if (task->scale) statistics(task, &work, rows), through_norm(task, &work, rows);
    for (int64_t n = task->layers - 1; n >= 0; n--) {
      const Layer *layer = task->layer + n;
      real *input = close_up(work.active[n], work.read, rows, work.width, padded(layer->in));
      add_columns(layer->bias_gradient, work.spread, rows, work.width, layer->out);
      through_layer(layer, &work, task->products + n, rows, work.spread, input, 1);
      for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < layer->in; j += LANES) {
          int64_t at = i * work.width + j;
          STORE(work.spread + at, LOAD(work.product + at) * LOAD(work.slope[n] + at));
        }
    }
    add_columns(task->bias_gradient, work.spread, rows, work.width, task->hidden);
    through_first(task, &work, start, rows);
  }
  for (int64_t n = 0; n < task->products + task->layers; n++) {
    const Layer *layer = layer_of(task, n);
    for (int64_t i = 0; layer->weight_gradient && i < layer->out; i++)
      memcpy(layer->weight_gradient + i * layer->in, work.gradient[n] + i * padded(layer->in), (size_t)layer->in * sizeof(real));
  }
  release(&work);
}
