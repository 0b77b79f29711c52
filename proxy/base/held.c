#include "proxy/base/held.h"

_Thread_local int64_t held_by_thread;
