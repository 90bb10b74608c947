// Writes a small model with random weights for each architecture that llama.cpp's own test has: `tiny_architectures DIR SEED`.
//
// The shapes and metadata are those of llama.cpp's tests/test-llama-archs.cpp, which is compiled as a part of this file. It refers to the
// library `common`, which the package with llama.cpp does not build: what writing a model calls of it is defined here, silently, and the
// rest ends the program.
#define main main_of_the_test
#include "test-llama-archs.cpp"
#undef main

#include <cstdlib>

[[noreturn]] static void not_called() {
    fprintf(stderr, "tiny_architectures: a part of `common` was called that writing does not need\n");
    std::abort();
}

int common_log_get_verbosity_thold(void) {
    return -1;
}

int common_log_get_verbosity(enum ggml_log_level level) {
    return level == GGML_LOG_LEVEL_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG;
}

void common_init() {
    not_called();
}

void common_log_set_verbosity_thold(int) {
    not_called();
}

struct common_log * common_log_main() {
    not_called();
}

void common_log_flush(struct common_log *) {
    not_called();
}

void common_log_add(struct common_log *, enum ggml_log_level, const char *, ...) {
    not_called();
}

common_batch::common_batch(struct llama_context *) {
    not_called();
}

llama_batch_ext * common_batch::get_sub_batch(int32_t, int32_t) {
    not_called();
}

void common_batch::clear() {
    not_called();
}

int32_t common_batch::add(llama_token, llama_pos, llama_seq_id, bool) {
    not_called();
}

int main(int argc, char ** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: tiny_architectures DIR SEED\n");
        return 2;
    }
    llama_backend_init();
    return save_models("", std::stoull(argv[2]), 0.1f, LOG_LEVEL_ERROR, argv[1]);
}
