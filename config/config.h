/* The configuration as plain data. Made by config_load, const from then on; durations are in
 * milliseconds, sizes in bytes. */
#ifndef VEDETTE_CONFIG_CONFIG_H
#define VEDETTE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/secret.h"
#include "proxy/base/addr.h"
#include "proxy/base/buf.h"
#include "proxy/base/log.h"

#define CONFIG_AUTO           0   /* value of numbers whose key says "auto" */
#define CONFIG_SERVICES_MAX   64  /* each has a listener and probes within FDS_RESERVED */
#define CONFIG_GROUPS_MAX     16  /* groups of Sentinels, the plain one included */
#define CONFIG_LISTENERS_MAX  16  /* of one service and kind */
#define CONFIG_MAPPINGS_MAX   256 /* of one group of Sentinels */
#define CONFIG_IDENTITIES_MAX 256 /* of one service: each has links of its own */

struct config_addrs {
    struct addr *v;
    size_t count;
};

/* An address that Sentinels announce and the one that leads there from here. Port 0 of announced:
 * every port; of reachable: the announced one, or a unix socket. */
struct config_mapping {
    struct addr announced, reachable;
};

struct config_mappings {
    struct config_mapping *v;
    size_t count;
};

struct config_nets {
    struct addr_net *v;
    size_t count;
};

/* Names of commands in lower case, of sub-commands as "name|sub". */
struct config_commands {
    char **v;
    size_t count;
};

/* [proxy] */
struct config_proxy {
    uint32_t workers; /* CONFIG_AUTO: one per CPU the process may run on */
    enum log_level log_level;
    uint32_t max_clients;
    uint32_t max_clients_per_address; /* 0: any number */
    uint64_t buffer_memory;
    uint64_t handshake_timeout_ms;
    uint64_t first_byte_timeout_ms; /* 0: none */
    uint64_t idle_timeout_ms;       /* 0: for ever */
    uint64_t drain_delay_ms, drain_timeout_ms;
    bool protected_mode;
    char *user, *group; /* whom the process runs as; NULL: as it was started */
    bool core_dumps;
};

/* Whether the other side has to prove who it is. */
enum config_tls_verify {
    CONFIG_VERIFY_FULL, /* its certificate is good, and for the name it is connected to */
    CONFIG_VERIFY_CA,   /* it is good, whoever it is for */
    CONFIG_VERIFY_NO,
};

/* Whether clients have to. */
enum config_tls_auth { CONFIG_AUTH_NO, CONFIG_AUTH_OPTIONAL, CONFIG_AUTH_YES };

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };

/* TLS to nodes or to Sentinels; what is NULL was not set. The last four hold for clients too. */
struct config_tls {
    bool on;
    char *ca_file, *ca_dir;
    char *cert_file, *key_file;
    char *server_name;
    enum config_tls_verify verify;
    enum config_tls_version min_version;
    char *ciphers, *ciphersuites, *groups;
};

/* TLS of clients. */
struct config_tls_clients {
    struct config_addrs listen, read_listen;
    char *cert_file, *key_file;
    char *ca_file;
    enum config_tls_auth auth;
};

/* Whether clients come by way of a proxy that tells their address (PROXY protocol). */
enum config_proxied {
    CONFIG_PROXIED_NO,
    CONFIG_PROXIED_OPTIONAL, /* those that `proxied_from` has, and no others */
    CONFIG_PROXIED_YES,      /* all do, and only `proxied_from` may, where it has any */
};

/* Who may connect to a service, and what is not to be said there. */
struct config_access {
    struct config_nets allow; /* empty: all */
    enum config_proxied proxied;
    struct config_nets proxied_from;
    struct config_commands deny;
};

/* [sentinel] or [sentinel NAME]: a group of Sentinels, which know the services that choose it. What
 * one group says, epochs and majorities, is never compared with what another says. */
