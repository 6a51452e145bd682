/* The team of a process: threads that run parts of what one call at a time shares with them.

   A call claims the team, shares tasks with it, one after the other, and releases it. A task has parts, each of
   which a thread claims before it runs it; members claim those of their own numbers. What they have not begun
   when the caller is through with its own, the caller runs: it waits for nobody who has not begun. Between
   the tasks of a call members spin for a while; otherwise they sleep. Threads start when first needed. */
#include "system.h"

enum { MOST = 64 }; /* members, and parts of a task */
enum {
    LEAST = 1 << 19,        /* multiplications that take about ten microseconds */
    LEAST_ASLEEP = 1 << 20, /* ... that take longer than it takes to wake members */
};
enum {
    PATIENCE = 64,     /* turns of waiting before the caller takes a part that is somebody else's */
    SPINS = 1 << 11,   /* turns before a member sleeps, or the caller gives way */
};

typedef int64_t (*Part)(int64_t task, int64_t part, int64_t parts);

/* What the kernels know, see compute/sharing.py: how many may share, the caller among them, how much work is
   worth it, and three functions. */
typedef struct {
    int64_t count, least, least_asleep;
    int64_t (*claim)(int64_t count);
    int64_t (*share)(int64_t part, int64_t task, int64_t parts);
    int64_t (*release)(void);
} Seats;

/* Of one member, and of the part of that number. Generations are numbers of tasks. */
typedef struct {
    _Alignas(128) _Atomic uint64_t claimed, done; /* the last generation whose part was */
    _Atomic uint32_t asleep, word;
} Slot;

static struct {
    _Alignas(128) _Atomic uint64_t announced; /* generation << 16 | parts << 8 | members */
    Part part;
    int64_t task;
    _Alignas(128) _Atomic uint32_t held;
    _Alignas(128) _Atomic uint32_t members; /* of the call that holds the team */
    int running;                            /* the caller among them; its holder's to change */
    Slot slots[MOST];
} team = {.running = 1};

static int claimed(Slot *slot, uint64_t generation) {
    uint64_t former = atomic_load_explicit(&slot->claimed, memory_order_relaxed);
    return former < generation && atomic_compare_exchange_strong(&slot->claimed, &former, generation);
}

/* The task is read once a part of it is claimed: until that is done, no other one takes its place. */
static void run(Slot *slot, uint64_t generation, int64_t part, int64_t parts) {
    team.part(team.task, part, parts);
    atomic_store_explicit(&slot->done, generation, memory_order_release);
}

static void help(uint64_t member, uint64_t announced) {
    uint64_t generation = announced >> 16, parts = announced >> 8 & 255, members = announced & 255;
    if (member >= members) return;
    for (uint64_t part = member; part < parts; part += members)
        if (claimed(&team.slots[part], generation)) run(&team.slots[part], generation, (int64_t)part, (int64_t)parts);
}

/* Nothing is lost: a caller announces before it looks who sleeps, a member says so before it looks again. */
static void sleep_from(Slot *slot, uint64_t seen) {
    uint32_t word = atomic_load(&slot->word);
    atomic_store(&slot->asleep, 1);
    if (atomic_load(&team.announced) == seen) sleep_at(&slot->word, word);
    atomic_store(&slot->asleep, 0);
}

static unsigned long work(void *number) {
    uint64_t member = (uint64_t)(uintptr_t)number, seen = 0;
    int spins = 0;
    for (;;) {
        uint64_t announced = atomic_load_explicit(&team.announced, memory_order_acquire);
        if (announced != seen) {
            help(member, seen = announced);
            spins = 0;
        } else if (spins++ < SPINS && member < atomic_load_explicit(&team.members, memory_order_relaxed)) {
            relax();
        } else {
            sleep_from(&team.slots[member], seen);
            spins = 0;
        }
    }
    return 0;
}

static void release(void) {
    atomic_store(&team.members, 0);
    atomic_store(&team.held, 0);
}

static int64_t released(void) {
    release();
    return 0;
}

/* How many members the team has for a call, itself among them; 0 if another call has it, or there are none. */
static int64_t claim(int64_t count) {
    if (atomic_load_explicit(&team.held, memory_order_relaxed) || atomic_exchange(&team.held, 1)) return 0;
    while (team.running < count && started(work, team.running)) team.running++;
    if (count > team.running) count = team.running;
    atomic_store(&team.members, (uint32_t)count);
    if (count > 1) return count;
    release();
    return 0;
}

static void wait_for(Slot *slot, uint64_t generation, int64_t part, int64_t parts) {
    for (int turns = 0; atomic_load_explicit(&slot->done, memory_order_acquire) != generation; turns++) {
        if (turns >= PATIENCE && claimed(slot, generation)) {
            run(slot, generation, part, parts);
            return;
        }
        if (turns < SPINS)
            relax();
        else
            give_way();
    }
}

/* Runs all parts of a task; those who hold the team call it. */
static int64_t share(int64_t part, int64_t task, int64_t parts) {
    uint64_t members = atomic_load_explicit(&team.members, memory_order_relaxed);
    uint64_t generation = (atomic_load_explicit(&team.announced, memory_order_relaxed) >> 16) + 1;
    uint64_t announced = generation << 16 | (uint64_t)parts << 8 | members;
    team.part = (Part)(uintptr_t)part, team.task = task;
    atomic_store(&team.announced, announced);
    for (uint64_t member = 1; member < members; member++)
        if (atomic_load(&team.slots[member].asleep)) {
            atomic_fetch_add(&team.slots[member].word, 1);
            wake_at(&team.slots[member].word);
        }
    help(0, announced);
    for (int64_t other = 0; other < parts; other++) wait_for(&team.slots[other], generation, other, parts);
    return 0;
}

static Seats seats[MOST + 1];

/* What calls that may use so many members are given, or NULL. */
TO_KERNELS const Seats *tinyseq_team(int64_t count) {
    if (count < 2 || count > MOST) return NULL;
    if (seats[count].count == 0) seats[count] = (Seats){count, LEAST, LEAST_ASLEEP, claim, share, released};
    return &seats[count];
}

/* How many threads there are besides callers. */
TO_KERNELS int64_t tinyseq_team_threads(void) {
    return team.running - 1;
}

/* How many tasks have been shared. */
TO_KERNELS int64_t tinyseq_team_shares(void) {
    return (int64_t)(atomic_load(&team.announced) >> 16);
}

/* For a child of a fork, which has none of its parent's threads. */
TO_KERNELS void tinyseq_team_forked(void) {
    forget_sleepers();
    team.running = 1;
    for (int member = 0; member < MOST; member++) team.slots[member].asleep = 0;
    release();
}
