/* What one worker does with the scripts of one service: it remembers the bodies that a server has
 * accepted, tells the other workers of them, and has a new primary load them before anything that
 * waited is sent there. Redis keeps scripts in no replica.
 *
 * The main thread puts what workers tell in one order and repeats it to all, the teller included:
 * so they all end with the same, whoever was told of a SCRIPT FLUSH first. */
#ifndef VEDETTE_PROXY_SCRIPTS_H
#define VEDETTE_PROXY_SCRIPTS_H

#include "proxy/net/loop.h"
#include "proxy/script_cache.h"

struct script_loader;
struct worker_service;

struct scripts {
    struct script_cache cache;
    struct script_news *news;     /* of this turn, not told yet; NULL: none */
    struct script_loader *loader; /* NULL: nothing is being loaded */
};

/* What happened, in order; a NULL is a SCRIPT FLUSH. */
struct script_news {
    struct mail mail;
    size_t service;
    size_t count, cap;
    struct script **v;
};

/* A copy, with references of its own. */
struct script_news *script_news_copy(const struct script_news *news);
/* Sets *where to NULL; it may be. */
void script_news_free(struct script_news **where);

/* As the service is configured; and its end. */
void scripts_start(struct worker_service *ws);
void scripts_stop(struct worker_service *ws);
/* The server has accepted this body: from a SCRIPT LOAD, or an EVAL. */
void scripts_accepted(struct worker_service *ws, struct slice body, bool loaded);
/* SCRIPT FLUSH. */
void scripts_flushed(struct worker_service *ws);
/* Tells the others; once a turn. */
void scripts_tell(struct worker_service *ws);
/* What a worker told, perhaps this one. */
void scripts_hear(struct worker_service *ws, const struct script_news *news);
/* The primary may be sent to again, and may not have the scripts. True if it gets them first: then
 * service_scripts_loaded follows (script_loader.h). */
bool scripts_load(struct worker_service *ws) NODISCARD;
/* The primary may not be sent to any more: what was being loaded there is given up. */
void scripts_load_no_more(struct worker_service *ws);

#endif
