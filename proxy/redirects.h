/* Sessions by the numbers that CLIENT ID has told their clients, for CLIENT TRACKING ON REDIRECT:
 * what one connection tracks is told to another, which is named by its number. The number is the
 * server's, of the link of that moment; the client goes on using it when the link, or the server,
 * is another one long since. So
 *
 *   a number means the session that was told it last, even if that is gone by now; one that nobody
 *   was told here is the server's own business,
 *
 * and a redirection, once accepted, means that session and no number. Numbers that nobody was told
 * are those of connections made around us; those that are forgotten (REDIRECT_NUMBERS_MAX,
 * REDIRECT_GONE_MAX) are taken for such.
 *
 * Shared by all workers, under a lock that is taken when a number is told or used and when the
 * links of such sessions come and go. Whoever changes what others wait for says so to
 * server_redirects_changed. */
#ifndef VEDETTE_PROXY_REDIRECTS_H
#define VEDETTE_PROXY_REDIRECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redirects;
/* A session that was told its number. Counted; outlives it. */
struct target;

struct target_state {
    uint64_t version;     /* another one after each change of what comes now */
    int64_t id;           /* of its link; 0: it has none that is as its client expects it */
    uint64_t generation;  /* of that link */
    bool gone;            /* the session has ended */
    uint64_t asked, told; /* how often its client was to forget all, and has been told so */
};

struct redirects *redirects_new(void);
/* Nobody uses it, or any target, any more. Sets *where to NULL. */
void redirects_free(struct redirects **where);

/* The session of *target, which is made if it is NULL, was told this number of its service. */
void redirects_tell(struct redirects *all, size_t service, int64_t number, struct target **target);
/* Whose number it is, counted; NULL: nobody's. */
struct target *redirects_find(struct redirects *all, size_t service, int64_t number);
/* Sets *where to NULL; it may be. */
void target_unref(struct target **where);

struct target_state target_look(struct target *t);
/* The same as target_look(t).version; no lock. */
uint64_t target_version(const struct target *t);
/* One more session redirects to it, or one less. */
void target_aim(struct target *t, bool more);
/* No lock. */
bool target_is_aimed_at(const struct target *t);
/* It has this link now; id 0: none. */
void target_set_link(struct target *t, int64_t id, uint64_t generation);
/* Its client is to be told to forget all: once `told` has reached what this returns, it was. */
uint64_t target_ask(struct target *t);
/* That is still to be done. No lock. */
bool target_is_due(const struct target *t);
/* It was, so often. */
void target_told(struct target *t, uint64_t times);
/* The session ends. */
void target_end(struct target *t);

#endif
