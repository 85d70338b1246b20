/* chime sockets: the kinds of sockets that this kernel has, and what an endpoint stands for. */
#include "complain.h"
#include "json_text.h"
#include "option.h"
#include "verb.h"
#include "wrap.h"

#include <chime/connect.h>
#include <chime/kind.h>
#include <chime/rdm.h>

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define NOTES 99

struct sockets {
	bool json, serve;
	int64_t timeout_ns;
};

#define TIMEOUT_NS (5 * CHIME_SEC)

static const struct verb_option sockets_options[] = {
	OPT_FLAG('j', "json", struct sockets, json, "print JSON"),
	OPT_FLAG('s', "serve", struct sockets, serve,
		 "with ENDPOINT: what serving it would listen on, instead of what talking to it would try"),
	OPT_TIME('t', "timeout", struct sockets, timeout_ns, CHIME_MSEC, CHIME_FOREVER,
		 "with ENDPOINT: how long to wait for the name's addresses (default 5s)"),
	OPT_END,
};

static int run_sockets(const struct verb *verb, int argc, char **argv);

const struct verb verb_sockets = {
	.name = "sockets",
	.operands = "[ENDPOINT]",
	.operands_max = 1,
	.help = "say which sockets this kernel has, or what an endpoint stands for",
	.about = "Tries every kind of socket and says which this kernel has, which endpoints are "
		 "such sockets, and what they promise. With ENDPOINT: which addresses it stands "
		 "for, in the order in which they would be tried. Nothing is sent or connected.",
	.options = sockets_options,
	.examples = "  chime sockets\n"
		    "  chime sockets --json\n"
		    "  chime sockets tcp://localhost:9999\n"
		    "  chime sockets --serve 'tcp://*:9999'\n",
	.run = run_sockets,
};

/* What trying a kind gave. */
struct tried {
	int err;
	char why[256];
};

static struct tried try_kind(const struct chime_kind *k)
{
	struct tried t;
	t.err = chime_kind_try(k, t.why, sizeof t.why);
	return t;
}

/* "ENAME, call: reason; what helps", or what is lacking all the same, or nothing. */
static void tell(char *out, size_t size, const struct tried *t)
{
	snprintf(out, size, "%s%s%s", t->err < 0 ? chime_errname(t->err) : "", t->err < 0 ? ", " : "", t->why);
}

/* Whether a scheme's endpoints are carried by what may be no socket of the kernel. */
static bool reliable(enum chime_scheme scheme)
{
	return scheme == CHIME_RDM || scheme == CHIME_SCTP_SEQPACKET;
}

/* What carries them; NULL: sockets do. */
static const char *carrier(enum chime_scheme scheme)
{
	return reliable(scheme) ? chime_rdm_carrier_name(CHIME_RDM_AUTO) : NULL;
}

static const char *carrier_of(const chime_endpoint *e)
{
	return reliable(e->scheme) ? chime_rdm_carrier_name((enum chime_rdm_carrier)e->set.carrier) : NULL;
}

/* The same for what an endpoint asks to be carried by. */
static struct tried try_carrier(const chime_endpoint *e, const struct chime_target *t)
{
	enum chime_rdm_carrier which = (enum chime_rdm_carrier)e->set.carrier;
	const struct chime_kind *sctp = chime_kind_find(t->family, SOCK_SEQPACKET, IPPROTO_SCTP);
	struct tried got = { .err = chime_rdm_available(which) };
	if (got.err < 0 && which == CHIME_RDM_KERNEL && sctp)
		return try_kind(sctp);
	if (got.err < 0)
		snprintf(got.why, sizeof got.why, "%s",
			 which == CHIME_RDM_USER ? "this build is without libusrsctp" : carrier_of(e));
	return got;
}

/* Whether this release serves the kind's endpoints and talks on them. */
static bool opens(const struct chime_kind *k)
{
	const struct chime_scheme_info *info = chime_scheme_info(k->scheme);
	return info && info->opens && (!reliable(k->scheme) || chime_rdm_available(CHIME_RDM_AUTO) == 0);
}

static const char *scheme_name(const struct chime_kind *k)
{
	const struct chime_scheme_info *info = chime_scheme_info(k->scheme);
	return info ? info->name : NULL;
}

static const char *promise(const struct chime_kind *k)
{
	static const char *const words[2][2][2] = {
		{ { "bytes", "messages" }, { "ordered bytes", "ordered messages" } },
		{ { "reliable bytes", "reliable messages" },
		  { "reliable ordered bytes", "reliable ordered messages" } },
	};
	return words[k->reliable][k->ordered][k->messages];
}

/* ---- JSON ---- */

static json_t *json_error(int err, const char *why)
{
	return err < 0 ? json_pack("{s:s, s:s}", "code", chime_errname(err), "message", why) : json_null();
}

static json_t *json_kind(const struct chime_kind *k)
{
	return json_pack("{s:s, s:s, s:s*, s:s?, s:b, s:b, s:b, s:b, s:s?, s:s?, s:s?}", "family", k->family_name,
			 "type", k->type_name, "protocol", k->protocol_name[0] ? k->protocol_name : NULL, "endpoint",
			 scheme_name(k), "opened", opens(k), "reliable", k->reliable, "ordered", k->ordered, "messages",
			 k->messages, "remark", k->remark, "module", k->module, "carrier", carrier(k->scheme));
}

