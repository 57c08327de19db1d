/* A task in parts, which threads take; what a part computes depends on no other, and on nobody's speed. */

#pragma once
#include "task.h"

typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned); /* `GOMP_parallel` */

typedef struct {
  const void *task;
  void (*compute)(const void *task, int64_t part);
  int64_t parts, next;
} Shared;

/* Receivers of a part: the first, and the one behind the last. */
INLINE int64_t first_receiver(const Task *task) { return task->first ? task->receivers[task->first] : 0; }

static int64_t end_of_receivers(const Task *task) {
  return task->end < task->number ? task->receivers[task->end] : task->receiver_count;
}

/* First row of a part. */
static int64_t beginning(const Task *task, int64_t part) {
  int64_t tiles = (task->number + task->tile - 1) / task->tile, row = part * tiles / task->parts * task->tile;
  if (row >= task->number) return task->number;
  while (task->receivers && row > 0 && task->receivers[row - 1] == task->receivers[row]) row -= task->together;
  return row;
}

static void move(real **gradient, int64_t by) {
  if (*gradient) *gradient += by;
}

/* A part of a task with gradients of its own. */
static void compute_part(const Task *whole, int64_t part, void (*pass)(const Task *)) {
  Task task = *whole;
  task.first = beginning(whole, part), task.end = beginning(whole, part + 1);
  if (task.first == task.end) return;
  Source source[task.sources];
  Layer layer[task.products + task.layers];
  memcpy(source, whole->source, sizeof source);
  memcpy(layer, whole->product, sizeof(Layer) * (size_t)task.products);
  memcpy(layer + task.products, whole->layer, sizeof(Layer) * (size_t)task.layers);
  task.source = source, task.product = layer, task.layer = layer + task.products;
  for (int64_t n = 0; n < task.sources; n++) move(&source[n].gradient, part * source[n].apart);
  for (int64_t n = 0; n < task.products + task.layers; n++) {
    move(&layer[n].weight_gradient, part * layer[n].out * layer[n].in);
    move(&layer[n].bias_gradient, part * layer[n].out);
  }
  move(&task.bias_gradient, part * task.hidden);
  move(&task.scale_gradient, part * task.size), move(&task.shift_gradient, part * task.size);
  pass(&task);
}

static void take_parts(void *given) {
  Shared *shared = given;
  for (int64_t part; (part = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED)) < shared->parts;)
    shared->compute(shared->task, part);
}

static void share(const void *task, int64_t parts, void (*compute)(const void *, int64_t), Parallel parallel) {
  Shared shared = {task, compute, parts, 0};
  if (parallel && parts > 1) parallel(take_parts, &shared, (unsigned)parts, 0);
  else take_parts(&shared);
}
