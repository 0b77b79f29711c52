#include "proxy/net/tls_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/file_stamp.h"
#include "proxy/base/limits.h"

#define TLS_CTX_MAGIC 0x7150c0deu
#define DAY           86400
#define KEY_FILE_MAX  ((size_t)1024 * 1024)

struct kept_session {
    char peer[ADDR_TEXT_MAX];
    SSL_SESSION *session;
};

struct tls_ctx {
    uint32_t magic;
    struct tls_settings settings;
    pthread_mutex_t lock; /* of what follows */
    SSL_CTX *now;
    struct kept_session kept[TLS_SESSIONS_MAX];
    size_t next_kept;
    /* Main thread only. */
    struct file_stamp loaded[TLS_FILES], seen[TLS_FILES];
};

static int index_of_ctx = -1, index_of_refusal = -1, index_of_peer = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_peer(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    free(ptr);
}

static void init(void)
{
    index_of_ctx = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    index_of_refusal = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    index_of_peer = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_peer);
    CHECK(index_of_ctx >= 0 && index_of_refusal >= 0 && index_of_peer >= 0);
}

const struct tls_settings *tls_ctx_settings(const struct tls_ctx *ctx)
{
    return &ctx->settings;
}

const char *tls_error_words(void)
{
    unsigned long code = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(code)) {
        return strerrordesc_np(ERR_GET_REASON(code));
    }
    const char *words = code == 0 ? NULL : ERR_reason_error_string(code);
    return words == NULL ? "unknown error" : words;
}

/* Words about certificates. */

static const char *subject_of(const X509 *cert, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const char *text;
    long n = 0;
    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
        n = BIO_get_mem_data(bio, &text);
    }
    (void)snprintf(out, size, "%.*s", (int)n, n > 0 ? text : "");
    BIO_free(bio);
    return out[0] == '\0' ? "a certificate without a subject" : out;
}

static const char *date_of(const ASN1_TIME *when, char *out, size_t size)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(when, &tm) != 1 || strftime(out, size, "%Y-%m-%d %H:%M UTC", &tm) == 0) {
        (void)snprintf(out, size, "an unreadable date");
    }
    return out;
}

/* "DNS:redis-1, IP:10.0.0.1" */
static void names_of(const X509 *cert, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    for (int i = 0; bio != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        (void)BIO_puts(bio, i > 0 ? ", " : "");
        (void)GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i));
    }
    const char *text;
    long n = bio == NULL ? 0 : BIO_get_mem_data(bio, &text);
    (void)snprintf(out, size, "%.*s", (int)n, n > 0 ? text : "");
    BIO_free(bio);
    GENERAL_NAMES_free(names);
}

void tls_say_refusal(X509 *cert, int error, char text[TLS_WORDS_MAX])
{
    char who[128], when[64], names[128];
    const char *why = X509_verify_cert_error_string(error);
    if (cert == NULL) {
        (void)snprintf(text, TLS_WORDS_MAX, "certificate verification failed: %s", why);
        return;
    }
    const char *subject = subject_of(cert, who, sizeof who);
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        (void)snprintf(text, TLS_WORDS_MAX, "the certificate of %s expired on %s", subject,
                       date_of(X509_get0_notAfter(cert), when, sizeof when));
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        (void)snprintf(text, TLS_WORDS_MAX, "the certificate of %s is valid from %s on", subject,
                       date_of(X509_get0_notBefore(cert), when, sizeof when));
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        names_of(cert, names, sizeof names);
        (void)snprintf(text, TLS_WORDS_MAX,
                       "the certificate of %s is for another name or address: %s", subject,
                       names[0] == '\0' ? "it has none" : names);
        return;
    default:
        (void)snprintf(text, TLS_WORDS_MAX, "the certificate of %s is refused: %s", subject, why);
    }
}

static int on_verify(int good, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_refusal *refusal = SSL_get_ex_data(ssl, index_of_refusal);
    bool matters = SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
    if (good == 0 && matters && refusal != NULL && refusal->error == X509_V_OK) {
        refusal->error = X509_STORE_CTX_get_error(store);
        tls_say_refusal(X509_STORE_CTX_get_current_cert(store), refusal->error, refusal->text);
    }
    return good;
}

/* Sessions to be resumed. */

