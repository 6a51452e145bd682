/* Runs a plan by a library of the kernels: `machine LIBRARY PLAN RESULTS`, see test_wheels.py. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef int64_t (*run_function)(const int64_t *);

static FILE *in;

static int64_t number(void) {
    int64_t value;
    if (fread(&value, sizeof value, 1, in) != 1) exit(3);
    return value;
}

/* Memory of so many bytes, which begin with what the file holds next if `filled`. */
static int64_t memory(int64_t size, int filled) {
    char *block = calloc(1, (size_t)size + 64);
    if (!block) exit(4);
    block += 64 - (uintptr_t)block % 64;
    if (filled && fread(block, 1, (size_t)size, in) != (size_t)size) exit(5);
    return (int64_t)(uintptr_t)block;
}

int main(int argc, char **argv) {
    int64_t context[64] = {0};
    if (argc != 4 || !(in = fopen(argv[2], "rb"))) return 2;
    HMODULE library = LoadLibraryA(argv[1]);
    if (!library) return fprintf(stderr, "cannot load %s: error %lu\n", argv[1], GetLastError()), 6;
    FARPROC found = GetProcAddress(library, "tinyseq_run");
    if (!found || !GetProcAddress(library, "tinyseq_cpu_level")) return 7;
    run_function run;
    memcpy(&run, &found, sizeof run);

    int64_t words = number(), arena = number(), state = number(), weights = number();
    int64_t input = number(), input_size = number(), output = number(), output_size = number();
    int64_t steps = number();
    if (weights > 60) return 8;
    context[0] = memory(words * 8, 1), context[1] = words;
    context[2] = memory(arena, 0), context[3] = memory(state, 0);
    for (int64_t i = 0; i < weights; ++i) context[4 + i] = memory(number(), 1);

    FILE *out = fopen(argv[3], "wb");
    if (!out) return 9;
    for (int64_t step = 0; step < steps; ++step) {
        char *place = (char *)(uintptr_t)context[2];
        if (fread(place + input, 1, (size_t)input_size, in) != (size_t)input_size) return 10;
        int64_t failed = run(context);
        if (failed >= 0) return fprintf(stderr, "row %" PRId64 " failed\n", failed), 11;
        fwrite(place + output, 1, (size_t)output_size, out);
    }
    fwrite((void *)(uintptr_t)context[3], 1, (size_t)state, out);
    return ferror(out) || fclose(out);
}
