#include "sentinel/certificates.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/net/tls_ctx.h"

#define EXPIRIES_MAX 8
#define DAY_MS       (UINT64_C(86400) * 1000)

/* One side of one section. */
struct material {
    const void *section;
    const char *what;       /* the section, for the log */
    const char *const *key; /* by enum tls_setting */
    struct tls_ctx *ctx;    /* NULL: no TLS */
};

struct certificates {
    const struct config *config;
    struct material *v; /* clients and nodes of each service, then the groups of Sentinels */
    size_t count;
    struct loop *loop;
    struct wheel_timer timer;
    uint64_t warned_ms;
};

static const char *const keys_to_others[] = {
    [TLS_SET_CERT] = "tls-client-cert-file",     [TLS_SET_KEY] = "tls-client-key-file",
    [TLS_SET_CA_FILE] = "tls-ca-cert-file",      [TLS_SET_CA_DIR] = "tls-ca-cert-dir",
    [TLS_SET_CIPHERS] = "tls-ciphers",           [TLS_SET_GROUPS] = "tls-groups",
    [TLS_SET_CIPHERSUITES] = "tls-ciphersuites",
};
static const char *const keys_of_clients[] = {
    [TLS_SET_CERT] = "tls-cert-file",
    [TLS_SET_KEY] = "tls-key-file",
    [TLS_SET_CA_FILE] = "tls-auth-ca-file",
    [TLS_SET_CA_DIR] = "tls-auth-ca-file",
    [TLS_SET_CIPHERS] = "tls-ciphers",
    [TLS_SET_GROUPS] = "tls-groups",
    [TLS_SET_CIPHERSUITES] = "tls-ciphersuites",
};

/* The words of the configuration and those of TLS are the same, in one order. */
_Static_assert((int)CONFIG_VERIFY_FULL == TLS_VERIFY_FULL &&
                   (int)CONFIG_VERIFY_CA == TLS_VERIFY_CA &&
                   (int)CONFIG_VERIFY_NO == TLS_VERIFY_NONE,
               "verify");
_Static_assert((int)CONFIG_AUTH_NO == TLS_AUTH_NO &&
                   (int)CONFIG_AUTH_OPTIONAL == TLS_AUTH_OPTIONAL &&
                   (int)CONFIG_AUTH_YES == TLS_AUTH_YES,
               "auth");
_Static_assert((int)CONFIG_TLS_1_2 == TLS_1_2 && (int)CONFIG_TLS_1_3 == TLS_1_3, "version");

static struct tls_settings to_others(const struct config_tls *tls)
{
    const char *key = tls->key_file != NULL ? tls->key_file : tls->cert_file;
    return (struct tls_settings){.side = TLS_CONNECTS,
                                 .cert_file = tls->cert_file,
                                 .key_file = key,
                                 .ca_file = tls->ca_file,
                                 .ca_dir = tls->ca_dir,
                                 .ciphers = tls->ciphers,
                                 .ciphersuites = tls->ciphersuites,
                                 .groups = tls->groups,
                                 .server_name = tls->server_name,
                                 .min_version = (enum tls_version)tls->min_version,
                                 .verify = (enum tls_verify)tls->verify};
}

static struct tls_settings of_clients(const struct config_service *s)
{
    const struct config_tls_clients *c = &s->clients;
    return (struct tls_settings){.side = TLS_ACCEPTS,
                                 .cert_file = c->cert_file,
                                 .key_file = c->key_file != NULL ? c->key_file : c->cert_file,
                                 .ca_file = c->ca_file,
                                 .ciphers = s->tls.ciphers,
                                 .ciphersuites = s->tls.ciphersuites,
                                 .groups = s->tls.groups,
                                 .min_version = (enum tls_version)s->tls.min_version,
                                 .auth = (enum tls_auth)c->auth};
}

static const char *where(const struct certificates *c, const struct material *m,
                         enum tls_setting with)
{
    return config_where(c->config, m->section, m->key[with]);
}

static void remark_expiry(const struct certificates *c, const struct material *m,
                          struct config_report *report)
{
    struct tls_expiry found[EXPIRIES_MAX];
    size_t count = tls_ctx_expiring(m->ctx, TLS_EXPIRY_DAYS, found, EXPIRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        config_report_add(report, CONFIG_WARNING, "%s: %s; replace it: it is loaded as it is seen",
                          where(c, m, found[i].with), found[i].text);
    }
}

static void load(struct certificates *c, const void *section, const char *what,
                 const char *const *keys, const struct tls_settings *settings,
                 struct config_report *report)
{
    struct material *m = &c->v[c->count++];
    *m = (struct material){.section = section, .what = what, .key = keys};
    if (settings == NULL) {
        return;
    }
    struct tls_problem problem;
    m->ctx = tls_ctx_new(settings, &problem);
    if (m->ctx == NULL) {
        config_report_add(report, CONFIG_ERROR, "%s: bad %s: %s; mend that, or give another",
                          where(c, m, problem.with), keys[problem.with], problem.text);
        return;
    }
    remark_expiry(c, m, report);
}

