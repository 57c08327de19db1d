/* Vectors of the compiler (GCC, Clang), products of matrices, and the sigmoid; REAL is float or double. */

#pragma once
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

static int64_t padded(int64_t width) { return (width + LANES - 1) / LANES * LANES; }

static real *memory(int64_t count) {
  void *place = NULL;
  if (posix_memalign(&place, 64, (size_t)(count ? count : 1) * sizeof(real))) abort();
  return memset(place, 0, (size_t)count * sizeof(real));
}

/* Memory that the next rows need, fetched into the cache piece by piece while products of matrices leave it idle. */
#define MOST_AHEAD 32
#define LINE 64
#define LINES_AT_A_TIME 16
typedef struct {
  const char *place[MOST_AHEAD];
  int64_t lines[MOST_AHEAD], now, count;
} Ahead;

static void look_ahead(Ahead *ahead, const real *place, int64_t count) {
  if (ahead->count == MOST_AHEAD) return;
  ahead->place[ahead->count] = (const char *)place;
  ahead->lines[ahead->count++] = (count * (int64_t)sizeof(real) + LINE - 1) / LINE;
}

INLINE void fetch_some(Ahead *ahead) {
  for (int64_t left = LINES_AT_A_TIME; left > 0 && ahead->now < ahead->count;) {
    int64_t n = ahead->now, lines = ahead->lines[n] < left ? ahead->lines[n] : left;
    for (int64_t i = 0; i < lines; i++) __builtin_prefetch(ahead->place[n] + LINE * i, 0, 2);
    ahead->place[n] += LINE * lines, ahead->lines[n] -= lines, left -= lines;
    ahead->now += !ahead->lines[n];
  }
}

/* out[i][.] = first[.] (NULL: out[i][.]) + sum over k of a[i][k * step] * w[k][.]; R rows, NV vectors in registers. */
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
static void multiply(Ahead *ahead, int64_t rows, int64_t depth, const real *const *a, int64_t step, const real *w,
                     int64_t width, real *const *out, const real *first) {
  int64_t i = 0;
  while (i + 6 <= rows) {
    fetch_some(ahead);
    COLUMNS(6)
  }
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

#if defined(__AVX512F__) && !defined(DOUBLE)
/* 1 / (1 + exp(-x)): exp(-x) = 2^n 2^r, |r| <= 1/2, by the polynomial of degree 5 of least relative error, 9e-8. */
INLINE vec sigmoid(vec x) {
  static const float series[] = {1.326472708e-3f, 9.671512862e-3f, 5.550733746e-2f, 2.402224208e-1f,
    6.931469776e-1f, 1};
  __m512 y = _mm512_max_ps(_mm512_set1_ps(-87), _mm512_min_ps(_mm512_set1_ps(87), (__m512)x)); /* NaN stays */
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(y, _mm512_set1_ps(-1.44269502f)), 8);
  __m512 r = _mm512_fnmsub_ps(y, _mm512_set1_ps(1.44269502f), n), sum = _mm512_set1_ps(series[0]);
  r = _mm512_fnmadd_ps(y, _mm512_set1_ps(1.92596299e-8f), r);
#pragma GCC unroll 8
  for (int k = 1; k < 6; k++) sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(series[k]));
  vec below = (vec)_mm512_scalef_ps(sum, n) + 1, guess = (vec)_mm512_rcp14_ps((__m512)below);
  return guess * (2 - below * guess);
}
#else
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
  return 1 / below;
}
#endif

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

/* V vectors of a row minus their mean; the inverse of their deviation. */
INLINE real centred(const real *place, vec *row, const int V, real epsilon) {
  vec sum = {0}, square = {0};
  for (int j = 0; j < V; j++) sum += row[j] = LOAD(place + j * LANES);
  real share = 1 / (real)(V * LANES), mean = total(sum) * share;
  for (int j = 0; j < V; j++) row[j] -= mean, square += row[j] * row[j];
  return 1 / ROOT(total(square) * share + epsilon);
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
