/* Values as text: parsed within their range, and written as they would stand in a file. */
#include "config/config_keys.h"

#include <string.h>

#include "proxy/base/limits.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: a value is written in the largest unit that leaves no rest. */
static const struct unit time_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {
    {"g", 1u << 30}, {"m", 1u << 20}, {"k", 1u << 10}, {"", 1}};

/* The words of a type, in the order of its enum. */
struct words {
    const char *word[8];
};
static const struct words words[] = {
    [TYPE_LINKS] = {{[LINKS_SHARED] = "shared", [LINKS_EXCLUSIVE] = "exclusive"}},
    [TYPE_DOUBT] = {{[DOUBT_NIL] = "nil", [DOUBT_ERROR] = "error", [DOUBT_RESEND] = "resend"}},
    [TYPE_LEVEL] = {{[LOG_DEBUG] = "debug",
                     [LOG_INFO] = "info",
                     [LOG_NOTICE] = "notice",
                     [LOG_WARNING] = "warning",
                     [LOG_ERROR] = "error"}},
    [TYPE_READS] = {{[READS_PRIMARY] = "primary",
                     [READS_PREFER_REPLICA] = "prefer-replica",
                     [READS_REPLICA] = "replica",
                     [READS_ANY] = "any"}},
    [TYPE_CONSISTENCY] = {{[CONSISTENCY_SESSION] = "session", [CONSISTENCY_EVENTUAL] = "eventual"}},
    [TYPE_VERIFY] =
        {{[CONFIG_VERIFY_FULL] = "full", [CONFIG_VERIFY_CA] = "ca", [CONFIG_VERIFY_NO] = "no"}},
    [TYPE_AUTH] =
        {{[CONFIG_AUTH_NO] = "no", [CONFIG_AUTH_OPTIONAL] = "optional", [CONFIG_AUTH_YES] = "yes"}},
    [TYPE_TLS_VERSION] = {{[CONFIG_TLS_1_2] = "1.2", [CONFIG_TLS_1_3] = "1.3"}},
    [TYPE_CLIENT_AUTH] = {{[CLIENT_AUTH_FORWARD] = "forward",
                           [CLIENT_AUTH_NONE] = "none",
                           [CLIENT_AUTH_USERS] = "users"}},
    [TYPE_PROXIED] = {{[CONFIG_PROXIED_NO] = "no",
                       [CONFIG_PROXIED_OPTIONAL] = "optional",
                       [CONFIG_PROXIED_YES] = "yes"}},
    [TYPE_READERS] = {{"eval_ro", "evalsha_ro", "fcall_ro", "pfcount", "keys", "dbsize",
                       "randomkey"}},
};
#define READERS_LAST 6

/* Every enum of words is stored as this. */
_Static_assert(sizeof(enum config_reads) == sizeof(unsigned), "as all enums");

static void put_words(const struct words *of, uint64_t first, uint64_t last, struct buf *out)
{
    for (uint64_t i = first; i <= last; i++) {
        const char *behind = i == last ? "" : i + 1 == last ? " or " : ", ";
        buf_printf(out, "%s%s", of->word[i], behind);
    }
}

static const struct unit *units_of(const struct config_key *key)
{
    _Static_assert(ARRAY_LEN(time_units) == ARRAY_LEN(size_units), "one loop serves both");
    return key->type == TYPE_DURATION ? time_units : size_units;
}

static void put_number(const struct config_key *key, uint64_t number, struct buf *out)
{
    const struct unit *unit = units_of(key);
    while (key->type != TYPE_COUNT && number > 0 && number % unit->factor != 0) {
        unit++;
    }
    if (key->type == TYPE_COUNT || number == 0) {
        buf_printf(out, "%llu", (unsigned long long)number);
    } else {
        buf_printf(out, "%llu%s", (unsigned long long)(number / unit->factor), unit->name);
    }
}