static json_t *json_tried(json_t *row, const struct tried *t)
{
	json_object_set_new(row, "available", json_boolean(t->err == 0));
	json_object_set_new(row, "error", json_error(t->err, t->why));
	json_object_set_new(row, "note", t->err == 0 && t->why[0] ? json_string(t->why) : json_null());
	return row;
}

/* Prints it and gives it back. */
static int json_out(json_t *root)
{
	char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
	json_decref(root);
	if (!text) {
		complain("sockets", "%s", chime_strerror(-ENOMEM));
		return EXIT_SYSTEM;
	}
	puts(text);
	free(text);
	return EXIT_DONE;
}

/* ---- the table ---- */

/* What there is to say beside the rows, each thing once. */
struct notes {
	char text[NOTES][400];
	int n;
};

/* The note's number, from 1; 0 for an empty text. */
static int note(struct notes *notes, const char *text)
{
	int i = 0;
	if (!text[0])
		return 0;
	while (i < notes->n && strcmp(notes->text[i], text))
		i++;
	if (i == NOTES)
		return 0;
	if (i == notes->n)
		snprintf(notes->text[notes->n++], sizeof notes->text[0], "%s", text);
	return i + 1;
}

static const char *state(int err)
{
	switch (err) {
	case 0:
		return "yes";
	case -EPERM:
	case -EACCES:
		return "denied";
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return "?";
	default:
		return "no";
	}
}

static void print_kind(const struct chime_kind *k, const struct tried *t, struct notes *notes)
{
	char text[sizeof notes->text[0]], mark[16] = "";
	const char *scheme = scheme_name(k), *remark = t->err == 0 && k->remark ? k->remark : "";
	tell(text, sizeof text, t);
	size_t len = strlen(text);
	snprintf(text + len, sizeof text - len, "%s%s", len && *remark ? "; " : "", remark);
	len = strlen(text);
	if (carrier(k->scheme))
		snprintf(text + len, sizeof text - len, "%schime's endpoint is carried by %s", len ? "; " : "",
			 carrier(k->scheme));
	int number = note(notes, text);
	if (number)
		snprintf(mark, sizeof mark, " (%d)", number);
	printf(" %-9s %-8s %-6s %-15s %-5s %s%s\n", k->type_name + strlen("SOCK_"),
	       k->protocol_name[0] ? k->protocol_name : "-", state(t->err), scheme ? scheme : "-",
	       !scheme    ? "-"
	       : opens(k) ? "yes"
			  : "no",
	       promise(k), mark);
}

static void print_table(const struct utsname *u)
{
	static struct notes notes;
	const char *family = "";
	printf("%s %s\n\n SOCK_     protocol kernel endpoint        chime promise\n", u->sysname, u->release);
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		struct tried t = try_kind(k);
		if (strcmp(family, k->family_name))
			puts(k->family_name);
		family = k->family_name;
		print_kind(k, &t, &notes);
	}
	puts("\nkernel: whether it gives us such a socket, by trying. endpoint: the scheme of\n"
	     "such sockets. chime: whether this release serves it and talks on it.");
	for (int i = 0; i < notes.n; i++) {
		printf("%s%*s(%d) ", i ? "" : "\n", i < 9, "", i + 1);
		wrap(notes.text[i], 5);
	}
}

static int run_table(const struct sockets *o)
{
	struct utsname u;
	uname(&u);
	if (!o->json) {
		print_table(&u);
		return EXIT_DONE;
	}
	json_t *rows = json_array();
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		struct tried t = try_kind(k);
		json_array_append_new(rows, json_tried(json_kind(k), &t));
	}
	return json_out(json_pack("{s:s, s:s, s:o}", "system", u.sysname, "release", u.release, "kinds", rows));
}

/* ---- an endpoint ---- */

struct place {
	struct chime_target target;
	const struct chime_kind *kind; /* NULL: a kind that the table does not know */
	struct tried tried;
	char text[CHIME_ADDR_TEXT];
};

/* A loopback interface without addresses is beside the point where the address is another's. */
static bool beside(const struct chime_target *t)
{
	return (t->family == AF_INET || t->family == AF_INET6) && !chime_addr_is_loopback(&t->addr);
}

static void place_try(struct place *p, const chime_endpoint *e, const struct chime_target *t)
{
	*p = (struct place){ .target = *t, .kind = chime_kind_find(t->family, t->type, t->protocol) };
	chime_addr_print(&t->addr, p->text, sizeof p->text);
	if (!p->kind && t->type == SOCK_RDM) /* rdm:// is SCTP's, whose protocol the kind does not have */
		p->kind = chime_kind_find(t->family, t->type, 0);
	if (reliable(e->scheme))
		p->tried = try_carrier(e, t);
	else if (p->kind)
		p->tried = try_kind(p->kind);
	if (p->tried.err == 0 && beside(t))
		p->tried.why[0] = 0;
}

