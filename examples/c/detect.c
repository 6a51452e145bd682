/* Seconds and probabilities of speech, for 16-bit sound of one channel at 16 kHz from the standard input. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "vad.h"

enum { CHUNK = 512, CONTEXT = VAD_INPUT_SIZE - CHUNK };

static vad_state state;     /* the stream; a copy of it is a fork or a snapshot */
static vad_scratch scratch; /* what a step computes with; one for each thread */

int main(void) {
    unsigned char sound[2 * CHUNK];
    float input[VAD_INPUT_SIZE] = {0}; /* the end of the chunk before, then the chunk */
    float probability[VAD_OUTPUT_SIZE];
    long chunks = 0;

    vad_reset(&state);
    while (fread(sound, 2, CHUNK, stdin) == CHUNK) {
        for (int i = 0; i < CHUNK; i++) {
            int16_t sample = (int16_t)(sound[2 * i] | sound[2 * i + 1] << 8);
            input[CONTEXT + i] = (float)sample / 32768.0f;
        }
        int code = vad_step(&state, &scratch, input, probability);
        if (code < 0) {
            fprintf(stderr, "%s\n", vad_error(code));
            return 1;
        }
        printf("%.3f %.9g\n", 0.032 * (double)++chunks, (double)probability[0]);
        memmove(input, input + CHUNK, CONTEXT * sizeof input[0]);
    }
    return 0;
}
