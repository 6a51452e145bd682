// A desktop in the place of a board: 16-bit sound from the standard input, a line for each change of the lamp.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

void setup();
void loop();

static long heard;

void readMicrophone(float *samples, int count) {
    for (int i = 0; i < count; i++, heard++) {
        const int low = std::getchar(), high = std::getchar();
        if (high == EOF) std::exit(0);
        samples[i] = static_cast<int16_t>(low | high << 8) / 32768.0f;
    }
}

void setLamp(bool on) {
    std::printf("%.3f %s\n", heard / 16000.0, on ? "on" : "off");
}

int main() {
    for (setup();; loop()) {
    }
}