void config_key_allowed(const struct config_key *key, struct buf *out)
{
    switch (key->type) {
    case TYPE_COUNT:
    case TYPE_DURATION:
    case TYPE_SIZE:
        buf_append_str(out, (key->flags & KEY_AUTO) != 0 ? "auto or " : "");
        put_number(key, key->min, out);
        buf_append_str(out, "..");
        put_number(key, key->max, out);
        return;
    case TYPE_BOOL: buf_append_str(out, "yes or no"); return;
    case TYPE_LINKS:
    case TYPE_DOUBT:
    case TYPE_LEVEL:
    case TYPE_READS:
    case TYPE_CONSISTENCY:
    case TYPE_VERIFY:
    case TYPE_AUTH:
    case TYPE_TLS_VERSION:
    case TYPE_CLIENT_AUTH:
    case TYPE_PROXIED: put_words(&words[key->type], key->min, key->max, out); return;
    case TYPE_READERS: put_words(&words[key->type], 0, READERS_LAST, out); return;
    case TYPE_MODE:
        buf_printf(out, "octal %04o..%04o", (unsigned)key->min, (unsigned)key->max);
        return;
    case TYPE_ADDRS: buf_append_str(out, "host:port, [v6]:port or unix:/path"); return;
    case TYPE_MAP:
        buf_append_str(out,
                       "ANNOUNCED REACHABLE, each host or host:port, the second also unix:/path");
        return;
    case TYPE_NETS: buf_append_str(out, "a.b.c.d/n or v6/n"); return;
    case TYPE_COMMANDS: buf_append_str(out, "the name of a command"); return;
    case TYPE_IDENTITIES: buf_append_str(out, "CLIENTUSER UPSTREAMUSER PASSWORD-FILE"); return;
    case TYPE_TEXT: buf_append_str(out, "a name without spaces"); return;
    case TYPE_SECRET: buf_append_str(out, "text"); return;
    case TYPE_PATH:
    case TYPE_SECRET_FILE: buf_append_str(out, "a path"); return;
    }
    UNREACHABLE("config type");
}

static bool parse_scaled(const struct config_key *key, struct slice text, uint64_t *out)
{
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9') {
        digits++;
    }
    struct slice suffix = slice_of(text.p + digits, text.n - digits);
    int64_t number;
    if (!slice_to_i64(slice_of(text.p, digits), 0, INT32_MAX, &number)) {
        return false;
    }
    if (number == 0 && suffix.n == 0) {
        *out = 0;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(time_units); i++) {
        if (slice_eq_nocase(suffix, units_of(key)[i].name)) {
            *out = (uint64_t)number * units_of(key)[i].factor; /* < 2^31 * 2^30 */
            return true;
        }
    }
    return false;
}

static bool parse_number(const struct config_key *key, struct slice text, uint64_t *out)
{
    if ((key->flags & KEY_AUTO) != 0 && slice_eq(text, slice_str("auto"))) {
        *out = CONFIG_AUTO;
        return true;
    }
    int64_t number = 0;
    bool good = key->type == TYPE_COUNT ? slice_to_i64(text, 0, UINT32_MAX, &number)
                                        : parse_scaled(key, text, out);
    if (good && key->type == TYPE_COUNT) {
        *out = (uint64_t)number;
    }
    return good && *out >= key->min && *out <= key->max;
}

static bool parse_mode(const struct config_key *key, struct slice text, uint64_t *out)
{
    uint64_t mode = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '7' || i == 4) {
            return false;
        }
        mode = mode * 8 + (uint64_t)(text.p[i] - '0');
    }
    *out = mode;
    return mode >= key->min && mode <= key->max;
}

static bool parse_word(const struct words *of, struct slice text, uint64_t first, uint64_t last,
                       uint64_t *out)
{
    for (uint64_t i = first; i <= last; i++) {
        if (slice_eq(text, slice_str(of->word[i]))) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* What no address holds, with words of ours; false and nothing in *problem for all else. */
static bool is_odd(struct slice text, struct buf *problem)
{
    if (slice_starts_with(text, "/")) {
        buf_append_str(problem, "a unix socket is written unix:/path");
        return true;
    }
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == ',') {
            buf_append_str(problem, "one address only; repeat it for each");
            return true;
        }
        if (strchr(";#=\"'", text.p[i]) != NULL) {
            buf_printf(problem, "'%c' can't be part of it; write host:port", text.p[i]);
            return true;
        }
    }
    return false;
}

