/* Every bound that is not a config key, with its reason. */
#ifndef VEDETTE_BASE_LIMITS_H
#define VEDETTE_BASE_LIMITS_H

/* One read from a socket: large enough that a system call is cheap beside the copy. */
#define READ_CHUNK (64u << 10)

/* An incomplete request up to here waits in the session; a larger one streams to its link. */
#define REQUEST_BUFFER_MAX (64u << 10)
/* One up to here is copied to where the next bytes of its client are read, so that it takes no more
 * memory than it has bytes, however slowly it comes; a longer one would be copied too often. */
#define REQUEST_CARRIED_MAX (16u << 10)
/* An incomplete reply up to here waits in the link, so that a link lost in its middle can still be
 * made good elsewhere; a larger one streams to the client. */
#define REPLY_BUFFER_MAX (64u << 10)
/* An incomplete reply up to here is copied to where the next bytes of its link are read, so that
 * all that follows can travel as views; a longer one would be copied too often as it grows. */
#define REPLY_CARRIED_MAX (32u << 10)

/* Names of a session's subscriptions with what it takes to hold them, some ten thousand; past it
 * they are not carried to another link. */
#define SUBSCRIPTIONS_MAX (1u << 20)
/* Of which so much is asked for again in one request: the server does nothing else meanwhile. */
#define RESUBSCRIBE_BYTES (16u << 10)

/* Protocol bounds of Redis 7.0 (networking.c): inline and header lines, argument count, bulk. */
#define INLINE_MAX         (64u << 10)
#define REQUEST_ARGS_MAX   0x7fffffffu
#define BULK_MAX           (512ll * 1024 * 1024)
#define HEADER_LINE_MAX    (64u << 10)
#define REPLY_ELEMENTS_MAX 0x7fffffffll

/* The same of a client that has yet to AUTH: it may take little of us. */
#define UNAUTHENTICATED_ARGS_MAX 10u
#define UNAUTHENTICATED_BULK_MAX 16384u

/* Requests of one session without an answer; past it the session is not read. */
#define SESSION_OUTSTANDING_MAX 1024u
/* Requests of one session handled in one loop turn, so that others get theirs. */
#define TURN_REQUESTS_MAX 256u
/* Journal bytes of one link that the kernel has not taken; past it the session is not read. */
#define LINK_UNSENT_HIGH (1u << 20)
#define LINK_UNSENT_LOW  (256u << 10)
/* Journal bytes of one link without an answer; past it the session is not read. */
#define LINK_UNANSWERED_MAX (4u << 20)
/* Reply bytes that a client has not taken; past the high mark its link and it are not read. */
#define SESSION_OUTPUT_HIGH (1u << 20)
#define SESSION_OUTPUT_LOW  (256u << 10)
/* Replies kept behind a refused request until it is known what to do with them. */
#define TENTATIVE_REPLIES_MAX (64u << 10)
/* Requests of a transaction and their answers, kept until its EXEC so that it can go on at another
 * primary; a larger one is given up when its link is lost. */
#define TRANSACTION_KEPT_MAX (1u << 20)

/* Waiting sessions let go in one loop turn, and links being opened at once, per worker: a new
 * primary is not drowned at its birth. */
#define RELEASE_PER_TURN    64u
#define HANDSHAKES_MAX      64u
#define ACCEPTS_PER_TURN    64u
#define ACCEPT_PAUSE_MS     100u /* after EMFILE */
#define RECONNECT_MIN_MS    10u
#define RECONNECT_MAX_MS    500u
#define SCOUT_INTERVAL_MS   100u /* how often a refused request is tried again */
#define GREETING_TIMEOUT_MS 1000u
#define RETIRING_MAX_MS     10000u /* a reply begun before a switch may end on its old link */
#define FRAME_IDLE_MAX_MS   60000u /* a frame begun by a client without another byte */
#define IDLE_STEPS          16u    /* idle-timeout is told to one part in so many */
#define CLOSE_LINGER_MS     5000u  /* a last reply to a client that does not read */
#define LEFT_BLOCKED_MS     100u   /* a blocking command just sent of a client that has gone */
#define DRAIN_UNBLOCK_MS    500u   /* at the end of a drain, until the blocked have heard of it */

/* A new primary gets the scripts before requests that waited; they wait for that no longer than so.
 * They are loaded as the first user of so many who may. */
#define SCRIPTS_LOAD_MAX_MS    1000u
#define SCRIPTS_RETRY_MS       100u /* between attempts while it still loads its own data */
#define SCRIPTS_LOAD_USERS_MAX 5u
#define SCRIPTS_ANSWER_MAX     (8u << 20) /* 4 bytes for each script */
/* Scripts that one session can have loaded at once because the server has lost them; to ask about
 * one again, as another worker may have yet to hear what the server lacked, counts too. */
#define HEALED_SCRIPTS_MAX 16u

/* Requests of one client that switched CLIENT TRACKING on, kept to be said again: prefixes add up.
 */
#define TRACKING_SAID_MAX (64u << 10)
/* CLIENT TRACKING with REDIRECT: numbers that one session was told and may be named by, numbers of
 * sessions gone that name nobody else, and how long one that redirects waits for the link of the
 * one that is told. */
