/* Names of hosts, services, protocols and interfaces, and addresses as text, with the strictness that is promised. */
#include "net/resolve.h"

#include <chime/names.h>
#include <runner/test.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#define LIMIT (50 * CHIME_SEC)

static void shows(const chime_addr *a, const char *want)
{
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(a, text, sizeof text);
	CHECK_STR(text, want);
}

/* Numbers and services need no server: type, protocol and port come out, in one piece that is freed as one. */
TEST(getaddrinfo_of_numbers)
{
	struct chime_addrinfo *a = NULL;
	CHECK_EQ(chime_getaddrinfo("192.0.2.7", "80", AF_UNSPEC, SOCK_DGRAM, 0, AI_NUMERICHOST | AI_NUMERICSERV, LIMIT,
				   &a),
		 0);
	CHECK_EQ(a->count, 1);
	CHECK_EQ(a->at[0].family, AF_INET);
	CHECK_EQ(a->at[0].type, SOCK_DGRAM);
	CHECK_EQ(a->at[0].protocol, IPPROTO_UDP);
	CHECK_PTR(a->canonical, NULL);
	shows(&a->at[0].addr, "192.0.2.7:80");
	chime_addrinfo_free(&a);
	CHECK_PTR(a, NULL);
	chime_addrinfo_free(&a);
	CHECK_EQ(chime_getaddrinfo("2001:db8::5", NULL, AF_UNSPEC, 0, 0, AI_NUMERICHOST, LIMIT, &a), 0);
	CHECK(a->count > 1); /* every type that the system knows */
	for (size_t i = 0; i < a->count; i++)
		shows(&a->at[i].addr, "[2001:db8::5]:0");
	chime_addrinfo_free(&a);
	CHECK_EQ(chime_getaddrinfo(NULL, "9999", AF_INET, SOCK_STREAM, 0, AI_PASSIVE, LIMIT, &a), 0);
	shows(&a->at[0].addr, "0.0.0.0:9999");
	chime_addrinfo_free(&a);
	CHECK_EQ(chime_getaddrinfo(NULL, "9999", AF_INET, SOCK_STREAM, 0, 0, LIMIT, &a), 0);
	shows(&a->at[0].addr, "127.0.0.1:9999");
	chime_addrinfo_free(&a);
	CHECK_EQ(chime_getaddrinfo("192.0.2.7", "80", AF_INET, 0, IPPROTO_UDP, AI_NUMERICHOST, LIMIT, &a), 0);
	CHECK_EQ(a->count, 1); /* of that protocol */
	CHECK_EQ(a->at[0].type, SOCK_DGRAM);
	CHECK_EQ(a->at[0].protocol, IPPROTO_UDP);
	chime_addrinfo_free(&a);
}

/* What the resolver refuses comes as its own code, and *out is NULL. */
TEST(getaddrinfo_refusals)
{
	struct chime_addrinfo *a = (void *)1;
	CHECK_EQ(chime_getaddrinfo("nothing", NULL, 0, 0, 0, AI_NUMERICHOST, LIMIT, &a), CHIME_EAI(EAI_NONAME));
	CHECK_PTR(a, NULL);
	CHECK_EQ(chime_getaddrinfo(NULL, NULL, 0, 0, 0, 0, LIMIT, &a), CHIME_EAI(EAI_NONAME));
	CHECK_EQ(chime_getaddrinfo("::1", "1", 12345, 0, 0, AI_NUMERICHOST, LIMIT, &a), CHIME_EAI(EAI_FAMILY));
	CHECK_EQ(chime_getaddrinfo("::1", "http", 0, 0, 0, AI_NUMERICHOST | AI_NUMERICSERV, LIMIT, &a),
		 CHIME_EAI(EAI_NONAME));
	CHECK_EQ(chime_getaddrinfo("::1", NULL, 0, 0, 0, 0x40000000, LIMIT, &a), CHIME_EAI(EAI_BADFLAGS));
	CHECK_EQ(chime_getaddrinfo("::1", NULL, 0, 0, 0, 0, 0, &a), -EINVAL);
	CHECK_EQ(chime_getaddrinfo("::1", NULL, 0, 0, 0, 0, -5, &a), -EINVAL);
}

