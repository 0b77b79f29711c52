/* The parts of the judge: counting votes (judge_vote.c), who is primary (judge_switch.c), and the
 * state of the service (judge.c). */
#ifndef VEDETTE_SENTINEL_JUDGE_PARTS_H
#define VEDETTE_SENTINEL_JUDGE_PARTS_H

#include "sentinel/judge.h"

/* One view of each Sentinel that can be reached, whatever the number of its connections. */
struct ballots {
    const struct judge_view *view[JUDGE_VIEWS_MAX];
    size_t count;
    size_t opinions; /* how many name a primary */
};

struct candidate {
    struct sockaddr_any at;
    struct addr name;
    size_t votes;
};

/* What the Sentinels that share one epoch name, most votes first. */
struct tally {
    int64_t epoch;
    size_t count; /* 0: nobody names anything */
    struct candidate by[JUDGE_VIEWS_MAX];
};

/* One call of judge_decide. */
struct hearing {
    struct judge *j;
    const struct judge_facts *facts;
    struct judge_advice *advice;
    struct ballots ballots;
    struct tally top;    /* the highest epoch */
    struct tally agreed; /* the highest epoch whose first has a majority */
    struct tally older;  /* what most name with an epoch below ours */
    bool majority;       /* the first of top has it */
};

void vote_collect(const struct judge_facts *facts, struct ballots *out);
/* Among the views with the highest epoch. At a tie `favourite` (may be NULL) comes first. */
void vote_highest(const struct ballots *b, const struct sockaddr_any *favourite, struct tally *out);
/* Among the views with the highest epoch whose first has at least `need` votes; count is 0 when
 * there is none. */
void vote_agreed(const struct ballots *b, const struct sockaddr_any *favourite, size_t need,
                 struct tally *out);
/* The address and epoch below `epoch` that most views agree on; count is 0 or 1. */
void vote_older(const struct ballots *b, int64_t epoch, struct tally *out);

/* True for the primary, and for the node that Sentinels name while we follow its primary. */
bool judge_is_ours(const struct judge *j, const struct sockaddr_any *at);
/* What the node has answered; NULL when it was never asked. */
const struct judge_node *judge_node_at(const struct hearing *h, const struct sockaddr_any *at);
/* The node has said so within JUDGE_ROLE_MAX_AGE_MS. */
bool judge_says(const struct hearing *h, const struct judge_node *n, enum node_role role);
/* True if a Sentinel shows a failover of our primary that goes on. */
bool judge_failover_shown(const struct hearing *h);
/* True if v's flags are about our primary, as it is now. */
bool judge_speaks_of_us(const struct judge *j, const struct judge_view *v);

/* A majority names another node than ours, with an epoch that is not below ours. */
bool judge_agreed_elsewhere(const struct hearing *h);

/* Whether another primary, or another epoch, must be taken. True: done, advice says what. */
bool judge_consider_switch(struct hearing *h);

#endif
