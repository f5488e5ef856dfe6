/*
 * The authorities as time goes by: nginx' certificates are made again a month
 * before they end, an old authority is kept exactly as long as something that
 * it issued may be in use, and one that cannot vouch for its successor signs
 * until nginx is reloaded.
 */

#include "ca_test.h"


#define DAYS(n)  ((int64_t) (n) * 24 * 3600)


/* A path length of 0, as authorities had before they could be rotated. */

static void
clock_make_short(const char *name)
{
    char  command[600];

    snprintf(command, sizeof(command),
             "mkdir -p %s/ca && cd %s/ca && openssl req -x509 -days 3650 "
             "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
             "-keyout %s-ca-key.pem -out %s-ca.pem -subj '/CN=short %s' "
             "-addext 'basicConstraints=critical,CA:TRUE,pathlen:0' "
             "-addext 'keyUsage=critical,keyCertSign,cRLSign' 2>/dev/null "
             "&& chmod 0700 . .. && chmod 0600 %s-ca-key.pem",
             ca_test_state, ca_test_state, name, name, name, name);

    if (system(command) != 0) {
        printf("# openssl failed\n");
    }
}


static void
clock_renewal(void)
{
    char     *before, *after, *key, *key_after;
    bk_ca_t  *ca;

    ca_test_folder();
    ca = ca_test_open(0);
    before = ca_test_read("tls/gateway.pem");
    key = ca_test_read("tls/gateway-key.pem");

    ca->ahead_s = DAYS(334);
    bk_ca_look(ca);
    after = ca_test_read("tls/gateway.pem");
    ok(strcmp(before, after) == 0 && ca_test_told == 0,
       "with 31 days left, nothing is done");
    free(after);

    ca->ahead_s = DAYS(336);
    bk_ca_look(ca);
    after = ca_test_read("tls/gateway.pem");
    key_after = ca_test_read("tls/gateway-key.pem");
    ok(strcmp(before, after) != 0, "with 29 days left it is renewed");
    ok(ca_test_told == 1, "and nginx is to be told, once for both");
    ok(strcmp(key, key_after) == 0, "for the key that was there");
    ok(ca_test_verify(after, ca->gateway.trust, DAYS(336 + 364)),
       "for a year");
    free(before);
    before = after;

    bk_ca_look(ca);
    after = ca_test_read("tls/gateway.pem");
    ok(strcmp(before, after) == 0 && ca_test_told == 1, "and that was it");

    /* the authority's own end: what ends with it is not made again for ever */
    ca->ahead_s = DAYS(3650 - 20);
    bk_ca_look(ca);
    ca_test_told = 0;
    bk_ca_look(ca);
    ok(ca_test_told == 0, "what ends with its authority is left alone");
    free(after);
    after = ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL);
    ok(after != NULL, "it issues still");
    ca->ahead_s = DAYS(3651);
    ok(ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL) == NULL,
       "an authority that has expired issues nothing");

    bk_ca_free(&ca);
    ca_test_remove();
    free(before);
    free(after);
    free(key);
    free(key_after);
}


static void
clock_dropped(void)
{
    char      *cert, *trust, *newer;
    bk_ca_t   *ca;
    bk_err_t   err;

    ca_test_folder();
    ca = ca_test_open(0);
    cert = ca_test_issue(ca, BK_CERT_CLIENT, 40, &trust);
    free(ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL));

    ok(bk_ca_rotate(ca, "gateway", &err) == 0, "rotated");
    ok(ca->gateway.nold == 1 && ca->worker.nold == 0, "the named one alone");

    /* over a restart: it is written down */
    bk_ca_free(&ca);
    ca = ca_test_open(0);
    ca->ahead_s = DAYS(39);
    bk_ca_look(ca);
    ok(ca->gateway.nold == 1, "kept as long as what it issued is good");
    newer = ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL);
    ok(ca_test_verify(newer, trust, DAYS(39)), "and leads to it");
    ok(ca_test_verify(cert, ca->gateway.trust, DAYS(39)), "and trusts it");
    free(newer);

    ca->ahead_s = DAYS(42);
    bk_ca_look(ca);
    ok(ca->gateway.nold == 0, "dropped a day after that");
    ok(!ca_test_verify(cert, ca->gateway.trust, 0), "and trusted no more");
    newer = ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL);
    ok(!ca_test_verify(newer, trust, DAYS(42)), "nothing leads to it");
    ok(ca_test_verify(newer, ca->gateway.trust, DAYS(42)), "the new one does");
    free(newer);

    /* several in a row: all of them lead to the first */
    free(trust);
    free(ca_test_issue(ca, BK_CERT_CLIENT, 40, &trust));

    while (ca->gateway.nold < BK_CA_VOUCH_MAX
           && bk_ca_rotate(ca, "gateway", &err) == 0)
    {
        free(ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL));
    }

    newer = ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL);
    ok(ca->gateway.nold == BK_CA_VOUCH_MAX
       && ca_test_verify(newer, trust, DAYS(42)), "four rotations on");
    ok(bk_ca_rotate(ca, "gateway", &err) == -1 && err.code == 409
       && strcmp(err.reason, "TooManyAuthorities") == 0, "a fifth is refused");
    ok(bk_ca_rotate(ca, "nobody", &err) == -1 && err.code == 404,
       "and one that is not there");
    ok(bk_ca_retire(ca, "gateway", 0, &err) == -1
       && strcmp(err.reason, "StillNeeded") == 0
       && ca->gateway.nold == BK_CA_VOUCH_MAX, "one that is needed stays");
    ok(bk_ca_retire(ca, "gateway", 1, &err) == 0 && ca->gateway.nold == 0,
       "all are retired by hand");
    ok(bk_ca_retire(ca, NULL, 1, &err) == -1 && err.code == 409,
       "which is refused when there are none");

    bk_ca_free(&ca);
    ca_test_remove();
    free(cert);
    free(trust);
    free(newer);
}


