# Two commands matter: make demo and make test. They need Go, and a network the first time, for the modules that go.mod names.

GO ?= go
FASTRPC := bin/fastrpc
GOTESTSUM ?= $(GO) tool gotestsum
LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The revision stands in the reports of benchmarks. Go's own stamp knows no worktrees, and GOFLAGS may forbid it.
REVISION := $(shell git describe --always --abbrev=40 --exclude='*' --dirty=+modified 2>/dev/null)
LDFLAGS := -X github.com/fastrpc/fastrpc/bench/machine.built=$(REVISION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/fastrpc
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -tags "$(TAGS)" -o $(FASTRPC) ./cmd/fastrpc

.PHONY: build-rdma
build-rdma: TAGS += rdma
build-rdma: build ## build bin/fastrpc with RDMA (needs gcc, libibverbs-dev and librdmacm-dev)

PEERS_DIR := bin/peers
PEERS := grpc connect drpc kitex rpcx arpc net-rpc asavie libxdp

.PHONY: peers
peers: build $(PEERS:%=peer-%) ## build the systems of others to compare with (libxdp needs gcc, libxdp-dev and libbpf-dev)

# A program each, so that one that cannot be built takes none along: the compiler's words are left in its place, and reports name it.
.PHONY: $(PEERS:%=peer-%)
$(PEERS:%=peer-%): peer-%:
	@mkdir -p $(PEERS_DIR) && rm -f $(PEERS_DIR)/$* $(PEERS_DIR)/$*.missing
	@{ $(C_PART) $(GO) build -C bench/peers -trimpath -ldflags='-s -w' -o $(abspath $(PEERS_DIR))/ ./$*; } >$(PEERS_DIR)/$*.missing 2>&1 && rm $(PEERS_DIR)/$*.missing || \
		{ sed -i '/^go: downloading/d' $(PEERS_DIR)/$*.missing; echo "$* cannot be built here:"; head -5 $(PEERS_DIR)/$*.missing; }

peer-libxdp: C_PART = $(CC) -O2 -g -Wall -Wextra -Werror -o $(PEERS_DIR)/xsk-libxdp bench/peers/libxdp/xsk/xsk.c -lxdp -lbpf && cp bpf/steer_bpfel.o $(PEERS_DIR)/steer.o &&

.PHONY: demo
demo: build ## measure fastrpc against the kernel's TCP path on this machine
	$(FASTRPC) bench compare

.PHONY: test
test: ## run all tests; those that need root say so when it is missing
	$(GOTESTSUM) --packages "$$($(GO) list ./... | grep -v '/internal/guest$$')" -- -timeout 15m
	$(GOTESTSUM) --packages ./internal/guest -- -timeout 25m # QEMU takes the processors: not beside the others

.PHONY: test-vm
test-vm: ## run what needs another kernel or network card than this machine's, in QEMU, which is fetched once
	FASTRPC_GUEST=required $(GO) test -v -count 1 -timeout 15m ./internal/guest

.PHONY: test-rdma
test-rdma: ## run the tests of RDMA on soft-RoCE in QEMU, in full and under the race detector (needs gcc, libibverbs-dev, librdmacm-dev, ibverbs-providers, rdmacm-utils)
	FASTRPC_GUEST=required FASTRPC_RDMA=1 $(GO) test -v -count 1 -timeout 60m -run 'TestRDMA(Hosts)?$$' ./internal/guest

.PHONY: bench-rdma
bench-rdma: ## compare RDMA with perftest on soft-RoCE in QEMU, kept in bench/results (needs perftest, and the machine alone)
	FASTRPC_GUEST=required RDMA_BENCH=$(CURDIR)/bench/results/rdma-64.json $(GO) test -v -count 1 -timeout 15m -run 'TestRDMABench$$' ./internal/guest

.PHONY: test-page
test-page: ## open the page of 'bench report --html' in headless Chromium (needs chromium; skipped without)
	cd bench/page/chromium && $(GO) vet ./... && $(GO) test -count 1 ./...

.PHONY: race
race: ## run all tests under the race detector
	$(GOTESTSUM) --packages ./... -- -race -short -timeout 20m

COMPARE := $(FASTRPC) bench compare
RESULTS := bench/results
CALLERS := xdp,udp,tcp,net-tcp,grpc

.PHONY: bench
bench: peers ## the measurements that are kept in bench/results, and the figures of the README and the docs (some 17 minutes)
	$(COMPARE) --systems all --json $(RESULTS)/unary-64.json
	$(COMPARE) --workload rate --systems all --outstanding 64 --duration 1s --json $(RESULTS)/rate-64.json
	$(COMPARE) --workload rate --systems $(CALLERS),arpc,net-rpc --outstanding 64 --blocking --duration 1s --json $(RESULTS)/rate-64-blocking.json
	$(COMPARE) --systems xdp,fastgrpc-inline,xdp-worker,fastgrpc,grpc,fastgrpc-ping-pong,grpc-ping-pong --json $(RESULTS)/stub-64.json
	$(COMPARE) --systems fastgrpc-flow,grpc-flow --size 1024 --json $(RESULTS)/stub-flow-1024.json
	$(COMPARE) --systems fastgrpc-flow,grpc-flow --size 1024 --mtu 9000 --json $(RESULTS)/stub-flow-1024-mtu-9000.json
	$(COMPARE) --workload rate --systems xdp-worker,fastgrpc,fastgrpc-inline,grpc --outstanding 64 --blocking --duration 1s --json $(RESULTS)/stub-rate-64.json
	$(COMPARE) --workload rate --outstanding 32 --duration 1s --json $(RESULTS)/rate-64-32.json
	$(COMPARE) --workload rate --outstanding 256 --duration 1s --json $(RESULTS)/rate-64-256.json
	$(COMPARE) --workload sweep --load 0.1,0.3,0.5,0.7,0.9,1,1.1 --systems xdp,udp,net-tcp,grpc --rounds 3 --json $(RESULTS)/sweep-64.json
	$(COMPARE) --workload sizes --sizes 64,1024,16384,262144,1048576,8388608 --systems $(CALLERS) --rounds 3 --json $(RESULTS)/sizes.json
	$(COMPARE) --workload bulk --duration 1s --json $(RESULTS)/bulk-8m.json
	$(COMPARE) --workload bulk --mtu 9000 --duration 1s --json $(RESULTS)/bulk-8m-mtu-9000.json
	$(COMPARE) --workload sessions --sessions 1,10,100,1000,10000,20000 --systems xdp,tcp,net-tcp --duration 500ms --rounds 3 --json $(RESULTS)/sessions-64.json
	$(COMPARE) --workload incast --systems xdp,tcp,net-tcp --rounds 3 --json $(RESULTS)/incast-64k.json
	$(COMPARE) --workload mixed --systems $(CALLERS) --duration 1s --rounds 3 --json $(RESULTS)/mixed-64.json
	$(COMPARE) --workload loss --systems xdp,udp,tcp,net-tcp --duration 1s --rounds 3 --json $(RESULTS)/loss-64.json
	$(COMPARE) --workload idle --systems $(CALLERS) --duration 1s --rounds 3 --json $(RESULTS)/idle-64.json
	$(COMPARE) --workload churn --systems $(CALLERS) --rounds 3 --json $(RESULTS)/churn-64.json
	$(FASTRPC) bench anatomy --json $(RESULTS)/anatomy-64.json

.PHONY: bench-rings
bench-rings: peers ## the comparisons of bare AF_XDP sockets that are kept in bench/results
	$(COMPARE) --systems ring,libxdp,libxdp-tx,libxdp-rx,asavie --requests 20000 --rounds 9 --json $(RESULTS)/rings-64.json
	$(COMPARE) --workload flood --size 64 --systems ring,libxdp,libxdp-tx,libxdp-rx,asavie --json $(RESULTS)/flood-64.json
	$(COMPARE) --workload flood --size 1500 --systems ring,libxdp,libxdp-tx,libxdp-rx,asavie --json $(RESULTS)/flood-1500.json
	$(COMPARE) --workload flood --size 9000 --systems ring --json $(RESULTS)/flood-9000.json

.PHONY: figures
figures: build ## draw the picture of the README anew
	$(FASTRPC) bench report bench/results/unary-64.json --svg docs/latency.svg

.PHONY: generate
generate: ## compile the BPF programs (needs clang, llvm and libbpf-dev)
	$(GO) generate ./bpf ./bench/stamp

.PHONY: lint
lint: ## check format, go vet and the linters
	@files="$$(gofmt -l .)"; [ -z "$$files" ] || { echo "gofmt would change: $$files" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) run $(LINT) run ./...
	@if [ -e /usr/include/infiniband/verbs.h ] && [ -e /usr/include/rdma/rdma_cma.h ]; then set -ex; \
		$(GO) vet -tags rdma ./...; $(GO) run $(LINT) run --build-tags rdma ./...; \
	else echo "what is built with the tag rdma is not checked: it takes libibverbs-dev and librdmacm-dev"; fi

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME (default 30s) each
	@for target in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z]+' $$target/*_test.go | cut -c6-); do \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZTIME),30s) -fuzzminimizetime 100x $$target || exit 1; \
		done; done

.PHONY: soak
soak: ## run SEEDS (default 100000) simulated worlds on all cores; goes on where it was interrupted
	@mkdir -p .soak
	@$(GO) test -c -o .soak/session.test ./transport/session
	@.soak/session.test -test.run '^TestSoak$$' -test.timeout 0 -soak $(or $(SEEDS),100000) -soak.dir .soak

.PHONY: clean
clean: ## remove what make build and make soak made
	rm -rf bin .soak