static bool parse_addr(const struct config_key *key, struct slice text, struct addr *out,
                       struct buf *problem)
{
    if (is_odd(text, problem)) {
        return false;
    }
    const char *wrong = key->type == TYPE_MAP ? addr_parse_loose(text, out)
                                              : addr_parse(text, (uint16_t)key->min, out);
    if (wrong != NULL) {
        buf_append_str(problem, wrong);
        buf_append_str(problem, strstr(wrong, "write") != NULL ? "" : "; write host:port");
    }
    return wrong == NULL;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool parse_map(const struct config_key *key, struct slice text, struct config_mapping *out,
                      struct buf *problem)
{
    size_t first = 0, second;
    while (first < text.n && !blank(text.p[first])) {
        first++;
    }
    for (second = first; second < text.n && blank(text.p[second]);) {
        second++;
    }
    struct slice reachable = slice_of(text.p + second, text.n - second);
    if (reachable.n == 0 || memchr(reachable.p, ' ', reachable.n) != NULL) {
        buf_append_str(problem, "write two addresses, the announced one and the one to use: "
                                "172.17.0.2:6379 10.0.0.5:16379");
        return false;
    }
    if (!parse_addr(key, slice_of(text.p, first), &out->announced, problem) ||
        !parse_addr(key, reachable, &out->reachable, problem)) {
        return false;
    }
    if (addr_is_unix(&out->announced)) {
        buf_append_str(problem, "Sentinels announce no unix sockets; write host:port first");
        return false;
    }
    if (out->announced.port == 0 && (out->reachable.port != 0 || addr_is_unix(&out->reachable))) {
        buf_append_str(problem, "all ports of a host can't lead to one; write the announced port "
                                "too, or leave out the other one");
        return false;
    }
    addr_normalize(&out->announced);
    return true;
}

static bool parse_net(struct slice text, struct addr_net *out, struct buf *problem)
{
    const char *wrong = text.n > 0 && memchr(text.p, ',', text.n) != NULL
                            ? "one network only; repeat the key for each"
                            : addr_net_parse(text, out);
    buf_append_str(problem, wrong == NULL ? "" : wrong);
    return wrong == NULL;
}

/* A name that could be one of a command. */
static bool parse_command(struct slice text, struct slice *out, struct buf *problem)
{
    size_t bars = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == ',') {
            buf_append_str(problem, "one command only; repeat the key for each");
            return false;
        }
        if (c <= ' ' || c >= 0x7f || strchr(";#=\"'", c) != NULL) {
            buf_append_str(problem, "write one name, as in json.get or ft.config|get");
            return false;
        }
        bars += c == '|';
    }
    if (bars > 1 || text.p[0] == '|' || text.p[text.n - 1] == '|') {
        buf_append_str(problem, "a sub-command is written NAME|SUB-COMMAND");
        return false;
    }
    if (text.n > COMMAND_NAME_MAX) {
        buf_printf(problem, "it is longer than %u bytes", COMMAND_NAME_MAX);
        return false;
    }
    *out = text;
    return true;
}

static bool parse_reader(const struct config_key *key, struct slice text, struct slice *out,
                         struct buf *problem)
{
    const struct words *readers = &words[TYPE_READERS];
    for (size_t i = 0; i <= READERS_LAST; i++) {
        if (slice_eq_nocase(text, readers->word[i])) {
            *out = text;
            return true;
        }
    }
    buf_append_str(problem, "allowed: ");
    config_key_allowed(key, problem);
    buf_append_str(problem, "; commands that only read data go to replicas anyway, and those that "
                            "may write or tell of one node never do");
    return false;
}

/* Text that is shown again must be text that a line of a file can hold. */
static bool check_text(const struct config_key *key, struct slice text, struct buf *problem)
{
    const char *wrong = NULL;
    for (size_t i = 0; i < text.n && wrong == NULL; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool comment =
            (c == ';' && i == 0) || ((c == ';' || c == '#') && i > 0 && blank(text.p[i - 1]));
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            wrong = "a control character can't be part of it";
        } else if (comment) {
            wrong = "' ;' and ' #' can't be part of it; a comment begins with ' ;'";
        } else if (blank((char)c) && (key->type == TYPE_TEXT || i == 0 || i == text.n - 1)) {
            wrong = "leave out the space";
        }
    }
    if (wrong == NULL && (text.p[0] == '"' || text.p[0] == '\'')) {
        wrong = "leave out the quotes; they would be part of it";
    }
    buf_append_str(problem, wrong == NULL ? "" : wrong);
    return wrong == NULL;
}