/* What was issued before it was written down is taken for two years. */

static void
clock_short(void)
{
    char      *cert, *trust, *before, *after, *mid;
    bk_ca_t   *ca;
    bk_err_t   err;

    ca_test_folder();
    clock_make_short("gateway");
    clock_make_short("worker");

    ca = ca_test_open(0);
    ok(ca != NULL && ca->gateway.until_ms
                     > bk_ca_now_ms(ca) + 729 * BK_CA_DAY_MS,
       "authorities of an earlier version may have issued for two years");
    ok(bk_ca_rotate(ca, NULL, &err) == -1
       && strcmp(err.reason, "CannotVouch") == 0,
       "without a reload they cannot be rotated");
    ok(ca->gateway.nold == 0 && ca->worker.nold == 0, "neither of them was");
    bk_ca_free(&ca);

    ca = ca_test_open(1);
    cert = ca_test_issue(ca, BK_CERT_CLIENT, 1, &trust);
    before = ca_test_read("tls/gateway.pem");
    ok(bk_ca_rotate(ca, NULL, &err) == 0, "with one they can");
    mid = ca_test_issue(ca, BK_CERT_CLIENT, 800, NULL);
    ok(ca_test_verify(mid, trust, 0), "the old one signs until then");
    ok(ca->gateway.old[0].until_ms
       > bk_ca_now_ms(ca) + 799 * BK_CA_DAY_MS, "and is kept for that");
    ok(bk_ca_rotate(ca, NULL, &err) == -1
       && strcmp(err.reason, "Rotating") == 0, "one at a time");
    ok(bk_ca_retire(ca, NULL, 1, &err) == -1
       && strcmp(err.reason, "Rotating") == 0,
       "what still signs is not retired");

    bk_ca_reloaded(ca);
    after = ca_test_read("tls/gateway.pem");
    ok(strcmp(before, after) == 0 && ca_test_verify(after, trust, 0),
       "nginx shows its certificate on, for who knows that alone");
    free(mid);
    mid = ca_test_issue(ca, BK_CERT_CLIENT, 1, NULL);
    ok(!ca_test_verify(mid, trust, 0)
       && ca_test_verify(mid, ca->gateway.now.trust, 0), "the new one signs");
    ok(ca_test_verify(cert, ca->gateway.trust, 0), "both are trusted");

    ok(bk_ca_retire(ca, NULL, 1, &err) == 0 && ca->gateway.nold == 1,
       "retired: nginx has to show the new one first");
    free(after);
    after = ca_test_read("tls/gateway.pem");
    ok(ca_test_verify(after, ca->gateway.now.trust, 0), "which it is given");
    bk_ca_reloaded(ca);
    ok(ca->gateway.nold == 0 && ca->worker.nold == 0, "then it is dropped");

    bk_ca_free(&ca);
    ca_test_remove();
    free(cert);
    free(trust);
    free(before);
    free(after);
    free(mid);
}


int
main(void)
{
    clock_renewal();
    clock_dropped();
    clock_short();

    printf("1..%d\n", ca_test_n);

    return 0;
}