struct config_sentinel {
    char *name; /* "": the plain group */
    struct config_addrs address;
    char *user;              /* NULL: none */
    struct secret *password; /* NULL: none */
    uint64_t connect_timeout_ms;
    uint64_t poll_interval_ms, poll_interval_fast_ms;
    uint32_t min_agree; /* CONFIG_AUTO: the majority of the reachable Sentinels */
    bool learn;         /* those that the listed ones tell of have a say too */
    struct config_mappings address_map;
    struct config_tls tls;
};

enum config_links {
    LINKS_SHARED,    /* clients of one profile share connections where they may */
    LINKS_EXCLUSIVE, /* each has one of its own */
};

/* What becomes of a blocked command whose connection is lost, when nothing proves that it took
 * nothing. */
enum config_doubt {
    DOUBT_NIL,    /* it is answered nil, as at its time-out */
    DOUBT_ERROR,  /* it is answered an error */
    DOUBT_RESEND, /* it blocks again */
};

/* Where a client's reads go. */
enum config_reads {
    READS_PRIMARY,
    READS_PREFER_REPLICA, /* to the primary if no replica is fit */
    READS_REPLICA,        /* an error if none is fit */
    READS_ANY,            /* spread over the primary and all fit replicas */
};

enum config_consistency {
    CONSISTENCY_SESSION,  /* a client's reads see its own writes, and never go back */
    CONSISTENCY_EVENTUAL, /* they see what the replica has */
};

/* Who says whether a client may come in. */
enum config_client_auth {
    CLIENT_AUTH_FORWARD, /* the server */
    CLIENT_AUTH_NONE,    /* nobody: everyone may */
    CLIENT_AUTH_USERS,   /* the users of acl-file */
};

/* A client's user who is somebody else at the server than the service itself. */
struct config_identity {
    char *client, *user, *path;
    struct secret *password; /* from that path */
};

struct config_identities {
    struct config_identity *v;
    size_t count;
};

/* [service NAME] */
struct config_service {
    char *name;
    char *master;   /* the name that its Sentinels monitor it under; NULL: the same */
    char *sentinel; /* the name of its group; NULL: the plain one */
    size_t group;   /* index of that into config->groups */
    struct config_addrs listen, read_listen; /* without TLS */
    struct config_tls_clients clients;
    struct config_access access;
    struct config_tls tls;   /* to its nodes */
    uint32_t unix_mode;      /* permissions of unix sockets it listens on */
    char *user;              /* of our own connections to Redis; NULL: none */
    struct secret *password; /* the same */
    enum config_client_auth client_auth;
    char *acl_file; /* NULL: none */
    struct config_identities upstream_users;
    uint64_t hold_timeout_ms; /* CONFIG_AUTO: max(30 s, 2 x down-after + 10 s) */
    enum config_links links;
    uint32_t links_per_profile;
    struct config_commands shared_commands; /* that the command table need not have */
    uint64_t client_output_limit;
    uint64_t hold_grace_ms, stall_timeout_ms, connect_timeout_ms;
    uint64_t retain_max;
    uint64_t script_cache_memory;
    enum config_doubt blocking_in_doubt;
    bool script_cache;     /* remember scripts for the next primary */
    bool hold_on_failover; /* no: go on with the primary while Sentinel moves it */
    bool follow_role;
    /* Reads on replicas. */
    bool replica_priority_zero; /* those with replica-priority 0 too */
    bool reads_during_failover;
    enum config_reads read_policy, read_listen_policy;
    enum config_consistency consistency;
    uint64_t max_replica_lag_ms, replica_slow_start_ms;
    struct config_nets prefer;               /* where the near ones are */
    char *zone;                              /* what the near ones say of theirs; NULL: not asked */
    struct config_commands replica_commands; /* that go there besides the plain reads */
};

/* Whether the service is to read from replicas, be it that no client asks for it. */
static inline bool config_reads_replicas(const struct config_service *s)
{
    return s->read_policy != READS_PRIMARY || s->read_listen.count > 0 ||
           s->clients.read_listen.count > 0;
}

static inline bool config_listens_with_tls(const struct config_service *s)
{
    return s->clients.listen.count > 0 || s->clients.read_listen.count > 0;
}

