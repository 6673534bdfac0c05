/* What paravirtual guests alone use: where they start, traps, callbacks, page tables. */
#pragma once
#include <stdint.h>

#define MAX_GUEST_CMDLINE 1024

struct start_info {
    char magic[32];
    unsigned long nr_pages;
    unsigned long shared_info; /* a machine address */
    uint32_t flags;
    unsigned long store_mfn;
    uint32_t store_evtchn;
    union {
        struct {
            unsigned long mfn;
            uint32_t evtchn;
        } domU;
        struct {
            uint32_t info_off;
            uint32_t info_size;
        } dom0;
    } console;
    unsigned long pt_base; /* virtual addresses from here on */
    unsigned long nr_pt_frames;
    unsigned long mfn_list;
    unsigned long mod_start;
    unsigned long mod_len;
    char cmd_line[MAX_GUEST_CMDLINE];
    unsigned long first_p2m_pfn;
    unsigned long nr_p2m_frames;
};

/* `flags`: the lowest ring that may raise the vector by software, and 4 to mask events. */
struct trap_info {
    uint8_t vector;
    uint8_t flags;
    uint16_t cs;
    unsigned long address;
};

#define CALLBACKOP_register 0
#define CALLBACKTYPE_event 0
#define CALLBACKTYPE_failsafe 1

struct callback_register {
    uint16_t type;
    uint16_t flags;
#ifdef __i386__
    struct {
        unsigned long cs;
        unsigned long eip;
    } address;
#else
    unsigned long address;
#endif
};

#define MMU_NORMAL_PT_UPDATE 0
#define UVMF_NONE 0
#define UVMF_INVLPG 2

struct mmu_update {
    uint64_t ptr; /* the machine address of an entry, with what to do in its low bits */
    uint64_t val;
};

#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_NEW_USER_BASEPTR 15

struct mmuext_op {
    unsigned int cmd;
    union {
        unsigned long mfn;
        unsigned long linear_addr;
    } arg1;
    union {
        unsigned int nr_ents;
        const void *vcpumask;
        unsigned long src_mfn;
    } arg2;
};

#define SEGBASE_FS 0

#define VMASST_CMD_enable 0
#define VMASST_TYPE_writable_pagetables 2

/* Xen's flat segments for 32-bit guests. */
#define FLAT_RING1_DS 0xE021
#define FLAT_RING3_CS 0xE02B
#define FLAT_RING3_DS 0xE033
