// Writes a small model with random weights for each architecture that llama.cpp's own test has: `tiny_architectures DIR SEED`.
//
// The shapes and metadata are those of llama.cpp's tests/test-llama-archs.cpp, which is compiled as a part of this file. Of the library
// `common` it needs the log, which is silent here; what else it refers to is not called, and is left unresolved by the linker.
#define main main_of_the_test
#include "test-llama-archs.cpp"
#undef main

int common_log_get_verbosity_thold(void) {
    return -1;
}

int common_log_get_verbosity(enum ggml_log_level level) {
    return level == GGML_LOG_LEVEL_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG;
}

int main(int argc, char ** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: tiny_architectures DIR SEED\n");
        return 2;
    }
    llama_backend_init();
    return save_models("", std::stoull(argv[2]), 0.1f, LOG_LEVEL_ERROR, argv[1]);
}
