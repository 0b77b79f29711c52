/* Where a request goes: decided in one place, from plain values. */
#ifndef VEDETTE_PROXY_ROUTE_H
#define VEDETTE_PROXY_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/command.h"
#include "proxy/profile.h"

enum route {
    ROUTE_LINK,  /* to the link it is meant for */
    ROUTE_OPEN,  /* which has to be opened first */
    ROUTE_PARK,  /* wait for a primary that may be sent to, or for that link */
    ROUTE_DRAIN, /* wait until nothing is outstanding */
    ROUTE_LOCAL, /* answered here */
};

struct route_input {
    const struct command *command;
    uint32_t args; /* how many it has with its name; 0: not known */
    uint32_t outstanding;
    bool elsewhere;             /* these are on another link than the one it is meant for */
    bool full;                  /* ... and hold as many bytes as they may, on a link of its own */
    bool shares;                /* the service shares links */
    bool exclusive;             /* it is meant for a link of the session's own */
    bool serving;               /* the service has a primary that may be sent to */
    bool link_open;             /* that link is there, ready or on its way */
    bool link_ready;            /* ... and takes requests */
    bool asking;                /* a command that changes the profile is unanswered */
    bool blocking;              /* a blocking command is unanswered */
    bool judging;               /* a refusal is being judged */
    bool listening;             /* a MONITOR is unanswered */
    bool pushing;               /* a message too large to wait for is being handed on */
    bool raw;                   /* behind it nothing can be told apart on its link */
    bool mixed;                 /* what is outstanding are not all subscriptions */
    bool scout;                 /* one request at a time */
    bool flag;                  /* it sets no more than a flag of the session */
    bool silent;                /* ... and has no answer */
    bool multi;                 /* in a transaction */
    bool multi_lost;            /* in one whose link is gone */
    bool watch_lost;            /* a WATCH was on a link that is gone */
    bool writes_lost;           /* the session's last write was on another primary */
    bool needs_auth;            /* the server wants a password that the session has not given */
    enum greeting_step refused; /* part of the profile the primary refused; GREET_STEPS: none */
    bool bare;                  /* the link was greeted without that part */
};

enum route route_decide(const struct route_input *in);

#endif
