#include "proxy/scripts.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/script_loader.h"
#include "proxy/server.h"
#include "proxy/worker.h"

struct script_news *script_news_copy(const struct script_news *news)
{
    struct script_news *copy = xcalloc(1, sizeof *copy);
    copy->service = news->service;
    copy->count = copy->cap = news->count;
    copy->v = xcalloc(news->count, sizeof(struct script *));
    for (size_t i = 0; i < news->count; i++) {
        copy->v[i] = news->v[i] != NULL ? script_ref(news->v[i]) : NULL;
    }
    return copy;
}

void script_news_free(struct script_news **where)
{
    struct script_news *news = *where;
    *where = NULL;
    if (news != NULL) {
        for (size_t i = 0; i < news->count; i++) {
            script_unref(&news->v[i]);
        }
        free(news->v);
        free(news);
    }
}

void scripts_start(struct worker_service *ws)
{
    if (ws->config->script_cache) {
        ws->scripts = xcalloc(1, sizeof *ws->scripts);
        ws->scripts->cache.limit = ws->config->script_cache_memory;
    }
}

void scripts_stop(struct worker_service *ws)
{
    struct scripts *scripts = ws->scripts;
    if (scripts != NULL) {
        ws->scripts = NULL;
        script_loader_stop(&scripts->loader);
        script_news_free(&scripts->news);
        script_cache_clear(&scripts->cache);
        free(scripts);
    }
}

/* Takes over the reference. */
static void note(struct worker_service *ws, struct script *script)
{
    struct script_news *news = ws->scripts->news;
    if (news == NULL) {
        news = ws->scripts->news = xcalloc(1, sizeof *news);
        news->service = ws->index;
    }
    if (news->count == news->cap) {
        news->cap = news->cap > 0 ? news->cap * 2 : 4;
        news->v = xrealloc(news->v, news->cap * sizeof(struct script *));
    }
    news->v[news->count++] = script;
}

void scripts_accepted(struct worker_service *ws, struct slice body, bool loaded)
{
    if (ws->scripts == NULL || script_cache_has(&ws->scripts->cache, body, loaded)) {
        return;
    }
    struct script *script = script_new(body, loaded);
    if (script != NULL) {
        note(ws, script_ref(script));
        script_cache_add(&ws->scripts->cache, script);
    }
}

void scripts_flushed(struct worker_service *ws)
{
    if (ws->scripts != NULL) {
        note(ws, NULL);
        script_cache_clear(&ws->scripts->cache);
    }
}

void scripts_tell(struct worker_service *ws)
{
    if (ws->scripts != NULL && ws->scripts->news != NULL) {
        server_scripts(ws->worker->server, ws->scripts->news);
        ws->scripts->news = NULL;
    }
}

void scripts_hear(struct worker_service *ws, const struct script_news *news)
{
    for (size_t i = 0; i < news->count && ws->scripts != NULL; i++) {
        if (news->v[i] == NULL) {
            script_cache_clear(&ws->scripts->cache);
        } else {
            script_cache_add(&ws->scripts->cache, script_ref(news->v[i]));
        }
    }
}

bool scripts_load(struct worker_service *ws)
{
    scripts_load_no_more(ws);
    if (ws->scripts == NULL || script_cache_count(&ws->scripts->cache) == 0) {
        return false;
    }
    ws->scripts->loader = script_loader_start(ws, &ws->scripts->cache);
    return true;
}

void scripts_load_no_more(struct worker_service *ws)
{
    if (ws->scripts != NULL) {
        script_loader_stop(&ws->scripts->loader);
    }
}