static void drop_sessions(struct tls_ctx *ctx)
{
    for (size_t i = 0; i < TLS_SESSIONS_MAX; i++) {
        SSL_SESSION_free(ctx->kept[i].session);
        ctx->kept[i].session = NULL;
    }
}

/* What the server has given us to begin with the next time. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_ctx *ctx = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index_of_ctx);
    const char *peer = SSL_get_ex_data(ssl, index_of_peer);
    CHECK_MAGIC(ctx, TLS_CTX_MAGIC);
    bool keep = false;
    CHECK(pthread_mutex_lock(&ctx->lock) == 0);
    if (peer != NULL && ctx->now == SSL_get_SSL_CTX(ssl)) {
        struct kept_session *slot = &ctx->kept[ctx->next_kept++ % TLS_SESSIONS_MAX];
        SSL_SESSION_free(slot->session);
        slot->session = session;
        (void)snprintf(slot->peer, sizeof slot->peer, "%s", peer);
        keep = true;
    }
    CHECK(pthread_mutex_unlock(&ctx->lock) == 0);
    return keep ? 1 : 0;
}

void tls_ctx_resume(struct tls_ctx *ctx, SSL *ssl, const struct addr *peer)
{
    char name[ADDR_TEXT_MAX];
    SSL_SESSION *found = NULL;
    CHECK(SSL_set_ex_data(ssl, index_of_peer, xstrdup(addr_text(peer, name))) == 1);
    CHECK(pthread_mutex_lock(&ctx->lock) == 0);
    for (size_t i = 0; i < TLS_SESSIONS_MAX && found == NULL; i++) {
        struct kept_session *slot = &ctx->kept[i];
        if (slot->session == NULL || strcmp(slot->peer, name) != 0) {
            continue;
        }
        found = slot->session;
        if (SSL_SESSION_get_protocol_version(found) >= TLS1_3_VERSION) {
            slot->session = NULL; /* each is good for once; every connection brings another */
        } else {
            (void)SSL_SESSION_up_ref(found);
        }
    }
    CHECK(pthread_mutex_unlock(&ctx->lock) == 0);
    if (found != NULL) {
        (void)SSL_set_session(ssl, found); /* else a whole handshake it is */
        SSL_SESSION_free(found);
    }
}

/* Loading. */

static bool fail(struct tls_problem *problem, enum tls_setting with, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static bool fail(struct tls_problem *problem, enum tls_setting with, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    problem->with = with;
    (void)vsnprintf(problem->text, sizeof problem->text, fmt, args);
    va_end(args);
    ERR_clear_error();
    return false;
}

static bool readable(const char *path, enum tls_setting with, struct tls_problem *problem)
{
    struct stat st;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        return fail(problem, with, "'%s' can't be read: %s", path, strerrordesc_np(errno));
    }
    return !S_ISDIR(st.st_mode) || with == TLS_SET_CA_DIR ||
           fail(problem, with, "'%s' is a directory", path);
}

/* Keys with a passphrase: nobody is there to be asked. */
static int on_passphrase(char *to, int size, int writing, void *arg)
{
    (void)to, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool has_reason(int lib, int reason)
{
    unsigned long code = ERR_peek_error();
    return ERR_GET_LIB(code) == lib && ERR_GET_REASON(code) == reason;
}

static bool load_cert(SSL_CTX *ctx, const struct tls_settings *s, struct tls_problem *problem)
{
    if (!readable(s->cert_file, TLS_SET_CERT, problem)) {
        return false;
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, s->cert_file) == 1) {
        return true;
    }
    return fail(problem, TLS_SET_CERT, "'%s' has no certificate that can be used: %s", s->cert_file,
                has_reason(ERR_LIB_PEM, PEM_R_NO_START_LINE) ? "nothing in PEM"
                                                             : tls_error_words());
}

/* The file whole, by system calls: a stream's buffer would keep what went through it. */
static bool read_whole(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *to = buf_reserve(out, KEY_FILE_MAX);
    size_t n = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && n < KEY_FILE_MAX && (got = read(fd, to + n, KEY_FILE_MAX - n)) > 0) {
        n += (size_t)got;
    }
    buf_commit(out, n);
    if (fd >= 0) {
        (void)close(fd); /* it was only read */
    }
    return got >= 0;
}