struct certificates *certificates_load(const struct config *config, struct config_report *report)
{
    struct certificates *c = xcalloc(1, sizeof *c);
    size_t errors = report->errors;
    c->config = config;
    c->v = xcalloc(config->service_count * 2 + config->group_count, sizeof *c->v);
    for (size_t i = 0; i < config->service_count; i++) {
        const struct config_service *s = &config->services[i];
        struct tls_settings clients = of_clients(s), nodes = to_others(&s->tls);
        load(c, s, s->name, keys_of_clients, config_listens_with_tls(s) ? &clients : NULL, report);
        load(c, s, s->name, keys_to_others, s->tls.on ? &nodes : NULL, report);
    }
    for (size_t i = 0; i < config->group_count; i++) {
        const struct config_sentinel *s = &config->groups[i];
        struct tls_settings settings = to_others(&s->tls);
        load(c, s, "sentinel", keys_to_others, s->tls.on ? &settings : NULL, report);
    }
    if (report->errors > errors) {
        certificates_free(&c);
    }
    return c;
}

void certificates_free(struct certificates **where_it_is)
{
    struct certificates *c = *where_it_is;
    if (c == NULL) {
        return;
    }
    *where_it_is = NULL;
    for (size_t i = 0; i < c->count; i++) {
        tls_ctx_free(&c->v[i].ctx);
    }
    free(c->v);
    free(c);
}

struct tls_ctx *certificates_of_clients(const struct certificates *c, size_t service)
{
    return c == NULL ? NULL : c->v[service * 2].ctx;
}

struct tls_ctx *certificates_of_nodes(const struct certificates *c, size_t service)
{
    return c == NULL ? NULL : c->v[service * 2 + 1].ctx;
}

struct tls_ctx *certificates_of_sentinels(const struct certificates *c, size_t group)
{
    return c == NULL ? NULL : c->v[c->config->service_count * 2 + group].ctx;
}

void certificates_warn_unreadable(const struct certificates *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct tls_problem problems[TLS_FILES];
        const struct material *m = &c->v[i];
        size_t count = m->ctx == NULL ? 0 : tls_ctx_unreadable(m->ctx, problems);
        for (size_t k = 0; k < count; k++) {
            log_warning("certificates-unreadable",
                        "section=%s key=%s error=%s effect=\"changes to it can't be loaded\"",
                        log_quote(slice_str(m->what)), m->key[problems[k].with],
                        log_quote(slice_str(problems[k].text)));
        }
    }
}

static void warn_of_expiry(const struct material *m)
{
    struct tls_expiry found[EXPIRIES_MAX];
    size_t count = tls_ctx_expiring(m->ctx, TLS_EXPIRY_DAYS, found, EXPIRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        log_warning("certificate-expires", "section=%s key=%s days=%lld what=%s",
                    log_quote(slice_str(m->what)), m->key[found[i].with], (long long)found[i].days,
                    log_quote(slice_str(found[i].text)));
    }
}

static void reload(struct material *m)
{
    struct tls_problem problem;
    if (tls_ctx_reload(m->ctx, &problem)) {
        log_notice("certificates-loaded", "section=%s key=%s", log_quote(slice_str(m->what)),
                   m->key[TLS_SET_CERT]);
        warn_of_expiry(m);
    } else {
        log_error(
            "certificates-not-loaded",
            "section=%s key=%s error=%s effect=\"new connections use what was loaded before\"",
            log_quote(slice_str(m->what)), m->key[problem.with],
            log_quote(slice_str(problem.text)));
    }
}

void certificates_reload(struct certificates *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->v[i].ctx != NULL) {
            reload(&c->v[i]);
        }
    }
}

static void on_look(struct wheel_timer *timer)
{
    struct certificates *c = CONTAINER_OF(timer, struct certificates, timer);
    uint64_t now = loop_now_ms(c->loop);
    bool warn = now >= c->warned_ms + DAY_MS;
    c->warned_ms = warn ? now : c->warned_ms;
    for (size_t i = 0; i < c->count; i++) {
        if (c->v[i].ctx == NULL) {
            continue;
        }
        if (tls_ctx_changed(c->v[i].ctx)) {
            reload(&c->v[i]);
        } else if (warn) {
            warn_of_expiry(&c->v[i]);
        }
    }
    loop_arm(c->loop, timer, TLS_LOOK_MS, on_look);
}

void certificates_watch(struct certificates *c, struct loop *loop)
{
    bool any = false;
    for (size_t i = 0; i < c->count; i++) {
        any = any || c->v[i].ctx != NULL;
    }
    c->loop = loop;
    c->warned_ms = loop_now_ms(loop); /* told at the start */
    if (any) {
        loop_arm(loop, &c->timer, TLS_LOOK_MS, on_look);
    }
}

void certificates_unwatch(struct certificates *c)
{
    if (c->loop != NULL) {
        loop_disarm(c->loop, &c->timer);
        c->loop = NULL;
    }
}
