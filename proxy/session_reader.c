/* Sessions of read-listen: see session_reads.h. */
#include "proxy/linkset.h"
#include "proxy/session_input.h"
#include "proxy/session_mute.h"
#include "proxy/session_reads.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/worker.h"

static const char refusal[] = "-READONLY You can't write against a read only replica.\r\n";

/* Only replicas are homes. */
static void count_home(const struct session *s, bool on)
{
    if (s->set->replica != 0) {
        nodes_home(s->service, s->set->replica, on);
    }
}

void reader_end(struct session *s)
{
    count_home(s, false);
}

static void move_to(struct session *s, uint32_t replica)
{
    if (s->set->replica != replica) {
        struct linkset *set = linkset_get(s->service, &s->set->profile, replica);
        count_home(s, false);
        list_remove(&s->waiting); /* it may wait for a link of the set that it leaves */
        linkset_drop(&s->set);
        s->set = set;
        count_home(s, true);
    }
}

/* It serves as long as it is fit. */
static bool is_well(const struct session *s)
{
    return s->set->replica != 0 && nodes_find(s->service, s->set->replica) != NULL &&
           !linkset_refused(s->set);
}

enum reads_way reader_settle(struct session *s)
{
    if (s->outstanding > 0 || is_well(s) || (s->link != NULL && s->link->raw)) {
        return READS_WAY_REPLICA;
    }
    bool bound = s->multi || s->watch || s->uncarried != NULL || session_lives_on_link(s);
    if (s->link != NULL && bound) {
        return READS_WAY_REPLICA; /* be it the primary's */
    }
    struct choice_demand demand;
    reads_make_demand(s, s->set->replica != 0 ? s->set : NULL, &demand);
    struct node_choice c = nodes_choose(s, &demand, NODES_REPLICAS);
    if (c.choice == CHOICE_NONE) { /* then they say why */
        c = nodes_choose(s, &demand, NODES_REFUSING);
    }
    if (c.choice == CHOICE_NODE) {
        s->catching_up = false;
        move_to(s, c.id);
        return READS_WAY_REPLICA;
    }
    enum reads_way way = reads_without_node(s, c.choice);
    if (way == READS_WAY_PRIMARY) {
        move_to(s, 0);
    }
    return way;
}

/* Answered here, once it is known that the client is served at all: its home tells that. */
static bool needs_no_node(const struct session *s, enum command_class cls)
{
    bool vetted = !service_shares(s->service) || (s->vetted && !session_needs_auth(s));
    switch ((int)cls) {
    case COMMAND_QUIT:
    case COMMAND_RESET:
    case COMMAND_HTTP: return true;
    case COMMAND_DENIED:
    case COMMAND_REPLY:
    case COMMAND_READONLY: return vetted;
    case COMMAND_SETNAME:
    case COMMAND_GETNAME: return vetted && service_shares(s->service) && !session_marks_link(s);
    default: return s->multi_lost;
    }
}

enum reads_way reader_way(struct session *s, const struct command *command)
{
    return needs_no_node(s, command->cls) ? READS_WAY_PRIMARY : reader_settle(s);
}

bool reader_refuses(const struct session *s, const struct request *r)
{
    bool unseen = r->command->cls == COMMAND_REPLY
                      ? mute_ends_framing(s, r)
                      : s->subs != NULL && listening_ends_framing(s, r->command);
    return (!command_only_reads(r->command) || unseen) && !s->multi_lost;
}

bool reader_refuse(struct session *s, const struct request *r)
{
    if (s->outstanding > 0 || s->tentative != NULL) {
        return false;
    }
    session_stop_waiting(s);
    if (session_needs_auth(s)) {
        say_noauth(s, r->command);
    } else {
        session_give_str(s, refusal);
    }
    if (s->multi) {
        transaction_spoil(s);
    }
    return true;
}