/* NULL: OpenSSL's error queue tells why. */
static EVP_PKEY *parse_key(const struct buf *text)
{
    BIO *bio = BIO_new_mem_buf(buf_head(text), (int)buf_len(text));
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, NULL);
    BIO_free(bio);
    return key;
}

static bool load_key(SSL_CTX *ctx, const struct tls_settings *s, struct tls_problem *problem)
{
    char who[256];
    struct buf text = {0};
    if (!readable(s->key_file, TLS_SET_KEY, problem)) {
        return false;
    }
    bool is_read = read_whole(s->key_file, &text);
    EVP_PKEY *key = is_read ? parse_key(&text) : NULL;
    bool encrypted = memmem(buf_head(&text), buf_len(&text), "ENCRYPTED", 9) != NULL;
    buf_wipe(&text);
    bool good =
        key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key); /* the context has its own reference */
    if (good) {
        return true;
    }
    if (has_reason(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH) ||
        has_reason(ERR_LIB_X509, X509_R_KEY_TYPE_MISMATCH)) {
        return fail(problem, TLS_SET_KEY, "the key in '%s' is not that of %s in '%s'", s->key_file,
                    subject_of(SSL_CTX_get0_certificate(ctx), who, sizeof who), s->cert_file);
    }
    return fail(problem, TLS_SET_KEY, "'%s' has no key that can be used: %s", s->key_file,
                encrypted ? "it is encrypted; write it without a passphrase" : tls_error_words());
}

/* OpenSSL takes any directory, and finds no certificate in it that is not called by its hash. */
static bool has_hashes(const char *path)
{
    bool found = false;
    DIR *dir = opendir(path);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads from this one */
    for (const struct dirent *e; dir != NULL && !found && (e = readdir(dir)) != NULL;) {
        size_t hex = strspn(e->d_name, "0123456789abcdef");
        found = hex == 8 && fnmatch(".[0-9]*", e->d_name + hex, 0) == 0;
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return found;
}

static bool load_trust(SSL_CTX *ctx, const struct tls_settings *s, struct tls_problem *problem)
{
    if (s->ca_file != NULL &&
        (!readable(s->ca_file, TLS_SET_CA_FILE, problem) ||
         (SSL_CTX_load_verify_file(ctx, s->ca_file) != 1 &&
          !fail(
              problem, TLS_SET_CA_FILE, "'%s' has no certificate that can be used: %s", s->ca_file,
              has_reason(ERR_LIB_X509, X509_R_NO_CERTIFICATE_OR_CRL_FOUND) ? "nothing in PEM"
                                                                           : tls_error_words())))) {
        return false;
    }
    if (s->ca_dir != NULL && (!readable(s->ca_dir, TLS_SET_CA_DIR, problem) ||
                              (SSL_CTX_load_verify_dir(ctx, s->ca_dir) != 1 &&
                               !fail(problem, TLS_SET_CA_DIR, "'%s' can't be used: %s", s->ca_dir,
                                     tls_error_words())))) {
        return false;
    }
    if (s->ca_dir != NULL && !has_hashes(s->ca_dir)) {
        return fail(problem, TLS_SET_CA_DIR,
                    "'%s' has no certificate that is called by its hash: run openssl rehash on it",
                    s->ca_dir);
    }
    if (s->ca_file == NULL && s->ca_dir == NULL && s->side == TLS_CONNECTS) {
        (void)SSL_CTX_set_default_verify_paths(ctx);
    }
    return true;
}

static bool set_rules(SSL_CTX *ctx, const struct tls_settings *s, struct tls_problem *problem)
{
    int min = s->min_version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    CHECK(SSL_CTX_set_min_proto_version(ctx, min) == 1);
    if (s->ciphers != NULL && SSL_CTX_set_cipher_list(ctx, s->ciphers) != 1) {
        return fail(problem, TLS_SET_CIPHERS, "'%s' has no cipher that there is", s->ciphers);
    }
    if (s->ciphersuites != NULL && SSL_CTX_set_ciphersuites(ctx, s->ciphersuites) != 1) {
        return fail(problem, TLS_SET_CIPHERSUITES, "'%s' is no list of TLS 1.3 cipher suites",
                    s->ciphersuites);
    }
    char *groups =
        s->groups == NULL ? NULL : xstrdup(s->groups); /* OpenSSL wants one to write to */
    bool good = groups == NULL || SSL_CTX_set1_groups_list(ctx, groups) == 1;
    free(groups);
    return good || fail(problem, TLS_SET_GROUPS, "'%s' is no list of groups", s->groups);
}

static void set_modes(SSL_CTX *ctx, const struct tls_settings *s)
{
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_IGNORE_UNEXPECTED_EOF |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* Of clients, and of links that they have to themselves, there are many, and most are quiet. */
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    if (s->side == TLS_CONNECTS) {
        SSL_CTX_set_verify(ctx, s->verify == TLS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                           on_verify);
        (void)SSL_CTX_set_session_cache_mode(ctx,
                                             SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, on_session);
        return;
    }
    static const unsigned char here[] = "vedette";
    int verify = s->auth == TLS_AUTH_NO ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    verify |= s->auth == TLS_AUTH_YES ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(ctx, verify, on_verify);
    (void)SSL_CTX_set_session_id_context(ctx, here, sizeof here - 1);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets: no state here */
    if (s->auth != TLS_AUTH_NO && s->ca_file != NULL) {
        /* Whose certificates are wanted; a client that has several chooses by it. */
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(s->ca_file));
    }
}

