/* Preloaded into a process: shifts its system clock by what a mapped file says, and nothing else.
 *
 * The file ($STEPPED_CLOCK_FILE) holds one int64: nanoseconds to add to CLOCK_REALTIME. CLOCK_MONOTONIC
 * stays. Waits until a time of the system clock are translated, as the kernel's own clock is not set.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND_NS = 1000000000;
static const volatile int64_t *offset_ns;

__attribute__((constructor)) static void map_offset(void) {
  const char *path = getenv("STEPPED_CLOCK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (at != MAP_FAILED) offset_ns = at;
}

static struct timespec shifted(struct timespec when, int64_t by_ns) {
  int64_t ns = (int64_t)when.tv_sec * SECOND_NS + when.tv_nsec + by_ns;
  return (struct timespec){ns / SECOND_NS, ns % SECOND_NS};
}

static int64_t now_offset_ns(void) { return offset_ns ? *offset_ns : 0; }

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
  static __typeof__(&clock_gettime) next;
  if (!next) next = NEXT(clock_gettime);
  int status = next(clock, now);
  if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    *now = shifted(*now, now_offset_ns());
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  int status = clock_gettime(CLOCK_REALTIME, &exact);
  *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
  return status;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now) *now = exact.tv_sec;
  return exact.tv_sec;
}

/* The kernel ends a wait for a time of the system clock when that clock gets there: where it is set back
 * meanwhile, ever so much later. (Where it is set forward, at once; that much is not reproduced, since looking
 * again and again would lose notifications.) Where the wait's condition is on the steady clock, which glibc
 * notes in this bit, nothing changes. */
static const unsigned STEADY_BIT = 2;

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  static __typeof__(&pthread_cond_timedwait) next;
  if (!next)
    next = (__typeof__(&pthread_cond_timedwait))dlvsym(RTLD_NEXT, "pthread_cond_timedwait",
                                                       "GLIBC_2.3.2");
  if (!offset_ns || condition->__data.__wrefs & STEADY_BIT) return next(condition, mutex, until);
  while (1) {
    int64_t offset = now_offset_ns();
    struct timespec real = shifted(*until, -offset);
    int status = next(condition, mutex, &real);
    if (status != ETIMEDOUT || now_offset_ns() >= offset) return status;
  }
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
  struct timespec real = shifted(*until, -now_offset_ns());
  return NEXT(pthread_mutex_timedlock)(mutex, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
  struct timespec real = shifted(*until, -now_offset_ns());
  return NEXT(sem_timedwait)(semaphore, &real);
}