/* ---- a resolver of our own ---- */

static sem_t go_on;
static bool stuck;
static _Atomic int released;

static struct addrinfo *answer(uint32_t address, char *canonical)
{
	struct addrinfo *ai = calloc(1, sizeof *ai + sizeof(struct sockaddr_in));
	struct sockaddr_in *in = (struct sockaddr_in *)(ai + 1);
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(address);
	ai->ai_family = AF_INET;
	ai->ai_socktype = SOCK_STREAM;
	ai->ai_addr = (struct sockaddr *)in;
	ai->ai_addrlen = sizeof *in;
	ai->ai_canonname = canonical;
	return ai;
}

static int fake_ask(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	static char canonical[] = "canonical.test", other[] = "another.test";
	bool wanted = hints->ai_flags & AI_CANONNAME;
	(void)service;
	if (stuck)
		sem_wait(&go_on);
	*out = answer(0xc0000205, wanted ? canonical : NULL);
	if (!strcmp(host, "three.test")) {
		(*out)->ai_next = answer(0xc0000206, NULL);
		(*out)->ai_next->ai_next = answer(0xc0000207, wanted ? other : NULL);
	}
	return 0;
}

static void fake_release(struct addrinfo *list)
{
	for (struct addrinfo *next; list; list = next) {
		next = list->ai_next;
		free(list);
	}
	released++;
}

/* The canonical name is in the same piece; a resolver that never answers costs the limit and leaks nothing. */
TEST(getaddrinfo_canonical_name_and_limit)
{
	struct chime_addrinfo *a;
	chime_addr addr;
	chime__resolver = (struct chime__resolver){ fake_ask, fake_release };
	sem_init(&go_on, 0, 0);
	CHECK_EQ(chime_getaddrinfo("name.test", NULL, 0, 0, 0, AI_CANONNAME, LIMIT, &a), 0);
	CHECK_STR(a->canonical, "canonical.test");
	shows(&a->at[0].addr, "192.0.2.5:0");
	chime_addrinfo_free(&a);
	CHECK_EQ(chime_gethostbyname("name.test", LIMIT, &addr), 0);
	shows(&addr, "192.0.2.5:0");
	stuck = true;
	int64_t start = test_now();
	CHECK_EQ(chime_getaddrinfo("name.test", NULL, 0, 0, 0, 0, 30 * CHIME_MSEC, &a), CHIME_ETIMEOUT);
	CHECK_EQ(chime_gethostbyname("name.test", 30 * CHIME_MSEC, &addr), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 60 * CHIME_MSEC, 50 * CHIME_SEC);
	sem_post(&go_on);
	sem_post(&go_on);
	for (int64_t until = test_now() + 60 * CHIME_SEC; released < 4 && test_now() < until;)
		usleep(1000);
	CHECK_EQ(released, 4);
}

/* The canonical name is the one that stands with the first address, and all addresses are given. */
TEST(getaddrinfo_canonical_name_of_several)
{
	struct chime_addrinfo *a;
	chime__resolver = (struct chime__resolver){ fake_ask, fake_release };
	CHECK_EQ(chime_getaddrinfo("three.test", NULL, 0, 0, 0, AI_CANONNAME, LIMIT, &a), 0);
	CHECK_EQ(a->count, 3);
	CHECK_STR(a->canonical, "canonical.test");
	shows(&a->at[0].addr, "192.0.2.5:0");
	shows(&a->at[1].addr, "192.0.2.6:0");
	shows(&a->at[2].addr, "192.0.2.7:0");
	chime_addrinfo_free(&a);
	CHECK_EQ(chime_getaddrinfo("three.test", NULL, 0, 0, 0, 0, LIMIT, &a), 0);
	CHECK_EQ(a->count, 3);
	CHECK_PTR(a->canonical, NULL);
	chime_addrinfo_free(&a);
}

