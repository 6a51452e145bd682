/* Runs a plan by kernels.dll: `plan` and `results` are files, see test_wheels.py. Needs no C library, which zig
 * would have to compile first. The exit status says what failed. */
#include <stdint.h>
#include <windows.h>

typedef int64_t (*run_function)(const int64_t *);

static HANDLE in, out;
static int64_t context[64];

static void get(void *to, int64_t size) {
    DWORD done;
    if (!ReadFile(in, to, (DWORD)size, &done, NULL) || done != size) ExitProcess(3);
}

static void put(const void *from, int64_t size) {
    DWORD done;
    if (!WriteFile(out, from, (DWORD)size, &done, NULL) || done != size) ExitProcess(4);
}

static int64_t number(void) {
    int64_t value;
    get(&value, sizeof value);
    return value;
}

/* Zeros, at the beginning of a page. */
static char *memory(int64_t size) {
    char *block = VirtualAlloc(NULL, (SIZE_T)size + 1, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (!block) ExitProcess(5);
    return block;
}

static int64_t filled(int64_t size) {
    char *block = memory(size);
    get(block, size);
    return (int64_t)(uintptr_t)block;
}

void mainCRTStartup(void) {
    HMODULE library = LoadLibraryA("kernels.dll");
    if (!library) ExitProcess(6);
    run_function run = (run_function)(void *)GetProcAddress(library, "tinyseq_run");
    if (!run || !GetProcAddress(library, "tinyseq_cpu_level")) ExitProcess(7);
    in = CreateFileA("plan", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    out = CreateFileA("results", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);

    int64_t words = number(), arena_size = number(), state_size = number(), weights = number();
    int64_t input = number(), input_size = number(), output = number(), output_size = number();
    int64_t steps = number(), homes = number();
    if (weights + homes > 58) ExitProcess(8);
    char *arena = memory(arena_size), *state = memory(state_size);
    for (int64_t i = 0; i < homes; ++i) context[6 + weights + i] = (int64_t)(uintptr_t)(arena + number());
    context[0] = filled(words * 8), context[1] = words;
    context[4] = (int64_t)(uintptr_t)arena, context[5] = (int64_t)(uintptr_t)state; /* before them: no team */
    for (int64_t i = 0; i < weights; ++i) context[6 + i] = filled(number());
    for (int64_t step = 0; step < steps; ++step) {
        get(arena + input, input_size);
        if (run(context) >= 0) ExitProcess(9);
        put(arena + output, output_size);
    }
    put(state, state_size);
    ExitProcess(0);
}
