/* Where a request goes: decided in one place, from plain values. */
#ifndef VEDETTE_PROXY_ROUTE_H
#define VEDETTE_PROXY_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/command.h"
#include "proxy/profile.h"

enum route {
    ROUTE_LINK,  /* to the session's link */
    ROUTE_OPEN,  /* a link has to be opened first */
    ROUTE_PARK,  /* wait for a primary that may be sent to */
    ROUTE_DRAIN, /* wait until nothing is outstanding */
    ROUTE_LOCAL, /* answered here */
};

struct route_input {
    const struct command *command;
    uint32_t outstanding;
    bool full;                  /* its unanswered requests hold as many bytes as they may */
    bool serving;               /* the service has a primary that may be sent to */
    bool link_open;             /* the session has a link, ready or on its way */
    bool link_ready;            /* ... and it takes requests */
    bool asking;                /* a command that changes the profile is unanswered */
    bool judging;               /* a refusal is being judged */
    bool scout;                 /* one request at a time */
    bool multi_lost;            /* in a transaction whose link is gone */
    bool watch_lost;            /* a WATCH was on a link that is gone */
    enum greeting_step refused; /* part of the profile the primary refused; GREET_STEPS: none */
    bool bare;                  /* the link was greeted without that part */
};

enum route route_decide(const struct route_input *in);

#endif
