/* SiLU of a layer norm over the channels of cells (nn/native_norm.py), each row read and written once. */

#pragma once
#include "parts.h"

#define MOST_VECTORS 16
#define TOGETHER 256 /* rows whose gradients of scale and shift are added before they are added to those of others */

/* `rows` are those of all cells in turn, batch item after batch item. Those of holes come out as zeros, or not at all
   where they are `left_out`. */
typedef struct {
  int64_t parts, rows, cells, size, hole_count, left_out;
  const int64_t *holes; /* numbers of cells, in order */
  const real *values, *scale, *shift, *of_results;
  real *results, *of_values, *of_weights; /* of_weights: of scale and shift of each part, (part, 2, size) */
  double epsilon;
} Norm;

/* Where a part is: its row, the row's cell, the next hole, and the row's place among those that come out. */
typedef struct {
  int64_t row, end, cell, hole, place;
} Walk;

static Walk beginning_of_walk(const Norm *norm, int64_t part) {
  int64_t first = part * norm->rows / norm->parts;
  Walk at = {first, (part + 1) * norm->rows / norm->parts, first % norm->cells, 0, first};
  while (at.hole < norm->hole_count && norm->holes[at.hole] < at.cell) at.hole++;
  if (norm->left_out) at.place -= first / norm->cells * norm->hole_count + at.hole;
  return at;
}

INLINE int on_hole(const Norm *norm, const Walk *at) {
  return at->hole < norm->hole_count && norm->holes[at->hole] == at->cell;
}

INLINE void walk(const Norm *norm, Walk *at, int hole) {
  at->row++, at->hole += hole, at->place += !(hole && norm->left_out);
  if (++at->cell == norm->cells) at->cell = at->hole = 0;
}

INLINE void activated_rows(const Norm *norm, int64_t part, const int V) {
  int hole;
  for (Walk at = beginning_of_walk(norm, part); at.row < at.end; walk(norm, &at, hole)) {
    real *result = norm->results + at.place * norm->size;
    hole = on_hole(norm, &at);
    if (hole) {
      if (!norm->left_out) clear(result, norm->size);
      continue;
    }
    vec row[MOST_VECTORS];
    real deviation = centred(norm->values + at.row * norm->size, row, V, (real)norm->epsilon);
    for (int j = 0; j < V; j++) {
      vec x = row[j] * deviation * LOAD(norm->scale + j * LANES) + LOAD(norm->shift + j * LANES);
      STORE(result + j * LANES, x * sigmoid(x));
    }
  }
}

/* Gradient of a row; those of scale and shift are added. */
INLINE void through_row(const Norm *norm, const Walk *at, vec *of_scale, vec *of_shift, const int V) {
  vec row[MOST_VECTORS], mine[MOST_VECTORS], all = {0}, along = {0};
  const real *given = norm->of_results + at->place * norm->size;
  real deviation = centred(norm->values + at->row * norm->size, row, V, (real)norm->epsilon);
  for (int j = 0; j < V; j++) {
    vec scale = LOAD(norm->scale + j * LANES);
    row[j] *= deviation;
    vec x = row[j] * scale + LOAD(norm->shift + j * LANES), s = sigmoid(x);
    mine[j] = LOAD(given + j * LANES) * (s * (1 + x * (1 - s)));
    of_scale[j] += mine[j] * row[j], of_shift[j] += mine[j];
    mine[j] *= scale;
    all += mine[j], along += mine[j] * row[j];
  }
  real share = 1 / (real)(V * LANES), mean = total(all) * share, slope = total(along) * share;
  real *to = norm->of_values + at->row * norm->size;
  for (int j = 0; j < V; j++) STORE(to + j * LANES, (mine[j] - mean - row[j] * slope) * deviation);
}

INLINE void gradient_rows(const Norm *norm, int64_t part, const int V) {
  real *of_weights = norm->of_weights + part * 2 * norm->size;
  clear(of_weights, 2 * norm->size);
  for (Walk at = beginning_of_walk(norm, part); at.row < at.end;) {
    vec of_scale[MOST_VECTORS] = {0}, of_shift[MOST_VECTORS] = {0};
    int64_t stop = at.end - at.row < TOGETHER ? at.end : at.row + TOGETHER;
    while (at.row < stop) {
      int hole = on_hole(norm, &at);
      if (hole) clear(norm->of_values + at.row * norm->size, norm->size);
      else through_row(norm, &at, of_scale, of_shift, V);
      walk(norm, &at, hole);
    }
    for (int j = 0; j < V; j++) {
      real *scale = of_weights + j * LANES, *shift = scale + norm->size;
      STORE(scale, LOAD(scale) + of_scale[j]), STORE(shift, LOAD(shift) + of_shift[j]);
    }
  }
}

/* With the usual sizes known to the compiler. */
#define BY_SIZE(ROWS)                       \
  const Norm *norm = given;                 \
  int V = (int)(norm->size / LANES);        \
  if (V == 3) ROWS(norm, part, 3);          \
  else if (V == 4) ROWS(norm, part, 4);     \
  else if (V == 6) ROWS(norm, part, 6);     \
  else ROWS(norm, part, V);

static void activated_part(const void *given, int64_t part) { BY_SIZE(activated_rows) }

static void gradient_part(const void *given, int64_t part) { BY_SIZE(gradient_rows) }

void norm_forward(const Norm *norm, Parallel parallel) { share(norm, norm->parts, activated_part, parallel); }

void norm_backward(const Norm *norm, Parallel parallel) { share(norm, norm->parts, gradient_part, parallel); }