/* Whom a client's user is at the server: 0 for whom the service itself is, else one more than the
 * first of upstream_users with that user and that password. */
unsigned config_identity_of(const struct config_service *s, const char *client);

struct config {
    struct config_proxy proxy;
    struct config_sentinel *groups; /* the plain one first, be it without an address */
    size_t group_count;
    struct config_service *services;
    size_t service_count;
    struct config_origins *origins; /* where each value came from, for config_print */
};

/* Where a configuration comes from. Precedence: flag > environment > file > default. */
struct config_input {
    int argc;
    char *const *argv;    /* argv[0] is skipped; nothing else parses the command line */
    char *const *environ; /* ends with NULL; NULL: none */
    uint64_t fd_limit;    /* what config_raise_fd_limit returned; 0: not checked */
    /* Passwords in argv and environ are overwritten, so that nobody sees them there. */
    bool hide_secrets;
    /* A file already in memory, read instead of --config's; file_name stands in the messages. */
    struct slice file_text; /* p NULL: none */
    const char *file_name;
};

/* What the command line asks for. */
enum config_action {
    CONFIG_RUN,
    CONFIG_CHECK,   /* --check: say whether the configuration is good, and end */
    CONFIG_PRINT,   /* --print-config: config_print to stdout, and end */
    CONFIG_VERSION, /* --version */
    CONFIG_HELP,    /* --help: config_help to stdout, and end */
};

enum config_severity {
    CONFIG_ERROR,   /* nothing may start */
    CONFIG_WARNING, /* it works, though hardly as meant */
    CONFIG_NOTICE,  /* worth a line in the log */
};

struct config_remark {
    enum config_severity severity;
    char *text; /* one line, `where: what; what to do`; never holds a secret */
};

/* Zero-initialised is empty. */
struct config_report {
    struct config_remark *v;
    size_t count;
    size_t errors; /* how many of them are CONFIG_ERROR */
};

/* Reads the command line, the environment, the file and the secret files, and checks it all. Every
 * mistake found is in the report, not the first only. Returns NULL when there was an error (then
 * report->errors > 0: print them, exit 2) and for CONFIG_HELP and CONFIG_VERSION, which look at
 * nothing else. *action is always set. Warnings and notices come with a good configuration too.
 * Opens no socket and writes nothing. */
struct config *config_load(const struct config_input *in, enum config_action *action,
                           struct config_report *report) NODISCARD;
/* Adds a line, `where: what; what to do`, also for those who find more than config_load does; it
 * must not hold a secret. Control characters become '?'. */
void config_report_add(struct config_report *report, enum config_severity severity, const char *fmt,
                       ...) PRINTF_LIKE(3, 4);
/* Where a key of that section, which is one of the structs in config, was set; else where the
 * section begins. */
const char *config_where(const struct config *config, const void *section, const char *key);
#define READ_PROBLEM_MAX 128
/* Reads a file of at most max bytes. False, and in words why, when it can't be had. */
bool config_read_whole(const char *path, size_t max, struct buf *out,
                       char problem[READ_PROBLEM_MAX]) NODISCARD;
/* The same of the i-th value of a list. */
const char *config_where_of(const struct config *config, const void *section, const char *key,
                            size_t i);
/* The candidate most like a mistyped word; NULL when none is near. */
const char *config_suggest(struct slice word, const char *const *candidates, size_t count);
/* Empties the report. */
void config_report_free(struct config_report *report);

/* Raises the soft limit of open files to the hard one as far as the kernel lets us. Returns the
 * limit now in force, for config_input; 0 when it can't be learnt. */
uint64_t config_raise_fd_limit(void);

/* Appends the effective configuration as a file that loads again: each value below a comment that
 * says where it came from, secrets as ********. */
void config_print(const struct config *config, struct buf *out);
/* Appends what --help prints: usage, flags, environment and all keys. */
void config_help(struct buf *out);
/* Appends the Markdown table of all keys that stands in README.md. */
void config_option_table(struct buf *out);

/* Frees what config_load made, secrets overwritten first. Sets the pointer to NULL; it may be. */
void config_free(struct config **config);

#endif