/* A look-up that its limit ended is told, also by the call that takes failures for answers; so is a limit of 0. */
TEST(limits_of_look_ups_of_hosts)
{
	struct chime_host *h = (void *)1;
	char name[64] = "";
	chime__resolver = (struct chime__resolver){ fake_ask, fake_release };
	sem_init(&go_on, 0, 0);
	CHECK_EQ(chime_getfqdn("name.test", 0, name, sizeof name), -EINVAL);
	CHECK_EQ(chime_gethostbyaddr("192.0.2.5", 0, &h), -EINVAL);
	CHECK_PTR(h, NULL);
	h = (void *)1;
	CHECK_EQ(chime_gethostbyname_ex("localhost", 0, &h), -EINVAL);
	CHECK_PTR(h, NULL);
	CHECK_EQ(chime_gethostbyname_ex("localhost", -2, &h), -EINVAL);
	stuck = true;
	CHECK_EQ(chime_gethostbyaddr("name.test", 20 * CHIME_MSEC, &h), CHIME_ETIMEOUT);
	CHECK_EQ(chime_getfqdn("name.test", 20 * CHIME_MSEC, name, sizeof name), CHIME_ETIMEOUT);
	CHECK_STR(name, "");
	sem_post(&go_on);
	sem_post(&go_on);
	for (int64_t until = test_now() + 60 * CHIME_SEC; released < 2 && test_now() < until;)
		usleep(1000);
	CHECK_EQ(released, 2);
}

/* Python's two special names, and numbers, are not looked up. */
TEST(gethostbyname_of_special_names)
{
	chime_addr a;
	CHECK_EQ(chime_gethostbyname("", LIMIT, &a), 0);
	shows(&a, "0.0.0.0:0");
	CHECK_EQ(chime_gethostbyname("<broadcast>", LIMIT, &a), 0);
	shows(&a, "255.255.255.255:0");
	CHECK_EQ(chime_gethostbyname("198.51.100.3", LIMIT, &a), 0);
	shows(&a, "198.51.100.3:0");
	CHECK_EQ(chime_gethostbyname("x", 0, &a), -EINVAL);
}

/* Numeric forms are exact; halves that are not wanted are not asked for; texts that do not fit are refused. */
TEST(getnameinfo_of_numbers)
{
	chime_addr a;
	char host[64], service[16];
	CHECK_EQ(chime_addr_ip(&a, AF_INET6, "2001:db8::1", 8080), 0);
	int numeric = NI_NUMERICHOST | NI_NUMERICSERV;
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, sizeof host, service, sizeof service), 0);
	CHECK_STR(host, "2001:db8::1");
	CHECK_STR(service, "8080");
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, NULL, 0, service, sizeof service), 0);
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, sizeof host, NULL, 0), 0);
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, 11, NULL, 0), -ENAMETOOLONG);
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, 11, service, sizeof service), -ENAMETOOLONG);
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, sizeof host, service, 4), -ENAMETOOLONG);
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, sizeof host, service, 5), 0);
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, 12, NULL, 0), 0);
	a = chime_addr_none();
	CHECK_EQ(chime_getnameinfo(&a, numeric, LIMIT, host, sizeof host, NULL, 0), CHIME_EAI(EAI_FAMILY));
	CHECK_EQ(chime_getnameinfo(&a, numeric, 0, host, sizeof host, NULL, 0), -EINVAL);
}