static SSL_CTX *load(struct tls_ctx *owner, struct tls_problem *problem)
{
    const struct tls_settings *s = &owner->settings;
    CHECK(pthread_once(&once, init) == 0);
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(s->side == TLS_ACCEPTS ? TLS_server_method() : TLS_client_method());
    CHECK(ctx != NULL && SSL_CTX_set_ex_data(ctx, index_of_ctx, owner) == 1);
    bool good = set_rules(ctx, s, problem) &&
                (s->cert_file == NULL || load_cert(ctx, s, problem)) &&
                (s->key_file == NULL || load_key(ctx, s, problem)) && load_trust(ctx, s, problem);
    if (!good) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    set_modes(ctx, s);
    ERR_clear_error();
    return ctx;
}

static void look(const struct tls_ctx *ctx, struct file_stamp *out)
{
    const struct tls_settings *s = &ctx->settings;
    const char *const path[TLS_FILES] = {s->cert_file, s->key_file, s->ca_file, s->ca_dir};
    for (size_t i = 0; i < TLS_FILES; i++) {
        file_stamp_look(path[i], &out[i]);
    }
}

struct tls_ctx *tls_ctx_new(const struct tls_settings *settings, struct tls_problem *problem)
{
    struct tls_ctx *ctx = xcalloc(1, sizeof *ctx);
    ctx->magic = TLS_CTX_MAGIC;
    ctx->settings = *settings;
    CHECK(pthread_mutex_init(&ctx->lock, NULL) == 0);
    look(ctx, ctx->loaded);
    memcpy(ctx->seen, ctx->loaded, sizeof ctx->seen);
    ctx->now = load(ctx, problem);
    if (ctx->now == NULL) {
        tls_ctx_free(&ctx);
    }
    return ctx;
}

void tls_ctx_free(struct tls_ctx **where)
{
    struct tls_ctx *ctx = *where;
    if (ctx == NULL) {
        return;
    }
    CHECK_MAGIC(ctx, TLS_CTX_MAGIC);
    *where = NULL;
    drop_sessions(ctx);
    SSL_CTX_free(ctx->now);
    CHECK(pthread_mutex_destroy(&ctx->lock) == 0);
    ctx->magic = 0;
    free(ctx);
}

bool tls_ctx_reload(struct tls_ctx *ctx, struct tls_problem *problem)
{
    CHECK_MAGIC(ctx, TLS_CTX_MAGIC);
    look(ctx, ctx->loaded); /* before they are read: what changes meanwhile is loaded again */
    memcpy(ctx->seen, ctx->loaded, sizeof ctx->seen);
    SSL_CTX *fresh = load(ctx, problem);
    if (fresh == NULL) {
        return false;
    }
    CHECK(pthread_mutex_lock(&ctx->lock) == 0);
    SSL_CTX *old = ctx->now;
    ctx->now = fresh;
    drop_sessions(ctx); /* the peer may not be trusted any more */
    CHECK(pthread_mutex_unlock(&ctx->lock) == 0);
    SSL_CTX_free(old); /* connections keep what they need of it */
    return true;
}

