/* Requests of a session on their way to its link. Private to the session_*.c files. */
#ifndef VEDETTE_PROXY_SESSION_INPUT_H
#define VEDETTE_PROXY_SESSION_INPUT_H

#include "proxy/session.h"

/* A request that begins the input. */
struct request {
    const struct command *command;
    const struct args *args; /* NULL: it is too large for them to be known */
    struct slice frame;      /* what there is of it */
    struct block *block;     /* where that lies, or NULL */
    bool whole;              /* else the rest follows, alone on its link */
    enum voice voice;
    bool odd; /* another server may see its end, or its words, elsewhere */
};

/* Sends r, or answers it here. False: it has to stay where it is for now, and the session is pumped
 * when it may go on. */
bool request_take(struct session *s, const struct request *r);
/* The same, whatever CLIENT REPLY says. */
bool request_take_aloud(struct session *s, const struct request *r);
/* The same of a client that may say it: see client_auth.h. */
bool request_take_admitted(struct session *s, const struct request *r);
/* The same for one that does not block, or whose time is known. */
bool request_send(struct session *s, const struct request *r);
/* Ends it with a word in the log about what can't be carried on. */
void session_end(struct session *s, enum session_end end, const char *what);
/* The oldest request of the session's own link is done with. */
void session_request_done(struct session *s);
/* From here on nobody looks at what passes on the session's own link, which can't be carried. */
void session_become_raw(struct session *s, const char *why);
/* The command of a whole request: a SELECT of the database that the session is in asks for nothing
 * that others would have to wait for. */
const struct command *request_command(const struct session *s, const struct args *args);
/* Nothing of the session waits any more. */
void session_stop_waiting(struct session *s);
/* Takes what was just read, the raw buffer being empty; keeps what can't be taken yet. */
void input_take(struct session *s, struct block *block, struct slice bytes);
/* True while more input could not be used. */
bool input_blocked(const struct session *s);
/* Gives the answers that stand before the first request that waits. Nothing is outstanding. */
void input_give_answers(struct session *s);
/* Drops all that is parked and read. */
void input_drop(struct session *s);
/* Drops the requests, and what stands behind the first of them; not the answers owed before. */
void input_drop_frames(struct session *s);
/* The waiting time is over: every whole request that waits is answered as not executed. */
void input_expire(struct session *s);
/* The session asks for the profile that this command, which was taken, asks for; and what the type
 * of its answer makes of that. */
void request_ask_profile(struct session *s, const struct command *command, const struct args *args);
void session_profile_answered(struct session *s, const struct command *command, char type);
/* A session that lives on a link and has none gets one, or waits for its turn. */
void session_seek_link(struct session *s);
/* An answer to this request that the session gives itself. The request is done with. args: NULL
 * when it is too large for them to be known. */
void local_answer(struct session *s, const struct command *command, const struct args *args);
/* What Redis says to this command of a client that has not said who it is. */
void say_noauth(struct session *s, const struct command *command);
/* Appends the answer to a request that certainly did not run. */
void say_not_executed(const struct session *s, struct buf *to);
/* The server has answered r, which has to do with scripts, with something other than an error: what
 * it says is to be remembered. r is the oldest of the session's link. */
void session_script_accepted(struct session *s, const struct record *r);

/* EVALSHA answered NOSCRIPT although the script is known did not run, as far as that word is the
 * server's: a script may say it too, after it wrote. So the server is asked, behind it and on the
 * same link, whether it has the script, and is given it. If it had not, the request is sent again,
 * once; by the rule for refusals (tentative.h), so only if nothing in flight behind it did anything
 * but read. If it had, somebody may just have given it the script: it is taken for missing then if
 * whoever did so, in any worker, heard that it was, or that it has it now, since EVALSHA was sent.
 * The server is asked a few times, as that may be yet to be heard. What can't be known is the
 * client's to hear: NOSCRIPT as it came.
 *
 * In a transaction there is no such word to be taken back; scripts.h serves there. */
struct healing;
/* True if reply is such a NOSCRIPT to r. */
bool healing_may(const struct record *r, struct slice reply);
/* True if its script is known: it is asked for now. *where: what is being healed already, or NULL;
 * made if need be, and the caller's to free. */
bool healing_asks(struct session *s, struct healing **where, const struct record *r);
/* An answer to what was asked: false if it is no proof. */
bool healing_takes(struct session *s, struct healing *h, struct slice reply);
/* See session_set_reading in session.c. */
void session_set_reading(struct session *s);
/* The profile of a client that has said nothing yet. */
void session_set_plain_profile(struct session *s);
/* What is on its link is judged as if the link had been lost, and stays parked. */
void session_lose_link(struct session *s);
/* The same of a link of its own. */
void session_give_up_link(struct session *s, enum link_end end);

#endif