/* The look-ups of this machine's own names, as /etc/hosts has them, agree with each other. */
TEST(names_of_loopback)
{
	struct chime_host *h = NULL, *back = NULL;
	chime_addr a;
	char text[1025], name[1025];
	int err = chime_gethostbyname_ex("localhost", LIMIT, &h);
	if (err < 0)
		SKIP("localhost is not known here: %s", chime_errname(err));
	CHECK(h->count >= 1);
	CHECK(chime_addr_is_loopback(&h->addr[0]));
	CHECK_EQ(chime_gethostbyaddr("127.0.0.1", LIMIT, &back), 0);
	CHECK(back->name[0] != 0);
	shows(&back->addr[0], "127.0.0.1:0");
	CHECK_EQ(chime_addr_ip(&a, AF_INET, "127.0.0.1", 80), 0);
	CHECK_EQ(chime_getnameinfo(&a, NI_NAMEREQD, LIMIT, text, sizeof text, NULL, 0), 0);
	CHECK_STR(text, back->name);
	CHECK_EQ(chime_getfqdn("127.0.0.1", LIMIT, name, sizeof name), 0);
	bool dotted = strchr(back->name, '.');
	for (size_t i = 0; i < back->aliases; i++)
		dotted |= strchr(back->alias[i], '.') != NULL;
	CHECK_EQ(strchr(name, '.') != NULL, dotted);
	if (!dotted)
		CHECK_STR(name, back->name);
	CHECK_EQ(chime_getfqdn("127.0.0.1", LIMIT, name, strlen(name)), -ENAMETOOLONG);
	chime_host_free(&h);
	chime_host_free(&back);
	CHECK_PTR(back, NULL);
}

/* The full name is the first with a dot, alias or not; all names and addresses of a line come out. */
TEST(full_names_and_aliases)
{
	struct chime_host *h = NULL;
	char path[512], name[64];
	snprintf(path, sizeof path, "%s/hosts", test_dir());
	FILE *hosts = fopen(path, "w");
	CHECK(hosts != NULL);
	fputs("192.0.2.9 short other full.example.test more.example.test\n192.0.2.10 bare\n"
	      "192.0.2.11 dotted.example.test alias.example.test\n192.0.2.12 dotted.example.test\n"
	      "192.0.2.13 this-one this-one.example.test\n0.0.0.0 any4.example.test\n:: any6.example.test\n"
	      "2001:db8::9 six.example.test\n",
	      hosts);
	fclose(hosts);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(path, "/etc/hosts", NULL, MS_BIND, NULL) < 0)
		SKIP("no /etc/hosts of one's own here: %s", chime_errname(-errno));
	int err = chime_gethostbyaddr("192.0.2.9", LIMIT, &h);
	if (err == 0) {
		CHECK_STR(h->name, "short");
		CHECK_EQ(h->aliases, 3);
		CHECK_STR(h->alias[1], "full.example.test");
		CHECK_EQ(h->count, 1);
		shows(&h->addr[0], "192.0.2.9:0");
		chime_host_free(&h);
		CHECK_EQ(chime_gethostbyaddr("other", LIMIT, &h), 0);
		CHECK_STR(h->name, "short");
		chime_host_free(&h);
		CHECK_EQ(chime_getfqdn("192.0.2.9", LIMIT, name, sizeof name), 0);
		CHECK_STR(name, "full.example.test");
		CHECK_EQ(chime_getfqdn("192.0.2.10", LIMIT, name, sizeof name), 0);
		CHECK_STR(name, "bare");
		CHECK_EQ(chime_getfqdn("192.0.2.11", LIMIT, name, sizeof name), 0);
		CHECK_STR(name, "dotted.example.test");
		CHECK_EQ(chime_gethostbyname_ex("dotted.example.test", LIMIT, &h), 0);
		CHECK_EQ(h->count, 2);
		shows(&h->addr[0], "192.0.2.11:0");
		shows(&h->addr[1], "192.0.2.12:0");
		chime_host_free(&h);
		CHECK_EQ(chime_gethostbyaddr("2001:db8::9", LIMIT, &h), 0);
		CHECK_STR(h->name, "six.example.test");
		shows(&h->addr[0], "[2001:db8::9]:0");
		chime_host_free(&h);
		/* The forms that mean this machine. */
		static const char *const own[] = { NULL, "", "0.0.0.0", "::" };
		bool named = unshare(CLONE_NEWUTS) == 0 && chime_sethostname("this-one") == 0;
		for (int i = 0; named && i < 4; i++) {
			CHECK_EQ(chime_getfqdn(own[i], LIMIT, name, sizeof name), 0);
			CHECK_STR(name, "this-one.example.test");
		}
	}
	umount2("/etc/hosts", MNT_DETACH);
	if (err < 0)
		SKIP("this system does not read /etc/hosts: %s", chime_errname(err));
}

