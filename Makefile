# For people; CMake and Ninja do the work. "make help" lists what there is.
.PHONY: build examples run check build-cpython check-cpython check-cross check-vm torment sim soak bench million fuzz install help
.DEFAULT_GOAL := build

PREFIX ?= /usr/local
DESTDIR ?=

build: ## build the program build/chime and the libraries beside it
	@test -f build/build.ninja || cmake --preset release
	@cmake --build build --target product

examples: build ## build the examples: build/examples/tcp_server and others
	@cmake --build build --target examples

run: ## start a server on port 9999 and open the client on it
	@./run

check: ## build and run every test and every check
	@scripts/suites

build-cpython: ## build build/chime-python: this machine's python3 with _socket on libchime
	@scripts/packages cpython
	@cmake --preset release -DCHIME_CPYTHON=ON >/dev/null && cmake --build build --target chime-python

check-cpython: build-cpython ## run CPython's own network tests on libchime (MODULES="test_ssl ..." or TIER=core, nightly, all)
	@tests/cpython/check $(if $(TIER),--tier $(TIER)) $(MODULES)

check-cross: ## build for s390x and i386, run the unit tests there, and let them talk to ours
	@scripts/packages cross
	@scripts/cross

torment: ## run the tests while threads of theirs, chosen at random, are held up (PRESET=asan SEED=N; root)
	@cmake --preset $(or $(PRESET),asan) -DCHIME_TESTS=ON >/dev/null && cmake --build --preset $(or $(PRESET),asan)
	@scripts/torment $(if $(SEED),--seed $(SEED)) ctest --preset $(or $(PRESET),asan) -j $$(($$(nproc) * 4))

check-vm: ## run the engine's tests, and every family of sockets, in other kernels, booted for them
	@scripts/packages vm
	@cmake --preset release -DCHIME_TESTS=ON >/dev/null && cmake --build build >/dev/null
	@tests/vm/check

sim: ## run the server on a simulated network, other seeds than ./check (SEEDS=10000 FROM=1)
	@test -x build/tests/test_sim || cmake --preset release -DCHIME_TESTS=ON
	@cmake --build build --target test_sim
	@build/tests/test_sim --seeds $${SEEDS:-10000} --from $${FROM:-1}

soak: build ## a real server under clients of every kind (DURATION=1h BACKEND=epoll WORKERS=1 SEED=N)
	@test -x build/tests/soak || cmake --preset release -DCHIME_TESTS=ON >/dev/null
	@cmake --build build --target test_soak
	@build/tests/soak --duration $${DURATION:-1h} --backend $${BACKEND:-epoll} --workers $${WORKERS:-1} $(if $(SEED),--seed $(SEED))

bench: ## measure, against bare programs and other libraries (ROWS=1,4: these rows; QUICK=1; DOCS=1: into docs/)
	@bench/run $(if $(ROWS),--rows $(ROWS)) $(if $(QUICK),--quick) $(if $(DOCS),--docs)

million: build ## hold a million connections, in user-mode Linux (16 GB of memory, half an hour)
	@cmake --build build --target bench_programs >/dev/null
	@bench/million

fuzz: ## fuzz each target for a minute (FUZZ_SECONDS=60)
	@scripts/fuzz $${FUZZ_SECONDS:-60}

install: build ## install below PREFIX (/usr/local), as root if it takes that; DESTDIR=DIR stages it there
	@DESTDIR='$(DESTDIR)' cmake --install build --prefix '$(PREFIX)'
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then PATH=$$PATH:/sbin ldconfig; fi # for the loader to find the library

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18