/* Three words. */
static bool parse_identity(const struct config_key *key, struct slice text, struct slice out[3],
                           struct buf *problem)
{
    size_t count = 0;
    if (!check_text(key, text, problem)) {
        return false;
    }
    for (size_t at = 0; at < text.n;) {
        size_t from = at;
        while (at < text.n && !blank(text.p[at])) {
            at++;
        }
        if (at > from && count < 3) {
            out[count] = slice_of(text.p + from, at - from);
        }
        count += at > from;
        at += at < text.n;
    }
    if (count != 3) {
        buf_append_str(problem, "write a user of acl-file, a user at the server, and a file with "
                                "that one's password, without other spaces");
    }
    return count == 3;
}

bool config_value_parse(const struct config_key *key, struct slice text, struct config_value *out,
                        struct buf *problem)
{
    static const struct words bool_words = {{"no", "yes"}};
    bool good = false;
    if (text.n == 0) {
        buf_append_str(problem, "it is empty; give it a value or leave it out");
        return false;
    }
    if (text.n > VALUE_MAX_LEN && key->type != TYPE_SECRET) {
        buf_printf(problem, "it is longer than %d bytes", VALUE_MAX_LEN);
        return false;
    }
    switch (key->type) {
    case TYPE_COUNT:
    case TYPE_DURATION:
    case TYPE_SIZE: good = parse_number(key, text, &out->number); break;
    case TYPE_BOOL: good = parse_word(&bool_words, text, 0, 1, &out->number); break;
    case TYPE_LINKS:
    case TYPE_DOUBT:
    case TYPE_LEVEL:
    case TYPE_READS:
    case TYPE_CONSISTENCY:
    case TYPE_VERIFY:
    case TYPE_AUTH:
    case TYPE_TLS_VERSION:
    case TYPE_CLIENT_AUTH:
    case TYPE_PROXIED:
        good = parse_word(&words[key->type], text, key->min, key->max, &out->number);
        break;
    case TYPE_MODE: good = parse_mode(key, text, &out->number); break;
    case TYPE_ADDRS: return parse_addr(key, text, &out->addr, problem);
    case TYPE_MAP: return parse_map(key, text, &out->map, problem);
    case TYPE_NETS: return parse_net(text, &out->net, problem);
    case TYPE_COMMANDS: return parse_command(text, &out->command, problem);
    case TYPE_READERS: return parse_reader(key, text, &out->command, problem);
    case TYPE_IDENTITIES: return parse_identity(key, text, out->identity, problem);
    case TYPE_TEXT:
    case TYPE_PATH:
    case TYPE_SECRET_FILE: return check_text(key, text, problem);
    case TYPE_SECRET: return true;
    }
    if (!good) {
        buf_append_str(problem, "allowed: ");
        config_key_allowed(key, problem);
    }
    return good;
}

static void store_command(struct config_commands *list, struct slice name)
{
    char *copy = xcalloc(1, name.n + 1);
    for (size_t i = 0; i < name.n; i++) {
        bool upper = name.p[i] >= 'A' && name.p[i] <= 'Z';
        copy[i] = (char)(upper ? name.p[i] - 'A' + 'a' : name.p[i]);
    }
    list->v = xrealloc(list->v, (list->count + 1) * sizeof *list->v);
    list->v[list->count++] = copy;
}

static char *copy_of(struct slice text)
{
    char *copy = xcalloc(1, text.n + 1);
    memcpy(copy, text.p, text.n);
    return copy;
}

static void store_identity(struct config_identities *list, const struct slice text[3])
{
    list->v = xrealloc(list->v, (list->count + 1) * sizeof *list->v);
    list->v[list->count++] = (struct config_identity){
        .client = copy_of(text[0]), .user = copy_of(text[1]), .path = copy_of(text[2])};
}

