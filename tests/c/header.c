/* The header alone, in C and C++ of every standard: types are complete, constants are constants, initializers work. */
#include <ollm.h>

static int32_t see(void *user, const ollm_token *token) {
    (void)user;
    return token->is_end;
}

int use_header(void);

int use_header(void) {
    ollm_load_options load = ollm_load_options_init();
    ollm_session_options session = ollm_session_options_init();
    ollm_sampling sampling = ollm_sampling_init();
    ollm_selection selection = ollm_selection_init();
    ollm_run_options run = ollm_run_options_init();
    ollm_memory memory = ollm_memory_init();
    ollm_token token = ollm_token_init();
    ollm_source sources[3];
    ollm_status status = OLLM_OK;
    sources[0] = ollm_source_file("model.gguf");
    sources[1] = ollm_source_descriptor(3, 4096, 0);
    sources[2] = ollm_source_memory("GGUF", 4, NULL, NULL);
    selection.mode = OLLM_SELECT_SAMPLE;
    selection.hold = OLLM_HOLD_LINE;
    run.each = see;
    switch (status) {
    case OLLM_OK:
        break;
    default:
        return (int)OLLM_TOKENIZE_BOS;
    }
    return load.struct_size + session.struct_size + sampling.struct_size + memory.struct_size + token.struct_size
        == selection.struct_size + run.struct_size + sources[0].struct_size + sources[1].offset + sources[2].length;
}
