/* Reads on replicas that never lie to their own writer.
 *
 * The main thread probes in rounds. It counts round n as begun, then asks the primary how far its
 * replication has come (P_n), and the replicas what they have applied; a replica has caught up with
 * round n once it has applied P_n.
 *
 * Whatever the primary has told a session by now, be it that a write is done or what a read saw, it
 * had executed before it answered. The round that begins next is counted after this moment and its
 * question is asked after that, so P_next covers it all, and so does what any replica holds that
 * has caught up with that round: replicas apply in the order of the primary. So `need` = the next
 * round, taken when an answer of the primary is handed on (a write's, a read's, EXEC's), or when
 * its link is lost with something unanswered (that may have been executed), makes every later read
 * see all that the session knows of; one number, whatever it wrote. And the next round taken when a
 * replica answers, `seen`, does the same for what that replica showed: it held no more than the
 * primary did. The replica itself never goes back, so that one is demanded of others only.
 *
 * Rounds go on across a change of the primary; replicas then have ids of their own generation, and
 * have caught up with none before.
 *
 * A session that reads on the primary renews its need with each answer. So that it gets away again,
 * a read waits a moment for a round made at once when all that it lacks is that: a replica has
 * caught up with the round of its last write. */
#ifndef VEDETTE_PROXY_SESSION_READS_H
#define VEDETTE_PROXY_SESSION_READS_H

#include "proxy/choice.h"
#include "proxy/session_input.h"

/* Where a request goes. */
enum reads_way {
    READS_WAY_PRIMARY,
    READS_WAY_REPLICA,
    READS_WAY_WAIT,    /* it is pumped when that may have changed */
    READS_WAY_REFUSED, /* there is no replica, and nothing else may serve it */
};

/* A session begins (fresh), or has its first profile again: reads as its service is configured. */
void reads_begin(struct session *s, bool fresh);
/* Of a session that does not read on the primary alone. *set: the replica's, not counted. */
enum reads_way reads_way(struct session *s, const struct request *r, struct linkset **set);
/* The same session has another profile. */
void reads_profile_changed(struct session *s);
/* What an answer tells. */
enum reads_told { READS_TOLD_NOTHING, READS_TOLD_DATA, READS_TOLD_WRITE };
static inline enum reads_told reads_told(const struct command *command)
{
    if (command->cls == COMMAND_READ) {
        return command->replica == REPLICA_BLIND ? READS_TOLD_NOTHING : READS_TOLD_DATA;
    }
    return command_repeatable(command) ? READS_TOLD_NOTHING : READS_TOLD_WRITE;
}
/* A node has answered. */
void reads_note(struct session *s, const struct link *l, enum reads_told told);
static inline void reads_answered(struct session *s, const struct link *l, enum reads_told told)
{
    if (s->reads != READS_PRIMARY && told != READS_TOLD_NOTHING) {
        reads_note(s, l, told);
    }
}
/* What it has done and seen so far was not noted, or is not known: its link to the primary was lost
 * with requests unanswered. */
void reads_begin_to_note(struct session *s);
/* True if that reply of a replica is its refusal, and another node may answer r. */
bool reads_refused(const struct session *s, const struct record *r, struct slice reply);
/* It was taken back for that: says so where the replica is not fit, and asks elsewhere. */
void reads_turn_away(struct session *s, const struct record *r, struct slice reply);
/* A replica's link is silent: its oldest request may be what keeps the replica busy. */
void reads_stalled(const struct link *l);
/* READONLY, READWRITE. */
void reads_choose(struct session *s, const struct command *command);
/* The error where no replica may serve a read. */
void reads_say_refused(const struct session *s, struct buf *to);
void reads_end(struct session *s);

/* Sessions of read-listen: session_reader.c. All that they ask goes to one replica, their home,
 * whose set is s->set; or to the primary while there is none and the policy prefers one. */

void reader_end(struct session *s);
/* Gives it a home where it needs one: READS_WAY_REPLICA, or what it has to wait for. */
enum reads_way reader_settle(struct session *s);
/* The same for a command, which may need none. */
enum reads_way reader_way(struct session *s, const struct command *command);
/* True if r must not be sent for a client that only reads. */
bool reader_refuses(const struct session *s, const struct request *r);
/* Answers it as a replica would, and without asking one: it may have been promoted, or be another
 * one by then. False: it is not its turn yet. */
bool reader_refuse(struct session *s, const struct request *r);

/* With a node not to be had, for the reason that nodes_choose gave. */
enum reads_way reads_without_node(struct session *s, enum choice choice);
/* home: the set of the node that it reads from, or NULL. */
void reads_make_demand(const struct session *s, const struct linkset *home,
                       struct choice_demand *demand);

#endif