/* Whether addresses are tried beside each other; what has no connection has its first address at once, or cannot have it. */
static bool races(const struct sockets *o, const chime_endpoint *e)
{
	return !o->serve && chime_scheme_info(e->scheme)->connected;
}

static int print_json(const struct sockets *o, const chime_endpoint *e, const char *name, const struct place *places,
		      int n)
{
	json_t *rows = json_array();
	for (int i = 0; i < n; i++) {
		const struct place *p = &places[i];
		json_t *row = p->kind ? json_kind(p->kind) : json_object();
		if (carrier_of(e))
			json_object_set_new(row, "carrier", json_string(carrier_of(e)));
		json_object_set_new(row, "address", json_text(p->text));
		json_array_append_new(rows, json_tried(row, &p->tried));
	}
	return json_out(json_pack("{s:o, s:s, s:s*, s:I, s:n, s:o}", "endpoint", json_text(name), "for",
				  o->serve ? "serve" : "talk", "carrier", carrier_of(e), "attempt_delay_ns",
				  (json_int_t)(races(o, e) ? CHIME_ATTEMPT_DELAY : 0), "error", "addresses", rows));
}

static void print_text(const struct sockets *o, const chime_endpoint *e, const char *name, const struct place *places,
		       int n)
{
	char delay[32], reason[400];
	const struct chime_kind *k = places[0].kind;
	chime_duration_print(CHIME_ATTEMPT_DELAY, delay, sizeof delay);
	puts(name);
	if (k)
		printf("%s%s%s: %s\n", k->type_name, k->protocol_name[0] ? " " : "", k->protocol_name, promise(k));
	if (carrier_of(e))
		printf("carried by %s\n", carrier_of(e));
	if (o->serve)
		puts("serving it listens on");
	else if (n > 1 && !races(o, e))
		puts("talking to it tries, one after the other,");
	else if (n > 1)
		printf("talking to it tries, one every %s or at once when one fails,\n", delay);
	else
		puts("talking to it tries");
	for (int i = 0; i < n; i++) {
		const struct place *p = &places[i];
		printf("%4d  %-8s %s\n", i + 1, p->kind ? p->kind->family_name : "-", p->text);
		tell(reason, sizeof reason, &p->tried);
		if (reason[0]) {
			printf("      ");
			wrap(reason, 6);
		}
	}
}

/* The endpoint stands for nothing: says why, and whose fault it is. */
static int unresolved(const struct sockets *o, const chime_endpoint *e, const char *name, int err)
{
	const struct chime_scheme_info *info = chime_scheme_info(e->scheme);
	const char *why = err == CHIME_ESCHEME && info->lacks ? info->lacks : chime_strerror(err);
	complain("sockets", "%s: %s", name, why);
	if (o->json && json_out(json_pack("{s:o, s:s, s:o, s:[]}", "endpoint", json_text(name), "for",
					  o->serve ? "serve" : "talk", "error", json_error(err, why), "addresses")))
		return EXIT_SYSTEM;
	return complain_exit(err) == EXIT_USAGE ? EXIT_SYSTEM : complain_exit(err);
}

static int run_endpoint(const struct sockets *o, const chime_endpoint *e)
{
	static struct place places[CHIME_TARGETS];
	struct chime_target targets[CHIME_TARGETS];
	char name[CHIME_ENDPOINT_TEXT];
	int available = 0;
	chime_endpoint_print(e, name, sizeof name);
	int n = chime_endpoint_resolve(e, o->serve, o->timeout_ns, targets, CHIME_TARGETS);
	if (n < 0)
		return unresolved(o, e, name, n);
	if (!o->serve)
		chime_targets_order(targets, n);
	for (int i = 0; i < n; i++) {
		place_try(&places[i], e, &targets[i]);
		available += places[i].tried.err == 0;
	}
	int code = EXIT_DONE;
	if (o->json)
		code = print_json(o, e, name, places, n);
	else
		print_text(o, e, name, places, n);
	return available ? code : EXIT_SYSTEM;
}

static int run_sockets(const struct verb *verb, int argc, char **argv)
{
	struct sockets o = { .timeout_ns = 0 };
	struct chime_endpoint_error error;
	chime_endpoint e;
	int n = option_read(verb, &o, argc, argv);
	if (n < 0)
		return OPTION_EXIT(n);
	if (n == 0 && (o.serve || o.timeout_ns)) {
		complain(verb->name, "%s goes with an endpoint", o.serve ? "--serve" : "--timeout");
		return EXIT_USAGE;
	}
	if (n == 0)
		return run_table(&o);
	if (!o.timeout_ns)
		o.timeout_ns = TIMEOUT_NS;
	if (chime_endpoint_parse(&e, argv[0], NULL, NULL, &error) < 0) {
		complain_at(verb->name, argv[0], &error);
		return EXIT_USAGE;
	}
	if (e.service[0]) {
		error.at = 0;
		snprintf(error.message, sizeof error.message, "expected an endpoint alone, without a service");
		complain_at(verb->name, argv[0], &error);
		return EXIT_USAGE;
	}
	return run_endpoint(&o, &e);
}
