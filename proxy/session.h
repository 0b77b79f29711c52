/* A session: one client connection. Its input is a list of parked items (frames a lost link gave
 * back, and owed answers), followed by the bytes read and not yet taken. Whatever can't go to a
 * link now stays there: to hold is to park. */
#ifndef VEDETTE_PROXY_SESSION_H
#define VEDETTE_PROXY_SESSION_H

#include "proxy/base/block.h"
#include "proxy/base/list.h"
#include "proxy/link.h"
#include "proxy/linkset.h"
#include "proxy/net/transport.h"
#include "proxy/profile.h"
#include "proxy/resp/args.h"
#include "proxy/resp/scan.h"
#include "proxy/tentative.h"

struct acl_user;
struct blocking;
struct guest;
struct redirect;
struct subscriptions;
struct tracking;
struct transaction;
struct worker_service;

enum session_state {
    SESSION_OPEN,
    SESSION_ENDING,  /* the client will send no more: what it sent is answered, then it is closed */
    SESSION_CLOSING, /* nothing more is taken from it; closed once its output is written */
    SESSION_CLOSED,  /* freed at the end of the turn */
};

/* Why a session ended: the word in logs. */
enum session_end {
    SESSION_END_CLIENT,    /* the client left */
    SESSION_END_QUIT,      /* QUIT */
    SESSION_END_PROTOCOL,  /* the client broke the protocol */
    SESSION_END_IDLE,      /* a frame begun was not continued */
    SESSION_END_QUIET,     /* idle-timeout */
    SESSION_END_CUT,       /* part of a reply was given and the rest can't come */
    SESSION_END_UNCARRIED, /* its state can't be carried to another link */
    SESSION_END_LINGER,    /* it did not read its last reply */
    SESSION_END_OUTPUT,    /* it does not read, and its replies are too many to be kept */
    SESSION_END_MEMORY,    /* all buffers hold too much, and its own most of it */
    SESSION_END_SHUTDOWN,  /* the proxy stops */
    SESSION_END_USER,      /* its user is gone */
};
const char *session_end_word(enum session_end end);

/* What stands at the head of the unscanned input. */
enum input_front {
    FRONT_OPEN,  /* nothing, or an incomplete frame */
    FRONT_WHOLE, /* a whole frame that could not be taken yet */
    FRONT_BAD,   /* bytes that are not RESP */
};

/* The profile, and the name, if the unanswered AUTH, HELLO, SELECT ... succeeds. */
struct asked {
    struct profile profile;
    struct buf name;
    enum profile_form form;
};

/* Whether the client has to say who it is, and to whom: client_auth.h. */
enum gate {
    GATE_FORWARD, /* to the server */
    GATE_OPEN,    /* to us, and it may come in */
    GATE_SHUT,    /* to us, and it has not: nothing of it is sent anywhere */
};

/* CLIENT REPLY, as the session keeps it (session_mute.h). */
enum replies { REPLIES_ON, REPLIES_OFF, REPLIES_SKIP };

/* Whether the client hears the answer to a request. */
enum voice {
    VOICE_ASK, /* as CLIENT REPLY says when its turn comes */
    VOICE_GIVEN,
    VOICE_MUTED,
};

struct parked {
    struct list_node node;
    bool is_answer;
    enum voice voice;
    const struct command *command; /* of a frame */
    struct buf bytes;              /* the frame, or the ready answer */
};

/* A connection that was accepted: by read-listen or not, with TLS or without. */
struct newcomer {
    size_t service;
    int fd;
    bool reader, tls;
    struct guest *guest; /* see admission.h */
};

struct session {
    uint32_t magic;
    enum session_state state;
    enum session_end end;
    enum input_front front;
    struct worker_service *service;
    struct list_node node;    /* on the worker's list of sessions */
    struct list_node touched; /* on the worker's list of sessions to flush, or of the dead */
    struct list_node again;   /* on the worker's list of sessions with work left over */
    struct list_node waiting; /* on its service's list of waiting or of refused sessions */
    struct transport *transport;
    struct guest *guest; /* see admission.h; NULL: it is known by its socket */
    /* Its own, or the shared one that its unanswered requests are on; NULL: neither. */
    struct link *link;
    struct linkset *set;  /* of its profile, counted */
    struct asker asker;   /* as journals know it */
    uint32_t outstanding; /* its requests on the link, those asked for it by ourselves included */
    uint32_t restoring;   /* those of them by which the link is told what the last one knew */
    struct journal *lost; /* what a shared link left of them, while that is sorted out */