/* A network of one's own, without a way out: a name that cannot be found keeps its form in getfqdn, and is an error elsewhere. */
TEST(names_that_are_not_found)
{
	struct chime_host *h = (void *)1;
	char name[64];
	if (unshare(CLONE_NEWNET) < 0)
		SKIP("no network of one's own here: %s", chime_errname(-errno));
	int err = chime_gethostbyname_ex("no-such-name.invalid", LIMIT, &h);
	CHECK(CHIME_IS_HOST(err));
	CHECK_PTR(h, NULL);
	/* By address: of the name that was given the resolver speaks, of an address the older call. */
	CHECK(CHIME_IS_EAI(chime_gethostbyaddr("no-such-name.invalid", LIMIT, &h)));
	err = chime_gethostbyaddr("192.0.2.1", LIMIT, &h);
	CHECK(CHIME_IS_HOST(err));
	CHECK_PTR(h, NULL);
	CHECK_EQ(chime_getfqdn("no-such-name.invalid", LIMIT, name, sizeof name), 0);
	CHECK_STR(name, "no-such-name.invalid");
}

/* From here on hosts are looked for there alone. */
static void hosts_come_from(const char *source)
{
	char path[512];
	snprintf(path, sizeof path, "%s/nsswitch.conf", test_dir());
	FILE *conf = fopen(path, "w");
	CHECK(conf != NULL);
	fprintf(conf, "hosts: %s\n", source);
	fclose(conf);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(path, "/etc/nsswitch.conf", NULL, MS_BIND, NULL) < 0)
		SKIP("no /etc/nsswitch.conf of one's own here: %s", chime_errname(-errno));
}

/* A port may have one service by TCP and another by UDP: flags reach the look-up. */
TEST(getnameinfo_heeds_its_flags)
{
	chime_addr a;
	char tcp[64], udp[64], got[64];
	CHECK_EQ(chime_addr_ip(&a, AF_INET, "127.0.0.1", 514), 0);
	if (chime_getservbyport(514, "tcp", tcp, sizeof tcp) < 0 ||
	    chime_getservbyport(514, "udp", udp, sizeof udp) < 0 || !strcmp(tcp, udp))
		SKIP("/etc/services does not tell shell from syslog here");
	CHECK_EQ(chime_getnameinfo(&a, NI_NUMERICHOST, LIMIT, NULL, 0, got, sizeof got), 0);
	CHECK_STR(got, tcp);
	CHECK_EQ(chime_getnameinfo(&a, NI_NUMERICHOST | NI_DGRAM, LIMIT, NULL, 0, got, sizeof got), 0);
	CHECK_STR(got, udp);
	hosts_come_from("files");
	CHECK_EQ(chime_addr_ip(&a, AF_INET, "192.0.2.1", 514), 0);
	CHECK_EQ(chime_getnameinfo(&a, 0, LIMIT, got, sizeof got, NULL, 0), 0);
	CHECK_STR(got, "192.0.2.1");
	CHECK_EQ(chime_getnameinfo(&a, NI_NAMEREQD, LIMIT, got, sizeof got, NULL, 0), CHIME_EAI(EAI_NONAME));
	umount2("/etc/nsswitch.conf", MNT_DETACH);
}

/* A name that is in no file is unknown, for good. */
TEST(unknown_hosts_are_told)
{
	struct chime_host *h;
	chime_addr a;
	hosts_come_from("files");
	CHECK_EQ(chime_gethostbyname_ex("no-such-name.invalid", LIMIT, &h), CHIME_HOST(HOST_NOT_FOUND));
	CHECK_EQ(chime_gethostbyaddr("192.0.2.1", LIMIT, &h), CHIME_HOST(HOST_NOT_FOUND));
	CHECK_EQ(chime_gethostbyname("no-such-name.invalid", LIMIT, &a), CHIME_EAI(EAI_NONAME));
	umount2("/etc/nsswitch.conf", MNT_DETACH);
}

