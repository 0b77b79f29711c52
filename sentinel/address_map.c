#include "sentinel/address_map.h"

#include "proxy/base/log.h"

void address_map_apply(const struct config_mappings *map, struct addr *addr)
{
    const struct addr *to = NULL;
    if (map->count == 0 || !addr_is_set(addr)) {
        return;
    }
    struct addr told = *addr;
    addr_normalize(&told);
    struct addr host = told;
    host.port = 0;
    for (size_t i = 0; i < map->count; i++) {
        if (addr_eq(&map->v[i].announced, &told)) {
            to = &map->v[i].reachable;
            break;
        }
        if (addr_eq(&map->v[i].announced, &host)) {
            to = &map->v[i].reachable;
        }
    }
    if (to != NULL) {
        uint16_t port = to->port != 0 || addr_is_unix(to) ? to->port : addr->port;
        *addr = *to;
        addr->port = port;
    }
}

void address_map_log(const struct config_mappings *map, const char *group)
{
    for (size_t i = 0; i < map->count; i++) {
        char announced[ADDR_TEXT_MAX], reachable[ADDR_TEXT_MAX];
        log_notice("address-map", "%s%s%sannounced=%s reachable=%s",
                   group[0] != '\0' ? "sentinels=" : "",
                   group[0] != '\0' ? log_quote(slice_str(group)) : "", group[0] != '\0' ? " " : "",
                   log_quote(slice_str(addr_text(&map->v[i].announced, announced))),
                   log_quote(slice_str(addr_text(&map->v[i].reachable, reachable))));
    }
}