    /* input */
    struct list parked;
    struct buf raw;
    struct request_scan scan;
    bool bad_quotes; /* why it is FRONT_BAD */
    bool streaming;  /* the frame being scanned goes to the link as it comes */
    bool swallowing; /* the frame being scanned is dropped; its answer stands in `parked` */
    bool reading;
    bool out_blocked; /* the kernel took less output than it was given */
    bool scout;       /* tries a refused request for all that wait */
    bool left;        /* the client has ended its side, behind bytes that were not read yet */
    bool hurried;     /* patience is with its first request */

    /* what the client's commands made of the session */
    struct buf name;       /* CLIENT SETNAME */
    struct acl_user *user; /* of ours, counted; NULL: none */
    struct asked *asked;   /* nothing is sent behind it; NULL: there is none */
    bool vetted;  /* whether one without credentials is to be served was known when it came */
    bool refused; /* it was told that its profile is; served again once that is mended */
    bool mutes;   /* it has said CLIENT REPLY */
    bool hushed;  /* what is given now is kept from the client */
    enum replies replies;
    bool pinned;         /* it has said what only a link of its own may hear */
    uint8_t quiet;       /* looks at it since bytes came or went; see session_look_if_idle */
    uint16_t large_left; /* replies that have to be small until it may share links again */
    /* where its reads go: session_reads.h */
    uint8_t reads;              /* enum config_reads */
    uint8_t gate;               /* enum gate */
    bool reader;                /* it came by read-listen, and lives on a replica */
    bool to_primary;            /* the next ones: a replica has refused one of them */
    bool catching_up;           /* one waits for a moment */
    bool no_evict, no_touch;    /* CLIENT NO-EVICT ON, CLIENT NO-TOUCH ON */
    uint32_t caught_up_ms;      /* when one did so last */
    struct linkset *read_set;   /* of the node that they were given last, counted; NULL: none */
    uint64_t need, seen, wrote; /* in rounds of probes */
    uint64_t wrote_in;          /* generation of its last write; 0: none */
    bool multi, watch;          /* as of the last answer */
    bool multi_lost;            /* it can't be carried out any more */
    bool watch_lost;            /* on a link that is gone */
    uint32_t healed; /* requests sent once more because the server had lost their script */
    struct transaction *transaction; /* what was said in it; NULL: there is none, or it is lost */
    struct tracking *tracking;       /* CLIENT TRACKING is on; NULL: it is not */
    struct redirect *redirect;       /* what one tracks is told to another; NULL: no part of it */
    const char *uncarried;           /* state that would be lost with the link; NULL: none */
    struct subscriptions *subs;      /* what it listens to; NULL: nothing */

    /* waiting */
    struct blocking *blocking;   /* the time of its blocking command; NULL: it had none yet */
    struct tentative *tentative; /* NULL: no refusal is being judged */
    uint64_t deadline_ms;        /* of the oldest waiting request; 0: none waits */
    uint64_t last_deadline_ms;   /* of what waited and was sent, until it is answered */
    uint64_t waiting_since_ms;
    struct wheel_timer deadline_timer;

    /* output */
    struct chain out;
    /* How long the client may take: to go on with a frame, or to read its last reply. */
    struct wheel_timer patience_timer;
};

/* A session for an accepted connection, whose guest it takes over. NULL (fd closed, the guest left
 * alone) when it can't be watched. */
struct session *session_open(struct worker_service *service, const struct newcomer *newcomer);
/* Where its client is, as it is told in the log. text has ADDR_TEXT_MAX bytes; returns text. */
const char *session_peer(const struct session *s, char *text);
/* Takes whatever input can be taken now. Safe at any time. */
void session_pump(struct session *s);
/* Writes what there is; called once per turn for touched sessions. */
void session_flush(struct session *s);
void session_touch(struct session *s);
/* Ready bytes for the client, behind all that was given before. block: where they lie, or NULL. */
void session_give(struct session *s, struct block *block, struct slice bytes);
void session_give_str(struct session *s, const char *text);
/* The same of what is pushed: it is heard whatever CLIENT REPLY says. Between replies only. */
void session_give_push(struct session *s, struct slice bytes);
/* Nothing more is taken from the client; it is closed once it has read its output. */
void session_finish(struct session *s, enum session_end end);
/* Ends it at once with its link. The memory lives until the end of the turn. */
void session_close(struct session *s, enum session_end end);
void session_free(struct session *s);
/* A client that will send no more may have gone elsewhere with what it asked here: its requests
 * that wait for want of a primary, on a shared link too, are dropped. Does nothing to others. */
