/* Prints the frequency of the time stamp counter in kHz.
 *
 * The counter is compared with CLOCK_MONOTONIC_RAW, which no time service adjusts, over a fifth of a
 * second. Each end is sampled many times and the tightest sample is taken: the one during which this
 * thread was certainly not preempted. Of the last three of five measurements the median is printed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#define ROUNDS 5
#define SAMPLES 400
#define PAUSE_NANOS (40 * 1000 * 1000)

struct instant {
  uint64_t ticks;
  int64_t nanos;
};

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct instant sample(void) {
  struct instant best = {0, 0};
  uint64_t narrowest = UINT64_MAX;
  for (int i = 0; i < SAMPLES; i++) {
    unsigned cpu;
    uint64_t before = __rdtscp(&cpu);
    int64_t nanos = now();
    uint64_t after = __rdtscp(&cpu);
    if (after - before < narrowest) {
      narrowest = after - before;
      best.ticks = before + (after - before) / 2;
      best.nanos = nanos;
    }
  }
  return best;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(void) {
  double khz[ROUNDS];
  struct instant from = sample();
  for (int i = 0; i < ROUNDS; i++) {
    struct timespec pause = {0, PAUSE_NANOS};
    nanosleep(&pause, NULL);
    struct instant to = sample();
    khz[i] = (double)(to.ticks - from.ticks) * 1e6 / (double)(to.nanos - from.nanos);
  }
  /* All rounds share their beginning, so the later ones are the better ones. */
  qsort(khz + 2, ROUNDS - 2, sizeof(double), ascending);
  printf("%.0f\n", khz[2 + (ROUNDS - 2) / 2]);
  return 0;
}
