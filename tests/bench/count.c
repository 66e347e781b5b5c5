/* A plugin of QEMU's user emulation: counts the instructions of an AArch64 program, by kind.
 *
 *     cc -shared -fPIC -O2 -o count.so count.c
 *     qemu-aarch64 -plugin ./count.so -d plugin PROGRAM ..
 *
 * Prints `instructions dots matrices loads stores`, a line of JSON on the standard error, when the
 * program ends. `dots` are SDOT and UDOT, `matrices` SMMLA, UMMLA and USMMLA. Programs of one
 * thread: the counters are not atomic. The declarations are those of QEMU's plugin API, version 1
 * (docs/devel/tcg-plugins.rst of QEMU), of which Debian has no header. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *counter, uint64_t add);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *), void *user);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum kind { INSTRUCTIONS, DOTS, MATRICES, LOADS, STORES, KINDS };
static const char *const names[KINDS] = {"instructions", "dots", "matrices", "loads", "stores"};
static uint64_t counts[KINDS];

/* Encodings: Arm Architecture Reference Manual for A-profile, C4.1: Advanced SIMD, then SVE. */
static bool is_dot(uint32_t word) {
    return (word & 0x9fe0fc00) == 0x0e809400 || (word & 0x9fc0f400) == 0x0f80e000 || (word & 0xffe0f800) == 0x44800000;
}

static bool is_matrix(uint32_t word) {
    return (word & 0xdfe0f400) == 0x4e80a400 || (word & 0xff20fc00) == 0x45009800;
}

static bool is_sve_memory(uint32_t word) {
    return (word & 0x9e000000) == 0x84000000;
}

static bool is_load_or_store(uint32_t word) {
    return (word & 0x0a000000) == 0x08000000 || is_sve_memory(word);
}

static bool is_load(uint32_t word) {
    if (is_sve_memory(word)) return word >> 29 != 7;
    const bool is_literal = (word & 0x3b000000) == 0x18000000;
    const bool is_single = (word & 0x3a000000) == 0x38000000; /* one register, opc in bits 23 and 22 */
    const bool is_wide_vector = (word >> 26 & 1) && word >> 30 == 0;
    if (is_single && !is_wide_vector) return (word >> 22 & 3) != 0;
    return is_literal || (word >> 22 & 1);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    uint64_t of[KINDS] = {0};
    (void)id;
    of[INSTRUCTIONS] = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < of[INSTRUCTIONS]; i++) {
        const uint32_t word = *(const uint32_t *)qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i));
        of[DOTS] += is_dot(word);
        of[MATRICES] += is_matrix(word);
        of[LOADS] += is_load_or_store(word) && is_load(word);
        of[STORES] += is_load_or_store(word) && !is_load(word);
    }
    for (int kind = 0; kind < KINDS; kind++) {
        if (of[kind]) qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &counts[kind], of[kind]);
    }
}

static void ended(qemu_plugin_id_t id, void *user) {
    (void)id, (void)user;
    for (int kind = 0; kind < KINDS; kind++) {
        fprintf(stderr, "%s\"%s\": %" PRIu64, kind ? ", " : "{", names[kind], counts[kind]);
    }
    fprintf(stderr, "}\n");
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
