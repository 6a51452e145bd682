// A lamp that is on while somebody speaks.
#include <string.h>

#include "vad.h"

// The board's: waits for samples of 16 kHz, from -1 to 1; switches the lamp.
void readMicrophone(float *samples, int count);
void setLamp(bool on);

const int chunk = 512, context = VAD_INPUT_SIZE - chunk;
const float speech = 0.5f, silence = 0.35f;

static vad_state state;
static vad_scratch scratch;
static float input[VAD_INPUT_SIZE];
static bool isOn;

void setup() {
    vad_reset(&state);
    setLamp(false);
}

void loop() {
    float probability[VAD_OUTPUT_SIZE];
    memmove(input, input + chunk, context * sizeof input[0]);
    readMicrophone(input + context, chunk);
    if (vad_step(&state, &scratch, input, probability) < 0) {
        vad_reset(&state);  // the microphone gave what is no sound
        return;
    }
    const bool on = probability[0] >= (isOn ? silence : speech);
    if (on != isOn) setLamp(isOn = on);
}
