/* What makes two sessions interchangeable upstream, and the greeting that gives a fresh link that
 * profile: AUTH, HELLO, CLIENT SETNAME, SELECT, ROLE. */
#ifndef VEDETTE_PROXY_PROFILE_H
#define VEDETTE_PROXY_PROFILE_H

#include "config/config.h"
#include "proxy/base/buf.h"
#include "proxy/command.h"
#include "proxy/resp/args.h"
#include "proxy/resp/scan.h"

struct profile {
    bool authenticated;        /* user and password are the client's own */
    unsigned identity;         /* without: who we are instead; see config_identity_of */
    struct buf user, password; /* user may be empty: the default one */
    int64_t database;
    int resp; /* 2 or 3 */
};

/* How well a command that changes the profile is understood. */
enum profile_form {
    PROFILE_UNKNOWN, /* of no form we know; the server will most likely refuse it */
    PROFILE_ODD,     /* understood, but another server may read it differently */
    PROFILE_PLAIN,   /* the form in which every server reads it alike */
};

void profile_init(struct profile *p);
/* Wipes the secrets. */
void profile_clear(struct profile *p);
void profile_copy(struct profile *to, const struct profile *from);
/* True if links of the one serve sessions of the other. */
bool profile_same(const struct profile *a, const struct profile *b);
uint32_t profile_hash(const struct profile *p);
/* True if links are greeted with a password, the client's or one of ours. */
bool profile_has_password(const struct profile *p, const struct config_service *service);
/* Without the client's own user: which of ours it is. */
const char *profile_own_user(const struct profile *p, const struct config_service *service);
/* A name that CLIENT SETNAME accepts. */
bool name_is_valid(struct slice name);
/* What p, and the name of the connection, become if the server accepts this AUTH, HELLO, SELECT or
 * CLIENT SETNAME. With PROFILE_UNKNOWN they are untouched. Plain are: AUTH with one or two
 * arguments, SELECT, HELLO 2|3 [AUTH user password] [SETNAME name] in this order. */
enum profile_form profile_apply(struct profile *p, struct buf *name, const struct command *command,
                                const struct args *args);

enum greeting_step {
    GREET_AUTH,
    GREET_HELLO,
    GREET_NAME,
    GREET_SELECT,
    GREET_ROLE,
    GREET_ID,
    GREET_STEPS
};

enum greeting_result {
    GREETING_MORE,       /* answers are still missing */
    GREETING_DONE,       /* the link has the profile and leads to a primary */
    GREETING_REFUSED,    /* the server refused a part of the profile: see refused and words */
    GREETING_OTHER_ROLE, /* ROLE says something other than is wanted */
    GREETING_BROKEN,     /* not RESP, or an answer too large */
};

struct greeting {
    struct buf out; /* bytes still to be sent */
    struct buf in;  /* an incomplete answer */
    struct reply_scan scan;
    uint8_t steps[GREET_STEPS + SECRET_PASSWORDS_MAX - 1];
    uint8_t count, answered;
    bool let_in;           /* by one of the passwords: another may be refused */
    struct secret *secret; /* whose passwords are said; NULL: they are the client's, or none */
    uint32_t secret_version;
    bool replica;               /* its role is to be that; to be set behind greeting_begin */
    int64_t client_id;          /* what CLIENT ID said; 0: it was not asked, or refused */
    bool needs_auth;            /* the server wants a password that it was not given */
    enum greeting_step refused; /* with GREETING_REFUSED; GREET_ROLE: the server turned us away */
    struct buf words;           /* its error text, without '-' and CR LF */
};

/* Writes the greeting for p and a name (empty: none) into g->out. Where p has no credentials of
 * its own, those of the service are used. Steps from `until` on are left out, but never ROLE:
 * GREET_STEPS for the whole. */
void greeting_begin(struct greeting *g, const struct profile *p, struct slice name,
                    const struct config_service *service, enum greeting_step until);
/* Asks for CLIENT ID too, once greeting_begin has written the rest. A refusal is no failure. */
void greeting_ask_id(struct greeting *g);
/* Takes the bytes the server answered. A ROLE that is refused (NOPERM, NOAUTH, BUSY: Redis 7.0
 * answers these before it runs) is no opinion, not a failure. */
enum greeting_result greeting_feed(struct greeting *g, struct slice bytes);
/* There are other passwords now than those that it says. */
bool greeting_is_outdated(const struct greeting *g);
void greeting_clear(struct greeting *g);

#endif