/* A server that does not answer may do so later. */
TEST(silent_servers_are_told)
{
	struct chime_host *h;
	chime_addr a;
	hosts_come_from("dns"); /* and there is no network */
	CHECK_EQ(chime_gethostbyname_ex("no-such-name.invalid", LIMIT, &h), CHIME_HOST(TRY_AGAIN));
	CHECK_EQ(chime_gethostbyname("no-such-name.invalid", LIMIT, &a), CHIME_EAI(EAI_AGAIN));
	umount2("/etc/nsswitch.conf", MNT_DETACH);
}

/* The machine's own name; setting it is for a namespace of one's own. */
TEST(hostname)
{
	char name[1025], want[256], small[4];
	CHECK_EQ(gethostname(want, sizeof want), 0);
	CHECK_EQ(chime_gethostname(name, sizeof name), 0);
	CHECK_STR(name, want);
	if (unshare(CLONE_NEWUTS) < 0)
		SKIP("no machine name of one's own here: %s", chime_errname(-errno));
	CHECK_EQ(chime_sethostname("chime-test"), 0);
	CHECK_EQ(chime_gethostname(name, sizeof name), 0);
	CHECK_STR(name, "chime-test");
	CHECK_EQ(chime_gethostname(small, sizeof small), -ENAMETOOLONG);
	memset(name, 'x', 200);
	name[200] = 0;
	CHECK_EQ(chime_sethostname(name), -EINVAL);
	CHECK_EQ(chime_gethostname(name, 11), 0);
}

/* Services and protocols by name and number; out of range is an error, not cut. */
TEST(services_and_protocols)
{
	char name[64];
	CHECK_EQ(chime_getservbyport(65536, "tcp", name, sizeof name), -ERANGE);
	CHECK_EQ(chime_getservbyport(-1, "tcp", name, sizeof name), -ERANGE);
	CHECK_EQ(chime_getservbyname("no such service", NULL), CHIME_EAI(EAI_SERVICE));
	CHECK_EQ(chime_getservbyport(1, "no such protocol", name, sizeof name), CHIME_EAI(EAI_SERVICE));
	CHECK_EQ(chime_getprotobyname("no such protocol"), CHIME_EAI(EAI_NONAME));
	if (chime_getservbyname("daytime", "tcp") < 0)
		SKIP("no /etc/services here");
	CHECK_EQ(chime_getservbyname("daytime", "tcp"), 13);
	CHECK_EQ(chime_getservbyname("daytime", NULL), 13);
	CHECK_EQ(chime_getservbyport(13, "udp", name, sizeof name), 0);
	CHECK_STR(name, "daytime");
	CHECK_EQ(chime_getservbyport(13, "udp", name, 7), -ENAMETOOLONG);
	if (chime_getprotobyname("icmp") >= 0)
		CHECK_EQ(chime_getprotobyname("icmp"), IPPROTO_ICMP);
}

/* Interfaces: the list, name to number and back; one that does not exist, and one whose name is too long to. */
TEST(interfaces)
{
	struct chime_interface list[64];
	char name[CHIME_IF_NAME];
	int n = chime_if_nameindex(list, 64);
	CHECK_IN(n, 1, 4096);
	CHECK_EQ(chime_if_nameindex(NULL, 0), n);
	for (int i = 0; i < n && i < 64; i++) {
		CHECK_EQ(chime_if_nametoindex(list[i].name), list[i].index);
		CHECK_EQ(chime_if_indextoname(list[i].index, name), 0);
		CHECK_STR(name, list[i].name);
	}
	CHECK_EQ(chime_if_nametoindex("no-such-if"), -ENODEV);
	CHECK_EQ(chime_if_nametoindex("lo0123456789abcdefgh"), -ENODEV);
	CHECK_EQ(chime_if_nametoindex(""), -ENODEV);
	CHECK_EQ(chime_if_indextoname(0x7ffffff0, name), -ENXIO);
}