#define REDIRECT_NUMBERS_MAX 8u
#define REDIRECT_GONE_MAX    1024u
#define REDIRECT_WAIT_MS     5000u

/* Links that the sessions of one profile may share in one worker, and idle ones kept for sessions
 * that need one alone: a transaction then costs no handshake. */
#define LINKS_PER_PROFILE_MAX 8u
#define WARM_LINKS_PER_SET    2u
#define WARM_LINKS_MAX        64u
/* Requests of one worker that a replica has not answered; from here on it is too busy to be
 * preferred. */
#define REPLICA_BUSY 1024u
/* A read that only lacks the next round of probes waits for it so long, and then goes to the
 * primary; each session once in a while. */
#define CATCH_UP_MAX_MS      5u
#define CATCH_UP_INTERVAL_MS 100u
/* How long a read that only replicas may answer waits when there is none: in a failover there is
 * none until each has been seen to follow the new primary. */
#define REPLICA_LACK_MS 3000u
/* How often a fresh link tells whether clients without credentials are still to be served. */
#define CHECK_INTERVAL_MS 1000u
/* A link without requests is asked for a sign of life, and closed in the end. */
#define LINK_IDLE_PING_MS  30000u
#define LINK_IDLE_CLOSE_MS 300000u
/* Replies from here on are large: their session uses links of its own until so many in a row were
 * small, for the others on a shared link wait behind every byte of them. */
#define SHARED_REPLY_MAX  (1u << 20)
#define SMALL_REPLIES_MIN 1000u
/* Inline requests up to here may go on a shared link. */
#define SHARED_INLINE_MAX 1024u

/* A PROXY header in all: what it says of certificates takes some hundred bytes, and nginx takes so
 * much as well. Only its addresses are kept. */
#define PROXY_HEADER_MAX (4u << 10)

/* TLS: what is encrypted before it is offered to the kernel. Records have at most 16 KiB. */
#define TLS_RECORD_MAX    (16u << 10)
#define TLS_BATCH_RECORDS 4u
/* What a peer may say in TLS besides data: records one behind the other, each of which may cost as
 * much work as a request, and what it is to be answered before it has read the answers before. New
 * keys and tickets are a matter of now and then. */
#define TLS_TALK_MAX    32u
#define TLS_ANSWERS_MAX (4u << 10)
/* Steps of clients' handshakes that are done in one turn of a loop: each costs up to a millisecond
 * of work with keys, which nobody else is to wait for when thousands connect at once. */
#define TLS_STEPS_A_TURN 16u
/* Sessions kept to be resumed, of all peers; and how often files are looked at for changes. */
#define TLS_SESSIONS_MAX 64u
#define TLS_LOOK_MS      1000u
/* A certificate that expires so soon is warned of. */
#define TLS_EXPIRY_DAYS 30u

/* How often files of passwords and of users are looked at for changes. */
#define SECRETS_LOOK_MS 1000u
/* A password that its file has replaced is tried for so long beside the new one: whoever changes it
 * needs a moment to tell the servers too. */
#define PASSWORD_BEFORE_MS 600000u

/* A file of users: its bytes, the name of one, and the passwords of one, which are all compared
 * each time. */
#define ACL_FILE_MAX      (1u << 20)
#define ACL_NAME_MAX      128u
#define ACL_PASSWORDS_MAX 32u

/* hold-timeout = auto: at least this long, and as long as no Sentinel has told its down-after. */
#define HOLD_TIMEOUT_MIN_MS 30000u

/* Descriptors kept aside for what is not a client or its link: log, listeners, loops, Sentinels,
 * probes, resolver. */
#define FDS_RESERVED 256u

/* Sentinel answers (a hostile one must not make us allocate): bytes, elements. */
#define SENTINEL_REPLY_MAX          (256u << 10)
#define SENTINEL_REPLY_ELEMENTS_MAX 4096
#define SENTINELS_MAX               32u
/* Replicas of one service that are known and, where they serve reads, watched. */
#define REPLICAS_MAX 64u

/* The answer to COMMAND: 90 KiB of 13,000 elements from Redis 7.0, several times that with large
 * modules. Nothing waits for it, so it has time. */
#define COMMANDS_REPLY_MAX    (4u << 20)
#define COMMANDS_ELEMENTS_MAX (1u << 20)
#define COMMANDS_MAX          16384u /* names of it that are kept */
#define COMMANDS_TIMEOUT_MS   5000u
/* Longest name of a command that is looked up, sub-command included. */
#define COMMAND_NAME_MAX 64u

_Static_assert(SESSION_OUTPUT_LOW < SESSION_OUTPUT_HIGH, "a mark below the other");
_Static_assert(LINK_UNSENT_LOW < LINK_UNSENT_HIGH, "a mark below the other");
_Static_assert(LINK_UNSENT_HIGH < LINK_UNANSWERED_MAX, "unsent is part of unanswered");
/* NOLINTNEXTLINE(misc-redundant-expression): equal today */
_Static_assert(INLINE_MAX <= REQUEST_BUFFER_MAX, "an inline request is never streamed");

#endif