void session_forsake(struct session *s);
/* Ends it if its client was quiet for IDLE_STEPS such looks, and may be: who is subscribed says
 * nothing, nor who waits for an answer. */
void session_look_if_idle(struct session *s);
/* The proxy stops: idle ones end now, others when they are idle. */
void session_drain(struct session *s);
/* The time for that is over: waiting requests are answered as not executed, those in flight as in
 * doubt, then it ends. */
void session_drain_now(struct session *s);
/* Whether its node wants a password that it has not given. Who was let in on a link of its own
 * stays in, whatever others are told by now. */
static inline bool session_needs_auth(const struct session *s)
{
    const struct link *l = s->link;
    bool let_in =
        l != NULL && l->kind == LINK_EXCLUSIVE && l->state == LINK_READY && !l->needs_auth;
    return s->set->needs_auth && !let_in;
}
/* Whether the client has given a password or needs none. Where it is the server's to judge that is
 * known once it was asked. Tighter limits hold for one that has to. */
static inline bool session_authenticated(const struct session *s)
{
    return !session_needs_auth(s) && s->gate != GATE_SHUT;
}
/* True while a request is in flight or waits. */
bool session_busy(const struct session *s);
/* Bytes that wait in its buffers and its link's. */
size_t session_held(const struct session *s);
/* Its oldest request was sent and may be answered only when others do something. */
bool session_blocked(const struct session *s);
/* There is no unanswered AUTH, HELLO ... any more. */
void session_forget_asked(struct session *s);
/* A request, or an answer of our own, at the end of a list of parked items. */
struct parked *park_frame(struct list *items, const struct command *command, struct buf *frame);
struct parked *park_answer(struct list *items, struct slice answer);
/* Something of this session waits for a primary since now, unless it did already. */
void session_start_waiting(struct session *s);

/* From the session's own link. */
void session_link_ready(struct session *s);
void session_link_lost(struct session *s, enum link_end end);
/* A link that it shared is lost: s->lost has what it left, which is parked or answered, and is
 * freed. begun: part of a reply was given that can't be continued. harmless: it led to a replica,
 * where nothing that was sent has changed anything. */
void session_requests_lost(struct session *s, bool begun, bool harmless);
/* There is room for more bytes of a large request. */
void session_link_drained(struct session *s);
/* One whole reply of that RESP type; '>' answers nothing. */
void session_reply(struct session *s, struct block *block, struct slice reply, char type);
/* A piece of a reply too large to wait for. whole: the bytes of all of it, with the last piece;
 * else 0. */
void session_reply_part(struct session *s, struct block *block, struct slice part, char type,
                        uint64_t whole);
/* Gives the reply to that command, which has left the journal or is about to. */
void session_answer(struct session *s, const struct command *command, struct block *block,
                    struct slice reply, char type);
/* True if nothing of the session looks at each request and answer by itself. Then plain requests
 * may be sent together, and answers to them come together: `count` whole ones that are no errors,
 * to the oldest requests of its link. */
bool session_takes_runs(const struct session *s);
void session_replies(struct session *s, uint32_t count, struct block *block, struct slice replies);
/* Requests have left the journal: a shared link is let go once none is left, and what waits behind
 * them goes on. */
void session_requests_done(struct session *s);
/* What tentative keeps and what is unsent on its own link goes back to the session's input, in
 * order. That link stays where it is clean. */
void session_take_back(struct session *s);
/* link_take_unsent for a link of its own; from: the first request that was not sent. What the
 * server is told for the session besides its requests stays, and all with it. */
void session_take_unsent(struct session *s, uint32_t from);
/* Bytes of a raw link. */
void session_raw_bytes(struct session *s, struct block *block, struct slice bytes);

#endif
