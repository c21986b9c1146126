// SPDX-License-Identifier: GPL-3.0-or-later
//
// The lab's libdxcore: it answers the two questions that NVIDIA's container toolkit asks Windows in WSL. There is one
// card, and the file that DRIVER_STORE names holds the path of its driver's folder. Structures and numbers are those
// of Microsoft's d3dkmthk.h, where wchar_t has four bytes as it has on Linux.
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#define DRIVER_STORE "/usr/lib/wsl/driver-store"
enum { DRIVER_VERSION = 13, REGISTRY = 48, WDDM = 3100 };

struct adapter { unsigned handle, luid_low; int luid_high; unsigned sources, prefers; };
struct adapters { unsigned long long filter; unsigned count; struct adapter *first; };
struct question { unsigned handle, type; void *answer; unsigned size; };
struct registry { unsigned type, flags; wchar_t name[260]; unsigned kind, index, size, status; wchar_t output[]; };

int D3DKMTEnumAdapters3(struct adapters *all) {
    all->count = 1;
    if (all->first)
        *all->first = (struct adapter){.handle = 1, .luid_low = 1, .sources = 1};
    return 0;
}

int D3DKMTQueryAdapterInfo(struct question *asked) {
    if (asked->type == DRIVER_VERSION) {
        *(unsigned *)asked->answer = WDDM;
        return 0;
    }
    if (asked->type != REGISTRY)
        return -1;
    char path[260] = "";
    FILE *file = fopen(DRIVER_STORE, "r");
    if (!file || !fgets(path, sizeof path, file))
        return -1;
    fclose(file);
    path[strcspn(path, "\n")] = 0;
    struct registry *answer = asked->answer;
    unsigned size = strlen(path) * sizeof(wchar_t);
    if (answer->size)
        for (unsigned at = 0; path[at]; at++)
            answer->output[at] = path[at];
    answer->size = size;
    return 0;
}