void config_value_store(const struct config_key *key, const struct config_value *value,
                        void *section)
{
    void *field = config_key_field(key, section);
    switch (key->type) {
    case TYPE_COUNT:
    case TYPE_MODE: *(uint32_t *)field = (uint32_t)value->number; return;
    case TYPE_DURATION:
    case TYPE_SIZE: *(uint64_t *)field = value->number; return;
    case TYPE_BOOL: *(bool *)field = value->number != 0; return;
    case TYPE_LINKS:
    case TYPE_DOUBT:
    case TYPE_LEVEL:
    case TYPE_READS:
    case TYPE_CONSISTENCY:
    case TYPE_VERIFY:
    case TYPE_AUTH:
    case TYPE_TLS_VERSION:
    case TYPE_CLIENT_AUTH:
    case TYPE_PROXIED: {
        unsigned number = (unsigned)value->number;
        memcpy(field, &number, sizeof number);
        return;
    }
    case TYPE_ADDRS: {
        struct config_addrs *list = field;
        list->v = xrealloc(list->v, (list->count + 1) * sizeof *list->v);
        list->v[list->count++] = value->addr;
        return;
    }
    case TYPE_MAP: {
        struct config_mappings *list = field;
        list->v = xrealloc(list->v, (list->count + 1) * sizeof *list->v);
        list->v[list->count++] = value->map;
        return;
    }
    case TYPE_NETS: {
        struct config_nets *list = field;
        list->v = xrealloc(list->v, (list->count + 1) * sizeof *list->v);
        list->v[list->count++] = value->net;
        return;
    }
    case TYPE_COMMANDS:
    case TYPE_READERS: store_command(field, value->command); return;
    case TYPE_IDENTITIES: store_identity(field, value->identity); return;
    case TYPE_TEXT:
    case TYPE_PATH:
    case TYPE_SECRET:
    case TYPE_SECRET_FILE: break;
    }
    UNREACHABLE("text is not stored here");
}

void config_value_format(const struct config_key *key, const void *section, struct buf *out)
{
    const void *field = config_key_field_const(key, section);
    uint64_t number = 0;
    unsigned word;
    switch (key->type) {
    case TYPE_COUNT: number = *(const uint32_t *)field; break;
    case TYPE_DURATION:
    case TYPE_SIZE: number = *(const uint64_t *)field; break;
    case TYPE_BOOL: buf_append_str(out, *(const bool *)field ? "yes" : "no"); return;
    case TYPE_LINKS:
    case TYPE_DOUBT:
    case TYPE_LEVEL:
    case TYPE_READS:
    case TYPE_CONSISTENCY:
    case TYPE_VERIFY:
    case TYPE_AUTH:
    case TYPE_TLS_VERSION:
    case TYPE_CLIENT_AUTH:
    case TYPE_PROXIED:
        memcpy(&word, field, sizeof word);
        buf_append_str(out, words[key->type].word[word]);
        return;
    case TYPE_MODE: buf_printf(out, "%04o", (unsigned)*(const uint32_t *)field); return;
    case TYPE_ADDRS:
    case TYPE_MAP:
    case TYPE_NETS:
    case TYPE_COMMANDS:
    case TYPE_READERS:
    case TYPE_IDENTITIES:
    case TYPE_TEXT:
    case TYPE_PATH:
    case TYPE_SECRET:
    case TYPE_SECRET_FILE: UNREACHABLE("lists and text are not formatted here");
    }
    if (number == CONFIG_AUTO && (key->flags & KEY_AUTO) != 0) {
        buf_append_str(out, "auto");
    } else {
        put_number(key, number, out);
    }
}

size_t config_list_count(const struct config_key *key, const void *section)
{
    const void *field = config_key_field_const(key, section);
    if (key->type == TYPE_MAP) {
        return ((const struct config_mappings *)field)->count;
    }
    if (key->type == TYPE_NETS) {
        return ((const struct config_nets *)field)->count;
    }
    if (key->type == TYPE_IDENTITIES) {
        return ((const struct config_identities *)field)->count;
    }
    return key->type == TYPE_ADDRS ? ((const struct config_addrs *)field)->count
                                   : ((const struct config_commands *)field)->count;
}

void config_list_format(const struct config_key *key, const void *section, size_t i,
                        struct buf *out)
{
    const void *field = config_key_field_const(key, section);
    char text[ADDR_TEXT_MAX], other[ADDR_TEXT_MAX], net[ADDR_NET_TEXT_MAX];
    if (key->type == TYPE_MAP) {
        const struct config_mapping *m = &((const struct config_mappings *)field)->v[i];
        buf_printf(out, "%s %s", addr_text(&m->announced, text), addr_text(&m->reachable, other));
    } else if (key->type == TYPE_NETS) {
        buf_append_str(out, addr_net_text(&((const struct config_nets *)field)->v[i], net));
    } else if (key->type == TYPE_IDENTITIES) {
        const struct config_identity *one = &((const struct config_identities *)field)->v[i];
        buf_printf(out, "%s %s %s", one->client, one->user, one->path);
    } else if (key->type == TYPE_ADDRS) {
        buf_append_str(out, addr_text(&((const struct config_addrs *)field)->v[i], text));
    } else {
        buf_append_str(out, ((const struct config_commands *)field)->v[i]);
    }
}