/* The older form takes one to four numbers in three bases, and nothing behind them. */
TEST(inet_aton_is_strict)
{
	static const struct {
		const char *text;
		uint32_t want;
	} good[] = { { "1.2.3.4", 0x01020304 },    { "127.1", 0x7f000001 },      { "0x7f.1", 0x7f000001 },
		     { "0177.0.0.1", 0x7f000001 }, { "2130706433", 0x7f000001 }, { "255.255.255.255", 0xffffffff } };
	static const char *const bad[] = { "",       " 1.2.3.4",  "1.2.3.4 ",  "1.2.3.4 x", "1.2.3.4\n",
					   "0.0.0.", "300.0.0.0", "a.0.0.0",   "1.2.3.4.5", "::1",
					   "1..2",   "-1",        "4294967296" };
	struct in_addr a;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		CHECK_EQ(chime_inet_aton(good[i].text, &a), 0);
		CHECK_EQ(ntohl(a.s_addr), good[i].want);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK_EQ(chime_inet_aton(bad[i], &a), CHIME_ESYNTAX);
}

/* The newer form: whole text or nothing (CPython's tests do not look at what stands behind), and back again. */
TEST(inet_pton_and_ntop_are_strict)
{
	static const char *const bad4[] = { "1.2.3.4 ", "1.2.3.4x", "1.2.3.4\n", " 1.2.3.4",
					    "1.2.3",    "127.1",    "1.2.3.256", "" };
	static const char *const bad6[] = { "::1 ",    "::1x",          "::1%1", "[::1]", "1::2::3",
					    "12345::", "1:2:3:4:5:6:7", ":::",   "" };
	unsigned char bytes[16];
	char text[INET6_ADDRSTRLEN];
	for (size_t i = 0; i < sizeof bad4 / sizeof bad4[0]; i++)
		CHECK_EQ(chime_inet_pton(AF_INET, bad4[i], bytes), CHIME_ESYNTAX);
	for (size_t i = 0; i < sizeof bad6 / sizeof bad6[0]; i++)
		CHECK_EQ(chime_inet_pton(AF_INET6, bad6[i], bytes), CHIME_ESYNTAX);
	CHECK_EQ(chime_inet_pton(AF_INET6, "::ffff:1.2.3.4", bytes), 0);
	CHECK_EQ(chime_inet_ntop(AF_INET6, bytes, 16, text, sizeof text), 0);
	CHECK_STR(text, "::ffff:1.2.3.4");
	CHECK_EQ(chime_inet_pton(AF_INET, "192.0.2.33", bytes), 0);
	CHECK_EQ(chime_inet_ntop(AF_INET, bytes, 4, text, sizeof text), 0);
	CHECK_STR(text, "192.0.2.33");
	CHECK_EQ(chime_inet_ntop(AF_INET, bytes, 16, text, sizeof text), -EINVAL);
	CHECK_EQ(chime_inet_ntop(AF_INET6, bytes, 4, text, sizeof text), -EINVAL);
	CHECK_EQ(chime_inet_ntop(AF_INET, bytes, 4, text, 5), -ENOSPC);
	CHECK_EQ(chime_inet_ntop(AF_UNIX, bytes, 4, text, sizeof text), -EAFNOSUPPORT);
	CHECK_EQ(chime_inet_pton(AF_UNIX, "x", bytes), -EAFNOSUPPORT);
}

/* A process that may open nothing more hears that, not that there is no such interface, service or protocol. */
TEST(descriptors_that_are_lacking_are_told)
{
	struct rlimit was, none;
	char name[CHIME_IF_NAME];
	chime_addr a;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	int index = chime_if_nametoindex("lo"), indexed = chime_if_indextoname(1, name);
	int service = chime_getservbyname("http", "tcp"), port = chime_getservbyport(80, "tcp", name, sizeof name);
	int protocol = chime_getprotobyname("tcp"), scope = chime_addr_ip(&a, AF_INET6, "fe80::1%lo", 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	CHECK_EQ(index, -EMFILE);
	CHECK_EQ(indexed, -EMFILE);
	CHECK_EQ(scope, -EMFILE);
	CHECK_EQ(service, -EMFILE);
	CHECK_EQ(port, -EMFILE);
	CHECK_EQ(protocol, -EMFILE);
}

TEST_MAIN()
