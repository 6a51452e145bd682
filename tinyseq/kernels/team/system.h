/* What a team needs of its system, by declarations alone: a thread, and a word to wait at. */
#ifndef TINYSEQ_SYSTEM_H
#define TINYSEQ_SYSTEM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* started(work, number): a thread runs work(number), which never returns. Whether there is one.
   sleep_at(word, value): returns once the word has changed, or for no reason. wake_at(word): those there.
   give_way(): lets the system run another thread here. */

#ifdef _WIN32

#define TO_KERNELS __declspec(dllexport)
#define FROM_KERNEL32 __declspec(dllimport)
#define FROM_SYNCH __declspec(dllimport)
FROM_KERNEL32 void *CreateThread(void *, size_t, unsigned long (*)(void *), void *, unsigned long, void *);
FROM_KERNEL32 int CloseHandle(void *handle);
FROM_KERNEL32 int SwitchToThread(void);
FROM_SYNCH int WaitOnAddress(volatile void *, void *, size_t, unsigned long);
FROM_SYNCH void WakeByAddressAll(void *);

static int started(unsigned long (*work)(void *), intptr_t number) {
    void *thread = CreateThread(NULL, 0, work, (void *)number, 0, NULL);
    return thread != NULL && CloseHandle(thread);
}

static void sleep_at(_Atomic uint32_t *word, uint32_t value) {
    WaitOnAddress(word, &value, sizeof value, 0xFFFFFFFF);
}

static void wake_at(_Atomic uint32_t *word) {
    WakeByAddressAll(word);
}

static void give_way(void) {
    SwitchToThread();
}

#else

#define TO_KERNELS __attribute__((visibility("default")))
typedef struct {
    uint64_t words[16]; /* no system's set of signals is larger */
} Signals;
int pthread_create(void *thread, const void *attributes, void *(*work)(void *), void *argument);
int pthread_detach(void *thread);
int pthread_sigmask(int how, const Signals *wanted, Signals *former);
int sched_yield(void);
int sigfillset(Signals *all);

#ifdef __APPLE__
enum { BLOCKED = 1, SET = 3 };
#else
enum { BLOCKED = 0, SET = 2 };
#endif

/* Signals are for the threads that wait for them. */
static int started(unsigned long (*work)(void *), intptr_t number) {
    Signals all, former;
    void *thread;
    sigfillset(&all);
    pthread_sigmask(BLOCKED, &all, &former);
    int failed = pthread_create(&thread, NULL, (void *(*)(void *))(void *)work, (void *)number);
    pthread_sigmask(SET, &former, NULL);
    return !failed && !pthread_detach(thread);
}

static void give_way(void) {
    sched_yield();
}

#ifdef __APPLE__

/* Initialised as PTHREAD_MUTEX_INITIALIZER and PTHREAD_COND_INITIALIZER are. */
static struct {
    long signature;
    char rest[120];
} mutex = {0x32AAABA7, {0}}, changed = {0x3CB0B1BB, {0}};
int pthread_mutex_lock(void *);
int pthread_mutex_unlock(void *);
int pthread_cond_wait(void *, void *);
int pthread_cond_broadcast(void *);

static void sleep_at(_Atomic uint32_t *word, uint32_t value) {
    pthread_mutex_lock(&mutex);
    while (atomic_load(word) == value) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
}

static void wake_at(_Atomic uint32_t *word) {
    (void)word;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    pthread_cond_broadcast(&changed);
}

/* In a child of a fork, another thread may have had the lock. */
static void forget_sleepers(void) {
    mutex = (__typeof__(mutex)){0x32AAABA7, {0}};
    changed = (__typeof__(changed)){0x3CB0B1BB, {0}};
}

#else

long syscall(long number, ...);
#ifdef __x86_64__
enum { FUTEX = 202 };
#else
enum { FUTEX = 98 };
#endif
enum { WAIT_PRIVATE = 128, WAKE_PRIVATE = 129 };

static void sleep_at(_Atomic uint32_t *word, uint32_t value) {
    syscall(FUTEX, word, WAIT_PRIVATE, (long)value, NULL, NULL, 0L);
}

static void wake_at(_Atomic uint32_t *word) {
    syscall(FUTEX, word, WAKE_PRIVATE, 0x7FFFFFFFL, NULL, NULL, 0L);
}

#endif
#endif

#ifndef __APPLE__
static void forget_sleepers(void) {}
#endif

static void relax(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#else
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