size_t tls_ctx_unreadable(const struct tls_ctx *ctx, struct tls_problem problems[TLS_FILES])
{
    const struct tls_settings *s = &ctx->settings;
    const struct {
        const char *path;
        enum tls_setting with;
    } files[TLS_FILES] = {{s->cert_file, TLS_SET_CERT},
                          {s->key_file, TLS_SET_KEY},
                          {s->ca_file, TLS_SET_CA_FILE},
                          {s->ca_dir, TLS_SET_CA_DIR}};
    size_t count = 0;
    for (size_t i = 0; i < TLS_FILES; i++) {
        bool same = i == 1 && s->key_file == s->cert_file;
        if (files[i].path != NULL && !same &&
            !readable(files[i].path, files[i].with, &problems[count])) {
            count++;
        }
    }
    return count;
}

bool tls_ctx_changed(struct tls_ctx *ctx)
{
    struct file_stamp now[TLS_FILES];
    look(ctx, now);
    bool still = memcmp(now, ctx->seen, sizeof now) == 0;
    memcpy(ctx->seen, now, sizeof now);
    return still && memcmp(now, ctx->loaded, sizeof now) != 0;
}

SSL *tls_ctx_open(struct tls_ctx *ctx, struct tls_refusal *refusal)
{
    CHECK_MAGIC(ctx, TLS_CTX_MAGIC);
    CHECK(pthread_mutex_lock(&ctx->lock) == 0);
    SSL *ssl = SSL_new(ctx->now);
    CHECK(pthread_mutex_unlock(&ctx->lock) == 0);
    CHECK(ssl != NULL && SSL_set_ex_data(ssl, index_of_refusal, refusal) == 1);
    return ssl;
}

/* Expiry. */

static bool expires(const X509 *cert, const char *file, enum tls_setting with, unsigned days,
                    struct tls_expiry *out)
{
    char who[128], when[64];
    int left = 0, seconds = 0;
    if (ASN1_TIME_diff(&left, &seconds, NULL, X509_get0_notAfter(cert)) != 1) {
        return false;
    }
    int64_t total = (int64_t)left * DAY + seconds;
    if (total >= (int64_t)days * DAY) {
        return false;
    }
    out->with = with;
    out->days = total < 0 ? -1 : total / DAY;
    (void)snprintf(out->text, sizeof out->text, "'%s': the certificate of %s %s on %s", file,
                   subject_of(cert, who, sizeof who), total < 0 ? "has expired" : "expires",
                   date_of(X509_get0_notAfter(cert), when, sizeof when));
    return true;
}

static size_t expiring_trust(SSL_CTX *ctx, const char *file, unsigned days, struct tls_expiry *out,
                             size_t max)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t count = 0;
    CHECK(X509_STORE_lock(store) == 1); /* what handshakes find in a directory is put into it */
    const STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(store);
    for (int i = 0; count < max && i < sk_X509_OBJECT_num(all); i++) {
        const X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
        count += cert != NULL && expires(cert, file, TLS_SET_CA_FILE, days, &out[count]) ? 1 : 0;
    }
    CHECK(X509_STORE_unlock(store) == 1);
    return count;
}

size_t tls_ctx_expiring(const struct tls_ctx *ctx, unsigned days, struct tls_expiry *out,
                        size_t max)
{
    const struct tls_settings *s = &ctx->settings;
    size_t count = 0;
    const X509 *own = SSL_CTX_get0_certificate(ctx->now); /* only the main thread changes it */
    STACK_OF(X509) *chain = NULL;
    (void)SSL_CTX_get0_chain_certs(ctx->now, &chain);
    if (own != NULL && max > 0) {
        count += expires(own, s->cert_file, TLS_SET_CERT, days, &out[0]) ? 1 : 0;
    }
    for (int i = 0; count < max && i < sk_X509_num(chain); i++) {
        const X509 *cert = sk_X509_value(chain, i);
        count += expires(cert, s->cert_file, TLS_SET_CERT, days, &out[count]) ? 1 : 0;
    }
    if (s->ca_file != NULL) {
        count += expiring_trust(ctx->now, s->ca_file, days, &out[count], max - count);
    }
    return count;
}
