/* Who may become a client of a service, by address, and how many from one. Clients are told by the
 * address of their socket, or by the one that a PROXY header gives. */
#ifndef VEDETTE_PROXY_ADMISSION_H
#define VEDETTE_PROXY_ADMISSION_H

#include "config/config.h"
#include "proxy/base/addr.h"

/* How many clients there are from each address. One for the process; any thread may use it. */
struct admission;
/* What is known of a client beside its socket. Most have none: it takes a PROXY header, or a count
 * to be kept. */
struct guest;

struct admission *admission_new(const struct config_proxy *config);
/* Nobody is a guest any more. Sets *where to NULL; it may be. */
void admission_free(struct admission **where);

/* Whether the service takes clients from there; unix sockets are open to whoever may open their
 * file. */
bool admission_allows(const struct config_access *access,
                      const struct sockaddr_any *from) NODISCARD;
/* What a connection from there has to begin with. */
enum admission_way {
    ADMISSION_PLAIN,
    ADMISSION_HEADER, /* a PROXY header */
    ADMISSION_REFUSED,
};
enum admission_way admission_way(const struct config_access *access,
                                 const struct sockaddr_any *peer) NODISCARD;

/* One more client from there; told: a PROXY header says so. False: that would be one too many.
 * *guest may be NULL all the same. */
bool admission_enter(struct admission *a, const struct sockaddr_any *from, bool told,
                     struct guest **guest) NODISCARD;
/* It has left. Sets *guest to NULL; it may be. */
void admission_leave(struct guest **guest);
/* The address that a PROXY header gave; false: there was none. */
bool guest_address(const struct guest *guest, struct addr *out) NODISCARD;

#endif
