/* Addresses as they are announced where the nodes are, and as they are reached from here:
 * containers and NAT make them differ. Applied to all that a Sentinel or a node tells before it is
 * compared or connected to, so that behind this there is one kind of address only. No I/O. */
#ifndef VEDETTE_SENTINEL_ADDRESS_MAP_H
#define VEDETTE_SENTINEL_ADDRESS_MAP_H

#include "config/config.h"

/* Replaces addr by the one that leads there: an entry with its port goes before one for its whole
 * host, and what no entry names stays. Done once: what comes out is not looked up again. */
void address_map_apply(const struct config_mappings *map, struct addr *addr);
/* Tells the log of every entry; group is the name of the Sentinels that it is for. */
void address_map_log(const struct config_mappings *map, const char *group);

#endif
